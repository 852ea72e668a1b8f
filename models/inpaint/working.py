"""The size at which the model works on an area: its own, whatever the area's."""

from torch import Tensor

from models.geometry import class_of, size_of_class
from models.inpaint.masks import SELECTED_OVER
from models.resample import lanczos


def is_small(image: Tensor, base: int) -> bool:
    """Whether an area has fewer pixels than a model of this native size works on, and should be upscaled first."""
    return class_of(image.shape[1], image.shape[2], base) < base


def fitted(image: Tensor, mask: Tensor, base: int) -> tuple[Tensor, Tensor]:
    """Bring an area and its mask to the model's native size; the mask may be smaller than the image is by now."""
    height, width = size_of_class(image.shape[1], image.shape[2], base, base)
    if (height, width) != tuple(image.shape[1:3]):
        image = lanczos(image, width, height)
    if (height, width) != tuple(mask.shape[1:]):
        mask = (lanczos(mask[..., None].expand(-1, -1, -1, 3), width, height)[..., 0] > SELECTED_OVER).float()
    return image, mask


def greyed(image: Tensor, mask: Tensor) -> Tensor:
    """Paint the masked part grey, so that an inpaint engine cannot see what was there."""
    hole = mask.round()[..., None]
    return image * (1.0 - hole) + 0.5 * hole
