"""Picture sizes: the known aspect ratios, reading them from text, and what a latent allows."""

import re
from math import gcd

from graphs.request import Refused

# Fooocus behaviour §1.5, in its order.
ASPECT_RATIOS = (
    "704*1408", "704*1344", "768*1344", "768*1280", "832*1216", "832*1152", "896*1152", "896*1088", "960*1088",
    "960*1024", "1024*1024", "1024*960", "1088*960", "1088*896", "1152*896", "1152*832", "1216*832", "1280*768",
    "1344*768", "1344*704", "1408*704", "1472*704", "1536*640", "1600*640", "1664*576", "1728*576",
)  # fmt: skip
SMALLEST_PX, LARGEST_PX = 64, 8192

# Two integers with any separator that clients send: `1152*896`, `1152×896 <span …>`, `1152x896`, `1152*896 | 9:7`.
_SIZE = re.compile(r"^\s*(\d{1,6})\s*[*×xX]\s*(\d{1,6})(?!\d)")


def parse_aspect_ratio(text: str, field: str = "aspect_ratio") -> tuple[int, int]:
    """Read width and height in pixels from `W*H`, `W×H`, `WxH` or the desktop UI's label."""
    match = _SIZE.match(text)
    if match is None:
        raise Refused(field, f"{text[:60]!r} is not a size.", "Write width*height in pixels, such as 1152*896.")
    return check_size(int(match[1]), int(match[2]), field)


def check_size(width: int, height: int, field: str = "width") -> tuple[int, int]:
    """Bring a size down to multiples of 8 (one latent cell); refuse what no picture can have."""
    width, height = width // 8 * 8, height // 8 * 8
    if not (SMALLEST_PX <= width <= LARGEST_PX and SMALLEST_PX <= height <= LARGEST_PX):
        raise Refused(
            field,
            f"{width}x{height} is not a possible picture size.",
            f"Each side is between {SMALLEST_PX} and {LARGEST_PX} pixels.",
        )
    return width, height


def aspect_label(width: int, height: int) -> str:
    """`1152×896 ∣ 9:7`: the size with its reduced ratio, for people."""
    divisor = gcd(width, height)
    return f"{width}×{height} ∣ {width // divisor}:{height // divisor}"
