"""A WD14 tagger as a value: the TAGGER socket. An ONNX network gives each tag a probability, a CSV names the tags.

Formats: https://huggingface.co/SmilingWolf (models), Fooocus behaviour §5.10 (preparation, thresholds, wording).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from models.errors import BadModelFile
from models.files.image import to_uint8
from models.onnx import OnnxFile, open_onnx

GENERAL, CHARACTER = 0, 4  # categories of the table; its first rows rate the picture and are category 9
GENERAL_THRESHOLD, CHARACTER_THRESHOLD = 0.35, 0.85
MAX_TABLE_BYTES = 16 * 2**20
_HINT = "Use the .csv published with the tagger."


@dataclass(frozen=True)
class Tag:
    """One row of the table."""

    name: str
    category: int


@dataclass(frozen=True)
class Tagger:
    """A network on square pictures (1, side, side, 3) and the tags of its outputs, in order."""

    network: OnnxFile
    tags: Sequence[Tag]
    side: int

    def describe(
        self,
        image: Tensor,
        general_threshold: float = GENERAL_THRESHOLD,
        character_threshold: float = CHARACTER_THRESHOLD,
    ) -> str:
        """Name what a drawing (H, W, 3), 0..1, shows: characters, then the rest."""
        (found,) = self.network.run(prepared(to_uint8(image), self.side))[:1]
        return written(self.tags, found[0].tolist(), general_threshold, character_threshold)


def load_tagger(path: str | Path, table: Path) -> Tagger:
    """Open a tagger and its table. Raises BadModelFile."""
    network = open_onnx(path)
    shape, outputs = next(iter(network.inputs.values())), next(iter(network.outputs.values()))
    if len(shape) != 4 or shape[3] != 3 or shape[1] is None:
        raise BadModelFile(path, f"works on {shape}, not on square pictures", "Use a WD14 tagger.")
    tags = read_tags(table)
    if outputs[-1] is not None and outputs[-1] != len(tags):
        raise BadModelFile(table, f"names {len(tags)} tags, the tagger gives {outputs[-1]}", _HINT)
    return Tagger(network, tags, shape[1])


def read_tags(path: Path) -> list[Tag]:
    """Read a table with the columns tag_id, name, category, count. Raises BadModelFile."""
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise BadModelFile(path, "is too large for a table of tags", _HINT)
        with path.open(encoding="utf-8", newline="") as file:
            return [Tag(row["name"], int(row["category"])) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise BadModelFile(path, f"is no table of tags ({error})", _HINT) from error


def prepared(pixels: np.ndarray, side: int) -> np.ndarray:
    """Fit a picture (H, W, 3) into the middle of a white square, blue first: (1, side, side, 3) float32, 0..255."""
    picture = Image.fromarray(pixels[..., :3])
    ratio = side / max(picture.size)
    width, height = (max(1, int(length * ratio)) for length in picture.size)
    square = Image.new("RGB", (side, side), (255, 255, 255))
    fitted = picture.resize((width, height), Image.Resampling.LANCZOS)
    square.paste(fitted, ((side - width) // 2, (side - height) // 2))
    return np.ascontiguousarray(np.asarray(square, dtype=np.float32)[None, ..., ::-1])


def written(
    tags: Sequence[Tag],
    probabilities: Sequence[float],
    general_threshold: float = GENERAL_THRESHOLD,
    character_threshold: float = CHARACTER_THRESHOLD,
) -> str:
    """List the tags above their threshold, characters first, in the table's order, as a prompt writes them."""
    pairs = list(zip(tags, probabilities, strict=True))
    characters = [tag.name for tag, share in pairs if tag.category == CHARACTER and share > character_threshold]
    general = [tag.name for tag, share in pairs if tag.category == GENERAL and share > general_threshold]
    return ", ".join(_as_prompt(name) for name in (*characters, *general))


def _as_prompt(name: str) -> str:
    """Brackets would weigh words in a prompt, so they are escaped."""
    return name.replace("_", " ").replace("(", "\\(").replace(")", "\\)")
