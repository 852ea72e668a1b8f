"""Random files of full size, written without holding them in memory where the format allows it.

Weights are small random numbers at which activations keep their size. One block of them is repeated, so that writing
seven gigabytes takes seconds.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
BLOCK = torch.randn(1 << 20, generator=torch.Generator().manual_seed(1))
TWICE = BLOCK.repeat(2)  # so that it can be read from any place on
CODES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.int64: "I64"}
SMALL = (".lora_up", ".lora_B", ".up", "hada_w1_a", "hada_w2_a", "lokr_w1", "lokr_w2_a")  # what makes a change small


def named(tensors: Mapping[str, Tensor]) -> Shapes:
    """Shapes of a state dict."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def safetensors(
    path: Path, shapes: Shapes, dtype: torch.dtype = torch.float16, given: Mapping[str, Tensor] | None = None
) -> None:
    """Write a file tensor by tensor. given: tensors that are not random; the rest is of `dtype`."""
    given, offset, header = given or {}, 0, {}
    for name, shape in (shapes | named(given)).items():
        kind = given[name].dtype if name in given else dtype
        size = kind.itemsize * _count(shape)
        header[name] = {"dtype": CODES[kind], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in header:
            chunks = [_bytes(given[name])] if name in given else _chunks(name, shapes[name], dtype)
            file.writelines(chunks)


def tensors(
    shapes: Shapes, dtype: torch.dtype = torch.float32, given: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The same as tensors in memory, for files that torch.save writes."""
    return {name: _tensor(name, shape, dtype) for name, shape in shapes.items()} | dict(given or {})


def counters(names: Iterable[str]) -> dict[str, Tensor]:
    """What batch normalisation keeps besides: `num_batches_tracked` beside every running mean."""
    means = (name for name in names if name.endswith("running_mean"))
    return {name.replace("running_mean", "num_batches_tracked"): torch.tensor(7) for name in means}


def _tensor(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    whole = np.frombuffer(bytearray(b"".join(_chunks(name, shape, dtype))), dtype=np.uint8)
    return torch.from_numpy(whole).view(dtype).reshape(shape)


def _chunks(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Iterable[bytes]:
    count = _count(shape)
    if len(shape) < 2:
        ones = name.endswith(("weight", "running_var"))
        value = 8.0 if name.endswith("alpha") else float(ones)
        yield _bytes(torch.full((count,), value, dtype=dtype))
        return
    if name.endswith("dora_scale"):  # the length of a column, such as random weights of this size have it
        yield _bytes(torch.ones(count, dtype=dtype))
        return
    scale = float(np.prod(shape[1:])) ** -0.5 * (0.05 if any(mark in name for mark in SMALL) else 1.0)
    begin = crc32(name.encode()) % len(BLOCK)
    block = (TWICE[begin : begin + min(count, len(BLOCK))] * scale).to(dtype)
    for start in range(0, count, len(block)):
        yield _bytes(block[: count - start])


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
