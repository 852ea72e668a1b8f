"""Styles: named texts wrapped around a prompt (Fooocus behaviour §2.6). The texts in data/styles are Focal's own."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct

from graphs.names import find_folded

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "data" / "styles"
FAMILIES = tuple(f"sdxl_styles_{name}.json" for name in ("fooocus", "sai", "mre", "twri", "diva", "marc_k3nt3l"))
EXPANSION = "Fooocus V2"  # Not a text: it asks for prompt expansion by a language model.
RANDOM = "Random Style"


class Style(Struct, frozen=True):
    """One style as it stands in a file: `{prompt}` in `prompt` marks the place of the user's words."""

    name: str
    prompt: str = ""
    negative_prompt: str = ""


class Wrapped(Struct, frozen=True):
    """Chunks a prompt turns into, each encoded on its own, and the names of the styles that made them."""

    positive: list[str]
    negative: list[str]
    styles: list[str]


def normalise_name(name: str) -> str:
    """`mre-sumi-e-detailed` → `MRE Sumi E Detailed`: the way style names are shown and asked for."""
    words = (word[:1].upper() + word[1:].lower() for word in name.replace("-", " ").split(" "))
    shown = " ".join(words)
    for plain, written in (("3d", "3D"), ("Sai", "SAI"), ("Mre", "MRE"), ("(s", "(S")):
        shown = shown.replace(plain, written)
    return shown


class StyleBook:
    """All styles by name, in loading order."""

    def __init__(self, styles: Mapping[str, Style]) -> None:
        self.styles = dict(styles)

    @classmethod
    def load(cls, user_folder: Path | None = None) -> "StyleBook":
        """Read the user's style files, then the six shipped families.

        A user file named like a shipped family takes its place; other user files come first, and a shipped style wins
        over a user style of the same name, as in Fooocus. A file that cannot be read is left out with a log line.
        """
        mine = {path.name: path for path in sorted(user_folder.glob("*.json"))} if user_folder else {}
        paths = [path for name, path in mine.items() if name not in FAMILIES]
        paths += [mine.get(name, SHIPPED / name) for name in FAMILIES]
        return cls({style.name: style for path in paths for style in _read(path)})

    @property
    def names(self) -> list[str]:
        """Every name that can be selected, the two special ones first."""
        return [EXPANSION, RANDOM, *self.styles]

    def find(self, name: str) -> str | None:
        """The selectable name that is meant, whatever the case and with `-` or `_` for spaces; None if unknown."""
        return find_folded(name, self.names) or find_folded(name.replace("-", " ").replace("_", " "), self.names)

    def pick(self, names: Iterable[str], rng: Random) -> list[str]:
        """Settle every `Random Style` by one draw from the image's generator."""
        return [rng.choice(list(self.styles)) if name == RANDOM else name for name in names]

    def wrap(
        self,
        styles: Sequence[str],
        positive: str,
        negative: str,
        extra_positive: Sequence[str] = (),
        extra_negative: Sequence[str] = (),
    ) -> Wrapped:
        """Apply styles in order to a main prompt and put all chunks in Fooocus's order.

        Positive: the styles' lines (the bare prompt first when no style holds `{prompt}`), then extra lines.
        Negative: the styles' lines, the main negative, extra lines. Empty chunks go; at least one always remains.
        """
        placed = False
        positives: list[str] = []
        negatives: list[str] = []
        for name in styles:
            style = self.styles[name]
            placed = placed or "{prompt}" in style.prompt
            positives += style.prompt.replace("{prompt}", positive).splitlines()
            negatives += style.negative_prompt.splitlines()
        if not placed:
            positives.insert(0, positive)
        return Wrapped(
            positive=[chunk for chunk in (*positives, *extra_positive) if chunk] or [positive],
            negative=[chunk for chunk in (*negatives, negative, *extra_negative) if chunk] or [negative],
            styles=list(styles),
        )


def _read(path: Path) -> list[Style]:
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=list[Style])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        logger.warning("style file %s was left out: %s", path, error)
        return []
    return [msgspec.structs.replace(style, name=normalise_name(style.name)) for style in entries]
