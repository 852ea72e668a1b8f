"""ONNX files through onnxruntime, which is imported only when the first of them is opened."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.errors import BadModelFile

KEPT = 2  # sessions in memory, each as large as its file


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that opens. inputs, outputs: names with shapes; a side that may vary is None."""

    path: Path
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: Mapping[str, tuple[int | None, ...]]

    def run(self, array: np.ndarray, outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """Run the file on the CPU with one array as its first input; gives the outputs asked for, or all."""
        session = _session(*_identity(self.path))
        return session.run(list(outputs) if outputs is not None else None, {next(iter(self.inputs)): array})


def open_onnx(path: str | Path) -> OnnxFile:
    """Open an ONNX file. Raises BadModelFile."""
    path = Path(path)
    session = _session(*_identity(path))
    return OnnxFile(path, _shapes(session.get_inputs()), _shapes(session.get_outputs()))


def free_onnx() -> None:
    """Drop all sessions."""
    _session.cache_clear()


@lru_cache(maxsize=KEPT)
def _session(path: Path, size: int, modified_ns: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; a published file warns about its unused weights
    try:
        return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own for each of a dozen faults
        raise BadModelFile(path, "is damaged or no ONNX model", "Download it again.") from error


def _identity(path: Path) -> tuple[Path, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise BadModelFile(
            path, f"cannot be opened ({error.strerror})", "Check the path and the permissions."
        ) from error
    return path, status.st_size, status.st_mtime_ns


def _shapes(values: Sequence[Any]) -> dict[str, tuple[int | None, ...]]:
    return {value.name: tuple(side if isinstance(side, int) else None for side in value.shape) for value in values}
