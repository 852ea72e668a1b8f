"""What a worker writes to its error stream: into a file, into our log, and its last words are kept."""

import logging
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path

log = logging.getLogger("focal.worker")

KEPT_LINES = 60
LINE_LIMIT_BYTES = 4096
"""A longer line is cut: a worker that writes without a line break must not fill our memory."""
FILE_LIMIT_BYTES = 2 * 2**20
OLD_FILES = 2


class WorkerLog:
    """Takes bytes as they come. `path` None keeps the lines in memory only."""

    def __init__(self, path: Path | None) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._rest = b""
        self._file: RotatingFileHandler | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = RotatingFileHandler(path, maxBytes=FILE_LIMIT_BYTES, backupCount=OLD_FILES, encoding="utf-8")
            self._file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))

    def feed(self, data: bytes) -> None:
        """Take what was written; whole lines go on, the rest waits for its end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_LIMIT_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._write(line)

    def flush(self) -> None:
        """Take an unfinished line as finished."""
        if self._rest:
            self._write(self._rest)
            self._rest = b""

    def forget(self) -> None:
        """Start anew for the next worker, so that its death is not blamed on the last one's lines."""
        self.flush()
        self._lines.clear()

    def tail(self, count: int = 12) -> str:
        """The last lines, for an error message."""
        return "\n".join(list(self._lines)[-count:])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, line: bytes) -> None:
        text = line[:LINE_LIMIT_BYTES].decode("utf-8", "replace").rstrip()
        if not text:
            return
        self._lines.append(text)
        log.info("%s", text)
        if self._file is not None:
            self._file.emit(logging.LogRecord("focal.worker", logging.INFO, "", 0, text, None, None))
