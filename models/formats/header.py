"""The header of a safetensors file: names, shapes and metadata without any weights, and without torch.

Format: https://github.com/huggingface/safetensors (8 bytes length, JSON header, data).
"""

import json
from pathlib import Path
from typing import Any

from models.errors import BadModelFile

MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself
CONVERT = "Use the .safetensors version of this model."

# First bytes of what people save under a model's name, and what they should do about it.
_IMPOSTORS = (
    ((b"PK\x03\x04", b"\x80\x02", b"\x80\x04"), "is a pickled PyTorch file", "Pickles can run code and are not read."),
    (
        (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML"),
        "is a web page",
        "The download answered with HTML; download it again.",
    ),
    ((b"version https://git-lfs",), "is a git-lfs pointer", "Run `git lfs pull`, or download the file itself."),
    ((b"GGUF",), "is a GGUF file", "Quantised GGUF files are not supported."),
)


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header, metadata included, and the bytes of data behind it. Raises BadModelFile."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
            length = int.from_bytes(start[:8], "little")
            sound = size >= 10 and length <= MAX_HEADER_BYTES and start[8:9] == b"{"
            if not sound:  # a header of 640 bytes begins like a pickle
                _refuse_impostors(path, start)
            if size < 10:
                raise BadModelFile(path, f"is only {size} bytes long", "The download is incomplete; download it again.")
            if not sound:
                raise BadModelFile(path, "is not a safetensors file", CONVERT)
            if 8 + length > size:
                raise BadModelFile(path, "is truncated: its header is cut off", "Download it again.")
            file.seek(8)
            header = json.loads(file.read(length))
    except OSError as error:
        raise BadModelFile(
            path, f"cannot be opened ({error.strerror or error})", "Check the path and the permissions."
        ) from error
    except ValueError as error:  # JSON, or bytes that are not UTF-8
        raise BadModelFile(path, "has a damaged header", "Download it again.") from error
    return header, size - 8 - length


def _refuse_impostors(path: Path, start: bytes) -> None:
    for beginnings, fault, advice in _IMPOSTORS:
        if start.startswith(beginnings):
            raise BadModelFile(path, f"{fault}, not safetensors", f"{advice} {CONVERT}")
