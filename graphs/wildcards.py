"""Wildcards: `__name__` in a prompt becomes a line of `name.txt` (Fooocus behaviour §2.3)."""

import logging
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from random import Random

from graphs.file_state import State, state_of

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "data" / "wildcards"

_PLACEHOLDER = re.compile(r"__([\w-]+)__")
MAX_ROUNDS = 64  # Nested wildcards that refer to each other end here.


class Wildcards:
    """The wildcard files below some folders, read when first asked for; earlier folders come first."""

    def __init__(self, roots: Iterable[Path] = (SHIPPED,)) -> None:
        self.files: dict[str, Path] = {}
        for root in roots:
            for path in sorted(root.rglob("*.txt")):
                self.files.setdefault(path.stem, path)
        self.lines = cache(self._read)
        self._states: dict[Path, State] = {}

    @property
    def names(self) -> list[str]:
        return list(self.files)

    @property
    def changed(self) -> bool:
        """Whether a file that was read is another one now."""
        return any(state_of(path) != state for path, state in list(self._states.items()))

    def _read(self, name: str) -> tuple[str, ...]:
        """The non-empty lines of a wildcard file; none when there is no such file, or none that can be read."""
        path = self.files.get(name)
        if path is None:
            return ()
        self._states[path] = state_of(path)
        try:
            text = path.read_text(encoding="utf-8-sig", errors="replace")
        except OSError as error:
            logger.warning("wildcard file %s was left out: %s", path, error)
            return ()
        return tuple(line for line in text.splitlines() if line)

    def apply(self, text: str, rng: Random, *, index: int = 0, in_order: bool = False) -> str:
        """Replace every placeholder, again and again while lines bring in new ones.

        rng: the image's own generator, one draw per placeholder. in_order: take line `index` (modulo) instead.
        A name without lines is replaced by itself, without the underscores.
        """
        for _ in range(MAX_ROUNDS):
            names: Sequence[str] = _PLACEHOLDER.findall(text)
            if not names:
                break
            for name in names:
                placeholder = f"__{name}__"
                lines = self.lines(name)
                if not lines:
                    text = text.replace(placeholder, name)
                elif in_order:
                    text = text.replace(placeholder, lines[index % len(lines)], 1)
                else:
                    text = text.replace(placeholder, rng.choice(lines), 1)
        return text

    def missing(self, text: str) -> list[str]:
        """Names of placeholders in a text that no file answers to."""
        return [name for name in dict.fromkeys(_PLACEHOLDER.findall(text)) if not self.lines(name)]
