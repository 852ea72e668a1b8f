"""The sizes that FitForVary and FitForUpscale will choose, known before they run (Fooocus behaviour §5.0-5.3).

The nodes decide; this foresees, for metadata and for what to leave out of the graph. A test holds both together
(tests/graphs/test_geometry.py). Sizes are (height, width); `base` is the side of a model's native pictures.
"""

import math

CELL_PX = 8
UPSCALER_FACTOR = 4
DIRECT_OVER_PX = 2800  # for a base of 1024: a class above this is not worth a diffusion pass


def class_of(height: float, width: float, base: int) -> int:
    """The side of a square of the same area, rounded up to a sixteenth of the base."""
    step = _step(base)
    return math.ceil((height * width) ** 0.5 / step) * step


def varied_size(height: int, width: int, base: int) -> tuple[int, int]:
    """The size of a varied picture, whole latent cells."""
    target = min(max(class_of(height, width, base), base), 2 * base)
    return _whole_cells(*_of_class(height, width, target, base))


def upscaled_size(height: int, width: int, factor: float, base: int) -> tuple[int, int]:
    """The size of an upscaled picture before latent cells cut it."""
    if class_of(height * factor, width * factor, base) < base:
        return _of_class(height * UPSCALER_FACTOR, width * UPSCALER_FACTOR, base, base)
    return int(height * factor), int(width * factor)


def diffused_size(height: int, width: int, factor: float, base: int) -> tuple[int, int]:
    """The size of an upscaled picture that went through the model, whole latent cells."""
    return _whole_cells(*upscaled_size(height, width, factor, base))


def inpainted_size(height: int, width: int, base: int, upscaled: bool) -> tuple[int, int]:
    """The size at which an area is repainted, whole latent cells. upscaled: small ones go through an upscaler first."""
    if upscaled and class_of(height, width, base) < base:
        height, width = height * UPSCALER_FACTOR, width * UPSCALER_FACTOR
    return _whole_cells(*_of_class(height, width, base, base))


def goes_direct(height: int, width: int, factor: float, base: int) -> bool:
    """Whether an upscaled picture is returned without a diffusion pass, because it is large enough."""
    return class_of(height * factor, width * factor, base) * 1024 > DIRECT_OVER_PX * base


def _step(base: int) -> int:
    return max(base // 16 // CELL_PX * CELL_PX, CELL_PX)


def _of_class(height: int, width: int, target: int, base: int) -> tuple[int, int]:
    step = _step(base)
    for _ in range(256):
        now = class_of(height, width, base)
        if now == target:
            break
        height, width = (max(int(round(side * target / now / step) * step), step) for side in (height, width))
    return height, width


def _whole_cells(height: int, width: int) -> tuple[int, int]:
    return height // CELL_PX * CELL_PX, width // CELL_PX * CELL_PX
