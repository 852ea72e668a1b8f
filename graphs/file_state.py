"""What tells that a file or a folder has changed since it was read."""

import os
from pathlib import Path

State = tuple[int, int] | None
"""Time of the last change in nanoseconds and size in bytes; None while there is no such file."""


def state_of(path: Path) -> State:
    """The state now. Take it before reading: a change in between is then seen the next time."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
