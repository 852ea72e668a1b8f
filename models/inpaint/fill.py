"""What the model starts from inside the mask: the surroundings, blurred inwards from coarse to fine."""

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from models.files.image import to_uint8
from models.inpaint.masks import SELECTED_OVER

BLURS = ((512, 2), (256, 2), (128, 4), (64, 4), (33, 8), (15, 8), (5, 16), (3, 16))
"""Radius in pixels, and how often."""


def filled(image: Tensor, mask: Tensor) -> Tensor:
    """Fill the masked part of pictures (B, H, W, 3) with a smooth continuation of the rest, which stays as it is.

    The blurs are Pillow's box blurs on 8-bit values (Fooocus behaviour §5.4.4).
    """
    masks = (mask > SELECTED_OVER).numpy()[..., None]
    pictures = [_filled(to_uint8(picture), hole) for picture, hole in zip(image, _repeated(masks, image), strict=True)]
    return torch.from_numpy(np.stack(pictures)).float().div(255.0)


def _filled(original: np.ndarray, hole: np.ndarray) -> np.ndarray:
    current = original
    for radius, times in BLURS:
        blur = ImageFilter.BoxBlur(radius)
        for _ in range(times):
            current = np.where(hole, np.asarray(Image.fromarray(current).filter(blur)), original)
    return current


def _repeated(masks: np.ndarray, image: Tensor) -> np.ndarray:
    return masks if len(masks) == len(image) else np.repeat(masks[:1], len(image), axis=0)
