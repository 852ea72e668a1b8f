"""Reading safetensors: header checks with clear faults, then tensors one by one through mmap."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.errors import BadModelFile
from models.formats.header import CONVERT, read_header

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class TensorInfo:
    """What the header says of one tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass
class WeightFile:
    """An open safetensors file: names and shapes at once, tensors when asked for."""

    path: Path
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str] = field(default_factory=dict)
    _handle: Any = None

    def __enter__(self) -> Self:
        try:
            self._handle = safe_open(str(self.path), framework="pt", device="cpu").__enter__()
        except (SafetensorError, OSError) as error:
            raise BadModelFile(self.path, f"cannot be read ({error})", "Download it again.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        handle, self._handle = self._handle, None
        handle.__exit__(kind, error, trace)

    def tensor(self, name: str) -> Tensor:
        """Return one tensor in the file's dtype, backed by the mapped file: copy it, never write to it."""
        try:
            return self._handle.get_tensor(name)
        except SafetensorError as error:
            raise BadModelFile(
                self.path, f"tensor {name} cannot be read ({error})", "Download the file again."
            ) from error

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return a tensor's shape, None when the file does not have it."""
        info = self.tensors.get(name)
        return info.shape if info else None


def open_weights(path: str | Path) -> WeightFile:
    """Read and check the header of a safetensors file.

    Raises BadModelFile for a file that is missing, truncated, pickled, a web page or otherwise not safetensors.
    Format: https://github.com/huggingface/safetensors (8 bytes length, JSON header, data).
    """
    path = Path(path)
    header, data_bytes = read_header(path)
    metadata = header.pop("__metadata__", {})
    tensors = {name: _tensor_info(path, name, entry, data_bytes) for name, entry in header.items()}
    if not tensors:
        raise BadModelFile(path, "holds no tensors", CONVERT)
    return WeightFile(path, tensors, metadata if isinstance(metadata, dict) else {})


def _tensor_info(path: Path, name: str, entry: Any, data_bytes: int) -> TensorInfo:
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise BadModelFile(path, f"has a damaged header (entry {name})", "Download it again.") from error
    if end > data_bytes:
        missing = (end - data_bytes) / 2**20
        raise BadModelFile(
            path, f"is truncated: at least {missing:.1f} MiB are missing at its end", "Download it again."
        )
    if dtype not in DTYPES:
        raise BadModelFile(
            path, f"stores {name} as {dtype}, which is not supported", "Use an fp16, bf16 or fp32 version."
        )
    if start < 0 or end - start != math.prod(shape) * DTYPES[dtype].itemsize:
        raise BadModelFile(path, f"has a damaged header (entry {name})", "Download it again.")
    return TensorInfo(DTYPES[dtype], shape)
