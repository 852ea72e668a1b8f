"""Inpaint and outpaint: what a request asks for, with every open number settled (Fooocus behaviour §5.4)."""

from collections.abc import Sequence

from msgspec import Struct

from graphs.names import did_you_mean, find_folded
from graphs.request import GenerationRequest, Inpaint, InputImage, Refused
from graphs.uov import MAX_PIXELS

SIDES: tuple[str, ...] = ("left", "top", "right", "bottom")
ENGINES: tuple[str, ...] = ("None", "v1", "v2.5", "v2.6")
OUTPAINT_SHARE = 0.3  # of the picture's height or width, where no distance is given
LIMITS: dict[str, tuple[float, float]] = {
    "strength": (0, 1),
    "respective_field": (0, 1),
    "erode_or_dilate": (-256, 256),
}
PREFIX = "inpaint."
MAX_SIDE = 16384  # pixels
SAME_SHAPE = 0.05  # part by which the proportions of a mask may differ from those of its picture


class Padding(Struct, frozen=True):
    """Pixels to extend a picture by."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


class Repaint(Struct, frozen=True):
    """What to do with a picture. height, width: of the result, padding included."""

    picture: InputImage
    padding: Padding | None
    height: int
    width: int
    strength: float
    respective_field: float
    asked: Inpaint


def chosen_inpaint(request: GenerationRequest, warnings: list[str]) -> Repaint | None:
    """What a request wants repainted; None where nothing is selected. Raises Refused for what cannot be done.

    Outpainting always works with full strength on the whole picture, as Fooocus' help says.
    """
    asked = request.inpaint
    if asked is None:
        return None
    _check_limits(asked)
    if asked.mask is None and not asked.outpaint and not asked.invert_mask:
        warnings.append("There is neither a mask nor a side to extend: the picture is not used, only the prompt.")
        return None
    picture = _picture(request.input_image)
    _check_shape(picture, asked.mask_size)
    padding = _padding(picture, asked)
    strength, field = float(asked.strength), float(asked.respective_field)
    if padding is not None:
        if (strength, field) != (1.0, 1.0):
            warnings.append("Outpainting works on the whole picture with strength 1; other values were not used.")
        strength = field = 1.0
    extra = padding or Padding()
    height, width = picture.height + extra.top + extra.bottom, picture.width + extra.left + extra.right
    _check_size("inpaint.distances", height, width)
    return Repaint(picture, padding, height, width, strength, field, asked)


def with_additional_prompt(prompt: str | None, additional: str) -> str | None:
    """The additional prompt becomes the main prompt; what was the prompt follows as a line of its own."""
    if not additional.strip():
        return prompt
    return f"{additional}\n{prompt}" if prompt else additional


def _check_limits(asked: Inpaint) -> None:
    for name, (low, high) in LIMITS.items():
        value = getattr(asked, name)
        if not low <= value <= high:
            raise Refused(PREFIX + name, f"inpaint {name} is {value}.", f"It must lie between {low:g} and {high:g}.")
    if asked.engine is not None and find_folded(asked.engine, ENGINES) is None:
        near = did_you_mean(asked.engine, ENGINES)
        fault = f"There is no inpaint engine {asked.engine!r}.{near}"
        raise Refused(PREFIX + "engine", fault, f"One of {', '.join(ENGINES)}.")


def _picture(image: InputImage | None) -> InputImage:
    if image is None:
        raise Refused("input_image", "Inpainting needs a picture.", "Send one as the input image.")
    if image.width < 1 or image.height < 1:
        raise Refused("input_image", f"The picture has {image.width}x{image.height} pixels.", "Send another one.")
    _check_size("input_image", image.height, image.width)
    return image


def _check_size(field: str, height: int, width: int) -> None:
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
        raise Refused(
            field,
            f"The picture would have {width}x{height} pixels.",
            f"Pictures of up to {MAX_PIXELS} pixels (4096x4096), {MAX_SIDE} per side, can be inpainted.",
        )


def _check_shape(picture: InputImage, mask: tuple[int, int] | None) -> None:
    """Refuse a mask that was drawn on another picture; one of another size is brought to the picture's later."""
    if mask is None:
        return
    width, height = mask
    fitting = height * picture.width / picture.height  # a mask as high as this one, of the picture's proportions
    if abs(width - fitting) > max(1, SAME_SHAPE * fitting):
        raise Refused(
            PREFIX + "mask",
            f"The mask has {width}x{height} pixels and the picture {picture.width}x{picture.height}.",
            "Send a mask of the picture's proportions; its size may be another one.",
        )


def _padding(picture: InputImage, asked: Inpaint) -> Padding | None:
    """Pixels per side. Each side's share is of the picture as it came."""
    sides = _sides(asked.outpaint)
    if not sides:
        return None
    whole = {"left": picture.width, "right": picture.width, "top": picture.height, "bottom": picture.height}
    given = dict(zip(SIDES, asked.distances, strict=True))
    return Padding(**{side: given[side] if given[side] > 0 else int(whole[side] * OUTPAINT_SHARE) for side in sides})


def _sides(names: Sequence[str]) -> list[str]:
    found = [find_folded(name.strip(), SIDES) for name in names]
    if None in found:
        wrong = names[found.index(None)]
        raise Refused(PREFIX + "outpaint", f"There is no side {wrong!r}.", f"One of {', '.join(SIDES)}.")
    return [side for side in SIDES if side in found]
