"""Progress in a terminal: one line that is drawn over, or plain lines when nobody watches."""

import shutil
import sys
from typing import TextIO


class ProgressLine:
    """Draws percent and text on standard error."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._last = ""
        self._drawn = 0

    @property
    def live(self) -> bool:
        """Whether somebody watches: a terminal."""
        return self._live

    def show(self, percent: int, text: str) -> None:
        """Draw the state; a pipe gets a line per new text of another phase, not per step."""
        if not self._live:
            phase = text.partition(" ")[0]
            if phase and phase != self._last:
                print(f"{percent:3}% {text}", file=self._stream, flush=True)
                self._last = phase
            return
        filled = percent * 30 // 100
        line = f"[{'█' * filled}{'·' * (30 - filled)}] {percent:3}% {text}"
        line = line[: shutil.get_terminal_size().columns - 1]
        print("\r" + line.ljust(self._drawn), end="", file=self._stream, flush=True)
        self._drawn = len(line)

    def end(self) -> None:
        """Leave the line."""
        if self._live and self._drawn:
            print(file=self._stream, flush=True)
            self._drawn = 0
