"""Textual inversion: `embedding:name` in a prompt stands for the learned vectors of a file.

Only safetensors are read. A pickle (.pt, .bin) can run code when it is opened and is refused by name. File layouts:
SDXL `clip_l`/`clip_g`; A1111 `string_to_param.*`, or `emb_params`; otherwise the first tensor (fooocus-behaviour §2.8).
"""

import logging
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.errors import BadModelFile

PREFIX = "embedding:"
EXTENSIONS = (".safetensors", ".pt", ".bin")
_MAX_BYTES = 64 * 2**20  # the largest published are below 1 MB; the cache holds a few of them

log = logging.getLogger(__name__)


class Embeddings:
    """The embedding files below some folders, by every name that a prompt may give them.

    The folders are walked once, at the first `embedding:` word, so that a prompt full of such words stays cheap. A
    prompt's text is only ever looked up here, never joined to a path.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = tuple(folders)
        self._files: dict[str, Path] | None = None

    def vectors(self, word: str, encoder: str, width: int) -> tuple[Tensor | None, str]:
        """Return the vectors (n, width) of `embedding:name` for encoder "l" or "g", and the commas around the name.

        None when there is no such file or nothing of this width in it.
        """
        name = word.removeprefix(PREFIX)
        path, commas = self._find(name), ""
        if path is None and (bare := name.strip(",")) != name:
            path, commas = self._find(bare), "," * (len(name) - len(bare))
        if path is None:
            log.warning("No embedding file is called %r; the word is left out of the prompt.", name[:80])
            return None, commas
        stat = path.stat()
        return _read(path, stat.st_mtime_ns, stat.st_size, encoder, width), commas

    def _find(self, name: str) -> Path | None:
        if self._files is None:
            self._files = {}
            for folder in self._folders:
                for path, names in _names(folder.resolve()):
                    for known in names:
                        self._files.setdefault(known, path)
        return self._files.get(name.replace("\\", "/"))


def _names(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each file with its names: with or without extension, with or without the folders above it."""
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        # Exact names first, then in the order in which extensions are tried.
        for file in sorted(files, key=lambda name: (_extension_rank(name), name)):
            path = Path(folder, file)
            if path.suffix.lower() not in EXTENSIONS or not path.resolve().is_relative_to(root):
                continue
            parts = path.relative_to(root).parts
            tails = ["/".join(parts[start:]) for start in range(len(parts))]
            yield path, tails + [tail[: -len(path.suffix)] for tail in tails]


def _extension_rank(name: str) -> int:
    suffix = Path(name).suffix.lower()
    return EXTENSIONS.index(suffix) if suffix in EXTENSIONS else len(EXTENSIONS)


@lru_cache(maxsize=64)
def _read(path: Path, modified_ns: int, size: int, encoder: str, width: int) -> Tensor | None:
    """Read a file's vectors; modified_ns and size are part of the cache's key so that a changed file is read again."""
    if path.suffix.lower() != ".safetensors":
        raise BadModelFile(
            path,
            "embeddings in pickle format (.pt, .bin) are not read, because opening one can run code",
            "Convert it to safetensors and put that file in its place.",
        )
    if size > _MAX_BYTES:
        raise BadModelFile(path, f"{size} bytes are too many for an embedding", "Check that it is not a model file.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as fault:
        raise BadModelFile(path, f"not a readable safetensors file ({fault})", "Download it again.") from fault
    return _choose(tensors, encoder, width)


def _choose(tensors: dict[str, Tensor], encoder: str, width: int) -> Tensor | None:
    own = f"clip_{encoder}"
    if own in tensors:
        candidates = [tensors[own]]
    elif "clip_l" in tensors or "clip_g" in tensors:
        return None  # the file speaks to the other encoder only
    else:
        learned = [value for key, value in tensors.items() if key.startswith(("string_to_param", "emb_params"))]
        candidates = (learned or list(tensors.values()))[:1]
    rows = [tensor.reshape(-1, tensor.shape[-1]) for tensor in candidates if tensor.ndim and tensor.is_floating_point()]
    rows = [tensor for tensor in rows if tensor.shape[-1] == width]
    return torch.cat(rows).float() if rows else None
