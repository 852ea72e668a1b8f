"""How fast pictures become PNG files: Focal's writer against Pillow, in one process, turn by turn.

    python -m benchmarks.png [--repeats 7] [--json]

The picture is 1024 x 1024: smooth noise and fine grain, like a generated photo. Level 4 is what ComfyUI's SaveImage
uses.
"""

import argparse
import io
import json
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from models.files.png import deflate_isal, deflate_zlib, encode_png


def photo(side: int = 1024, seed: int = 0) -> np.ndarray:
    """Make smooth colour noise with grain of sigma 2, (side, side, 3) uint8."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    return (np.asarray(coarse, dtype=np.float32) + random.normal(0, 2, (side, side, 3))).clip(0, 255).astype(np.uint8)


def pillow(level: int) -> Callable[[np.ndarray], bytes]:
    """Return an encoder by Pillow at a compression level."""

    def encode(pixels: np.ndarray) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG", compress_level=level)
        return out.getvalue()

    return encode


ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "pillow level 4": pillow(4),
    "pillow level 1": pillow(1),
    "focal, zlib": lambda pixels: encode_png(pixels, compress=deflate_zlib),
    "focal, ISA-L": lambda pixels: encode_png(pixels, compress=deflate_isal),
}


def measure(repeats: int) -> dict[str, dict[str, float]]:
    """Return the best time in ms and the size in KB of each encoder; encoders take turns."""
    pixels = photo()
    best = dict.fromkeys(ENCODERS, float("inf"))
    sizes = {}
    for _ in range(repeats):
        for name, encode in ENCODERS.items():
            started = time.perf_counter()
            data = encode(pixels)
            best[name] = min(best[name], (time.perf_counter() - started) * 1e3)
            sizes[name] = len(data) / 1024
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels), name
    return {name: {"ms": round(best[name], 2), "kb": round(sizes[name])} for name in ENCODERS}


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(arguments.repeats)
    ratio = result["pillow level 4"]["ms"] / result["focal, ISA-L"]["ms"]
    if arguments.json:
        print(json.dumps({"encoders": result, "ratio": round(ratio, 1)}))
        return
    for name, row in result.items():
        print(f"{name:16} {row['ms']:8.2f} ms {row['kb']:6.0f} KB")
    print(f"Focal is {ratio:.1f} times as fast as Pillow at level 4.")


if __name__ == "__main__":
    main()
