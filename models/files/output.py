"""Names and places of result files, written so that nobody sees half a file and no name leads out of the folder."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from models.errors import ModelError

MAX_NAME = 120  # characters; file systems allow 255 bytes, and a suffix is added
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # Windows' device names


class BadFileName(ModelError):
    """A name or prefix that would lead out of the output folder."""

    code = "bad_file_name"


def safe_name(text: str) -> str:
    """Return text as a plain file name without separators, control characters, dots in front or device names."""
    cleaned = "".join(c if c.isprintable() and c not in '<>:"/\\|?*' else "_" for c in text).strip(" .")
    cleaned = cleaned.encode("utf-8", "replace")[:MAX_NAME].decode("utf-8", "ignore").strip(" .")
    return f"_{cleaned}" if not cleaned or _RESERVED.fullmatch(cleaned) else cleaned


def write_file(path: Path, data: bytes) -> None:
    """Write a file through a temporary name: complete and on the disk before it has its name."""
    temporary = _write_temporary(path, data)
    os.replace(temporary, path)
    _sync_folder(path.parent)


def write_next(folder: Path, name_of: Callable[[int], str], counter: int, data: bytes) -> tuple[str, int]:
    """Write a file under the first free number from counter on; returns its name and number. Never overwrites."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = _write_temporary(folder / name_of(counter), data)
    try:
        while not _take_name(temporary, folder / name_of(counter)):
            counter += 1
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(folder)
    return name_of(counter), counter


def next_counter(folder: Path, stem: str) -> int:
    """Return 1 + the highest number of the files `<stem>_<digits>_*` in a folder, case ignored (ComfyUI's rule)."""
    pattern = re.compile(rf"{re.escape(stem)}_(\d+)_", re.IGNORECASE)
    found = (pattern.match(entry.name) for entry in os.scandir(folder)) if folder.is_dir() else ()
    return 1 + max((int(match[1]) for match in found if match), default=0)


def split_prefix(prefix: str, width: int, height: int, now: time.struct_time | None = None) -> tuple[str, str]:
    """Return subfolder and stem of ComfyUI's filename_prefix, %tokens% filled in. Raises BadFileName."""
    now = now or time.localtime()
    tokens = {"width": width, "height": height, "year": now.tm_year}
    tokens |= {"month": f"{now.tm_mon:02}", "day": f"{now.tm_mday:02}", "hour": f"{now.tm_hour:02}"}
    tokens |= {"minute": f"{now.tm_min:02}", "second": f"{now.tm_sec:02}"}
    for token, value in tokens.items():
        prefix = prefix.replace(f"%{token}%", str(value))
    *folders, stem = prefix.replace("\\", "/").split("/")
    if prefix.startswith(("/", "\\")) or ".." in folders or stem == "..":
        raise BadFileName(f"The prefix {prefix[:100]!r} leads out of the output folder.", "Use a name or a subfolder.")
    return "/".join(safe_name(folder) for folder in folders if folder not in ("", ".")), safe_name(stem) if stem else ""


def _take_name(temporary: Path, path: Path) -> bool:
    """Give a finished file a name, unless the name is taken: what rename would not tell."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: hold the name with an empty file, then replace that
        try:
            path.open("xb").close()
        except FileExistsError:
            return False
        os.replace(temporary, path)
    return True


def _write_temporary(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name[:100]}.{os.getpid()}.{time.monotonic_ns()}.part"
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    """Make the new name as durable as the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
