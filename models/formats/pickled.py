"""Weights in PyTorch's own format (`.pth`, `.bin`, `.pt`, `.ckpt`), read without running any of the code in them.

Only for kinds of model that nobody publishes as safetensors; docs/decisions/0006-pickled-weights.md has the rules.
"""

import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from models.errors import BadModelFile
from models.formats.weights import DTYPES, TensorInfo, WeightFile, open_weights

SAFETENSORS = (".safetensors", ".sft")
MAX_BYTES = 4 * 2**30
_SUPPORTED = frozenset(DTYPES.values())
_CONVERT = "Use a .safetensors version of this model."


@dataclass
class PickledFile(WeightFile):
    """An open file whose tensors are all at hand, mapped from the disk where the format allows it."""

    _tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tensors = {}

    def tensor(self, name: str) -> Tensor:
        """Return one tensor in the file's dtype: copy it, never write to it."""
        return self._tensors[name]


def open_either(path: str | Path, wrappers: Sequence[str] = ()) -> WeightFile:
    """Open safetensors or, by its ending, a pickled file. wrappers: see `open_pickled`. Raises BadModelFile."""
    path = Path(path)
    return open_weights(path) if path.suffix.lower() in SAFETENSORS else open_pickled(path, wrappers)


def open_pickled(path: str | Path, wrappers: Sequence[str] = ()) -> PickledFile:
    """Read a file that holds a dict of name → tensor, or such a dict under the first of `wrappers` that it has.

    Anything else in the file is refused: other objects, numbers among the tensors, views that claim more memory than
    the file has bytes. Raises BadModelFile.
    """
    path = Path(path)
    content = read_pickle(path)
    for name in wrappers:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    return _checked(path, content)


def open_pickled_groups(path: str | Path, groups: Sequence[str]) -> PickledFile:
    """Read a file that holds a dict of such dicts, as `group.name` → tensor; groups of other names are left out.

    Refuses what `open_pickled` refuses. Raises BadModelFile.
    """
    path = Path(path)
    content = read_pickle(path)
    tables = {group: content.get(group) for group in groups} if isinstance(content, dict) else {}
    flat: dict[str, Any] = {}
    for group, table in tables.items():
        if isinstance(table, dict):
            flat |= {f"{group}.{name}": tensor for name, tensor in table.items()}
    return _checked(path, flat)


def _checked(path: Path, content: Any) -> PickledFile:
    if not isinstance(content, dict) or not content:
        raise BadModelFile(path, "is no table of tensors", _CONVERT)
    for name, tensor in content.items():
        _check(path, name, tensor)
    tensors: dict[str, Tensor] = dict(content)
    # One tensor under two names, as tied embeddings are, is stored once.
    distinct = {(t.data_ptr(), t.shape, t.stride(), t.dtype): t.nbytes for t in tensors.values()}
    if sum(distinct.values()) > path.stat().st_size:
        raise BadModelFile(path, "describes more weights than it holds", _CONVERT)
    infos = {name: TensorInfo(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    return PickledFile(path, infos, _tensors=tensors)


def read_pickle(path: Path) -> Any:
    """Read plain containers, numbers, text and tensors, whatever their arrangement. Raises BadModelFile."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BadModelFile(path, f"has {size} bytes, more than is read of a pickled file", _CONVERT)
        is_zip = zipfile.is_zipfile(path)
        if is_zip:
            _refuse_compressed(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on pickle protocols; what it cannot read raises
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except OSError as error:
        fault = f"cannot be opened ({error.strerror or error})"
        raise BadModelFile(path, fault, "Check the path and the permissions.") from error
    except pickle.UnpicklingError as error:
        fault = "holds more than weights, or is no PyTorch file"
        raise BadModelFile(path, fault, f"Such files can run code and are not read. {_CONVERT}") from error
    except (RuntimeError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BadModelFile(path, "is damaged or no PyTorch file", "Download it again.") from error


def _refuse_compressed(path: Path) -> None:
    """PyTorch stores without compression; what is compressed could unfold to any size."""
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise BadModelFile(path, "is a compressed archive, which PyTorch does not write", _CONVERT)


def _check(path: Path, name: Any, tensor: Any) -> None:
    if not isinstance(name, str) or not isinstance(tensor, Tensor):
        raise BadModelFile(path, f"holds {type(tensor).__name__} {str(name)[:80]!r} among its tensors", _CONVERT)
    if tensor.dtype not in _SUPPORTED or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        raise BadModelFile(path, f"stores {name[:80]} as {tensor.dtype}, {tensor.layout}", _CONVERT)
