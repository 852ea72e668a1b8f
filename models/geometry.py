"""Picture sizes as Fooocus chooses them: pure arithmetic (Fooocus behaviour §5.0, §5.2, §5.3).

SDXL works on pictures of about 1024 pixels per side; `base` is that native size. For a model of another native size all
limits and steps shrink with it. Sizes are (height, width).
"""

import math

STEPS_PER_BASE = 16  # 64 pixels for 1024
CELL_PX = 8  # per latent cell; no step is finer
ROUNDS = 256
DIRECT_OVER = 2800 / 1024  # larger results are not worth a diffusion pass
UPSCALER_FACTOR = 4


def step_of(base: int) -> int:
    """The step between classes of pictures: 64 pixels for a base of 1024."""
    return max(base // STEPS_PER_BASE // CELL_PX * CELL_PX, CELL_PX)


def class_of(height: float, width: float, base: int = 1024) -> int:
    """The class of a size: the side of a square of the same area, rounded up to the step ("shape ceil")."""
    step = step_of(base)
    return math.ceil((height * width) ** 0.5 / step) * step


def size_of_class(height: int, width: int, target: int, base: int = 1024) -> tuple[int, int]:
    """Change a size, keeping its proportions roughly, until it has this class; unchanged when it has.

    Both sides are then multiples of the step. Halves are rounded to even, as Python does.
    """
    step = step_of(base)
    for _ in range(ROUNDS):
        now = class_of(height, width, base)
        if abs(now - target) < 0.1:
            break
        factor = target / now
        height, width = (max(int(round(side * factor / step) * step), step) for side in (height, width))
    return height, width


def vary_size(height: int, width: int, base: int = 1024) -> tuple[int, int]:
    """The size at which a picture is varied: its class brought into base .. 2 · base."""
    return size_of_class(height, width, min(max(class_of(height, width, base), base), 2 * base), base)


def upscaled_size(height: int, width: int, factor: float, base: int = 1024) -> tuple[int, int]:
    """The size of an upscaled picture; what would stay below the base is brought to the base's class."""
    if class_of(height * factor, width * factor, base) < base:
        return size_of_class(height * UPSCALER_FACTOR, width * UPSCALER_FACTOR, base, base)
    return int(height * factor), int(width * factor)


def goes_direct(height: int, width: int, factor: float, base: int = 1024) -> bool:
    """Whether an upscaled picture is so large that it is returned without a diffusion pass."""
    return class_of(height * factor, width * factor, base) > DIRECT_OVER * base
