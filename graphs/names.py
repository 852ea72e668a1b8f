"""Finding what a caller meant: names whatever the case, files by stem, and the nearest thing to a mistyped name."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import PurePosixPath

LONGEST_TYPO = 300  # characters that are compared; a request may send megabytes as a name


class UnknownName(str):
    """A warning about a name that nothing answers to. field: of the GenerationRequest that gave it."""

    field: str

    def __new__(cls, field: str, text: str) -> "UnknownName":
        made = super().__new__(cls, text)
        made.field = field
        return made


def find_folded(name: str, names: Iterable[str]) -> str | None:
    """The entry equal to a name, else the first equal to it in any case."""
    listed = list(names)
    if name in listed:
        return name
    folded = name.strip().casefold()
    return next((entry for entry in listed if entry.casefold() == folded), None)


def find_file(name: str, files: Sequence[str]) -> str | None:
    """The listed file that a name means: the path as listed, the bare file name, or the bare stem."""
    wanted = name.replace("\\", "/").strip()
    if found := find_folded(wanted, files):
        return found
    folded = wanted.casefold()
    for part in ("name", "stem"):
        for file in files:
            if getattr(PurePosixPath(file.replace("\\", "/")), part).casefold() == folded:
                return file
    return None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest name, or nothing."""
    by_fold = {entry.casefold(): entry for entry in names}
    close = get_close_matches(name[:LONGEST_TYPO].casefold(), by_fold, n=1, cutoff=0.6)
    return f" Did you mean {by_fold[close[0]]!r}?" if close else ""
