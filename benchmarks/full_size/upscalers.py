"""RRDB upscalers of the published size (64 channels, 23 blocks, growth 32), in four dialects of names."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.full_size.proof import Bench, Proof, bring
from benchmarks.full_size.writing import Shapes, tensors
from models.upscale.upscaler import load_upscaler

Names = Callable[[int, int, int], str]  # block, dense block, convolution → its name

# The five convolutions around the trunk, then what follows an upsampling: first, trunk, up, up, high-resolution, last.
OLD_ENDS = ("model.0", "model.1.sub.23", "model.3", "model.6", "model.8", "model.10")
DIALECTS: dict[str, tuple[str, tuple[str, ...], Names, str | None]] = {
    "esrgan": ("ESRGAN_4x.pth", OLD_ENDS, lambda b, d, c: f"model.1.sub.{b}.RDB{d}.conv{c}.0", None),
    "fooocus": (
        "fooocus_upscaler_s409985e5.bin",
        OLD_ENDS,
        lambda b, d, c: f"model.1.sub.{b}.residual_block_{d}.conv{c}.0",
        None,
    ),
    "esrgan-new": (
        "RRDB_ESRGAN_x4.pth",
        ("conv_first", "trunk_conv", "upconv1", "upconv2", "HRconv", "conv_last"),
        lambda b, d, c: f"RRDB_trunk.{b}.RDB{d}.conv{c}",
        None,
    ),
    "real-esrgan": (
        "RealESRGAN_x4plus.pth",
        ("conv_first", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"),
        lambda b, d, c: f"body.{b}.rdb{d}.conv{c}",
        "params_ema",
    ),
}


def rrdb_shapes(dialect: str) -> Shapes:
    _, ends, inner, _ = DIALECTS[dialect]
    shapes: Shapes = {}

    def convolution(name: str, out: int, into: int) -> None:
        shapes.update({f"{name}.weight": (out, into, 3, 3), f"{name}.bias": (out,)})

    convolution(ends[0], 64, 3)
    for block in range(23):
        for dense in (1, 2, 3):
            for number in range(1, 6):
                convolution(inner(block, dense, number), 64 if number == 5 else 32, 64 + 32 * (number - 1))
    for name in ends[1:-1]:
        convolution(name, 64, 64)
    convolution(ends[-1], 3, 64)
    return shapes


def write(dialect: str, path: Path) -> None:
    half = dialect == "fooocus"  # as its 34 MB say
    state, wrapper = tensors(rrdb_shapes(dialect), torch.float16 if half else torch.float32), DIALECTS[dialect][3]
    torch.save({wrapper: state} if wrapper else state, path)


def run(dialect: str, bench: Bench) -> Tensor:
    with bench.loading():
        upscaler = load_upscaler(bench / DIALECTS[dialect][0], bench.float32)
        bring(upscaler.module)
    return upscaler.upscale(torch.rand(1, 24, 32, 3))


PROOFS = {
    f"upscaler-{dialect}": Proof({file: partial(write, dialect)}, partial(run, dialect))
    for dialect, (file, *_) in DIALECTS.items()
}
