"""The files of RRDB upscalers: four dialects of names, brought to Real-ESRGAN's; sizes read from the tensors.

| dialect | a dense block's convolution |
|---|---|
| Real-ESRGAN (basicsr), often under `params_ema` | `body.0.rdb1.conv1.weight` |
| ESRGAN, as most community models are | `model.1.sub.0.RDB1.conv1.0.weight` |
| Fooocus | `model.1.sub.0.residual_block_1.conv1.0.weight` |
| ESRGAN's own first release, BSRGAN | `RRDB_trunk.0.RDB1.conv1.weight` |
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from models.errors import BadModelFile
from models.formats.pickled import open_either
from models.formats.plan import Plan, Source, plan_shapes
from models.formats.weights import WeightFile
from models.upscale.rrdb import RrdbSizes

WRAPPERS = ("params_ema", "params", "state_dict")  # of Real-ESRGAN's training code, and of trainers in general
PREFIX = "module."  # of a model saved while spread over several GPUs
_HINT = "Upscalers of the ESRGAN kind (RRDB) can be used: ESRGAN, Real-ESRGAN, Fooocus' own."

Shapes = Mapping[str, tuple[int, ...]]

_DENSE = (
    re.compile(r"model\.1\.sub\.(\d+)\.(?:RDB|residual_block_)([123])\.conv([1-5])\.0\.(weight|bias)"),
    re.compile(r"(?:RRDB_trunk|body)\.(\d+)\.(?:RDB|rdb)([123])\.conv([1-5])\.(weight|bias)"),
)
_PLAIN = re.compile(r"(conv_first|trunk_conv|conv_body|upconv\d|conv_up\d|HRconv|conv_hr|conv_last)\.(weight|bias)")
_PLAIN_NAMES = {"trunk_conv": "conv_body", "HRconv": "conv_hr"}
_TRUNK = re.compile(r"model\.1\.sub\.(\d+)\.(weight|bias)")
_TOP = re.compile(r"model\.(\d+)\.(weight|bias)")


def open_upscaler(path: str | Path) -> WeightFile:
    """Open an upscaler's file of any dialect. Raises BadModelFile."""
    return open_either(path, WRAPPERS)


def plan_rrdb(file: WeightFile) -> tuple[RrdbSizes, Plan]:
    """Say which tensor fills which parameter of an RrdbNet, and how large that is.

    Raises BadModelFile for another architecture or missing parts.
    """
    renamed = _renamed(file.tensors)
    plan = {target: Source(name) for name, target in renamed.items() if target is not None}
    if "conv_first.weight" not in plan or "body.0.rdb1.conv1.weight" not in plan:
        raise BadModelFile(file.path, "is no upscaler that Focal knows", _HINT)
    if unknown := [name for name, target in renamed.items() if target is None]:
        fault = f"has {len(unknown)} parts that ESRGAN has not (the first: {unknown[0][:80]})"
        raise BadModelFile(file.path, fault, _HINT)
    return _sizes(file, plan_shapes(file, plan)), plan


def _renamed(names: Iterable[str]) -> dict[str, str | None]:
    """Map each name of a file to the parameter it fills, None for names of no known dialect."""
    bare = {name.removeprefix(PREFIX): name for name in names}
    tops = sorted({int(match[1]) for name in bare if (match := _TOP.fullmatch(name))})
    places = _sequential_places(tops)
    return {original: _dense(name) or _plain(name) or _sequential(name, places) for name, original in bare.items()}


def _dense(name: str) -> str | None:
    for pattern in _DENSE:
        if match := pattern.fullmatch(name):
            block, dense, conv, kind = match.groups()
            return f"body.{block}.rdb{dense}.conv{conv}.{kind}"
    return None


def _plain(name: str) -> str | None:
    match = _PLAIN.fullmatch(name)
    if match is None:
        return None
    part, kind = match.groups()
    if part.startswith(("upconv", "conv_up")):
        return f"conv_up.{int(part[-1]) - 1}.{kind}"
    return f"{_PLAIN_NAMES.get(part, part)}.{kind}"


def _sequential(name: str, places: Mapping[int, str]) -> str | None:
    """Old ESRGAN files number the layers of one nn.Sequential, activations and resizes counted too."""
    if match := _TRUNK.fullmatch(name):
        return f"conv_body.{match[2]}"
    if match := _TOP.fullmatch(name):
        place = places.get(int(match[1]))
        return f"{place}.{match[2]}" if place else None
    return None


def _sequential_places(numbers: list[int]) -> dict[int, str]:
    """Layers with weights at the top level, in order: first, one per doubling, high-resolution, last."""
    if len(numbers) < 3 or numbers[0] != 0:
        return {}
    first, *doublings, hr, last = numbers
    return {first: "conv_first", hr: "conv_hr", last: "conv_last"} | {
        number: f"conv_up.{i}" for i, number in enumerate(doublings)
    }


def _sizes(file: WeightFile, shapes: Shapes) -> RrdbSizes:
    try:
        features, folded = shapes["conv_first.weight"][:2]
        growth = shapes["body.0.rdb1.conv1.weight"][0]
        channels = shapes["conv_last.weight"][0]
    except (KeyError, ValueError, IndexError) as error:
        raise BadModelFile(
            file.path, "lacks parts of an upscaler", "The file is damaged; download it again."
        ) from error
    blocks = len({name.split(".")[1] for name in shapes if name.startswith("body.")})
    doublings = sum(name.startswith("conv_up.") and name.endswith(".weight") for name in shapes)
    unshuffle = math.isqrt(folded // 3)
    sizes = RrdbSizes(features, growth, blocks, doublings, max(unshuffle, 1), channels)
    if channels != 3 or 3 * unshuffle**2 != folded or 2**doublings % unshuffle:
        fault = f"works on {folded} channels and gives {channels}, with {doublings} doublings"
        raise BadModelFile(file.path, fault, "Only upscalers of colour pictures can be used.")
    return sizes
