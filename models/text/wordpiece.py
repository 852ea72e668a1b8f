"""BERT's WordPiece tokenizer, read from a `vocab.txt`: text in, ids out, and back.

Devlin et al. 2018, https://arxiv.org/abs/1810.04805; pieces are found as in Wu et al. 2016, https://arxiv.org/abs/1609.08144:
the longest entry first, inside a word with `##` before it. Ids equal those of transformers' BertTokenizer (uncased).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from models.errors import BadModelFile

UNKNOWN, START, SEPARATOR, PADDING, MASK = "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"
SPECIAL = (PADDING, UNKNOWN, START, SEPARATOR, MASK)
MAX_VOCABULARY_BYTES = 16 * 2**20
MAX_WORD = 100  # characters; longer words are unknown, as in BERT

# Ranges of ideographs, each of which is a word of its own.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
_BEFORE_MARK = re.compile(r" ([.,!?;:'])")


class WordPiece:
    """The words of one vocabulary. `size` counts the entries of the file; models may have added some behind them."""

    def __init__(self, entries: Iterable[str]) -> None:
        self.entries = list(entries)
        self.size = len(self.entries)
        self._ids = {entry: number for number, entry in enumerate(self.entries)}

    def id_of(self, entry: str, default: int | None = None) -> int:
        """The number of one entry, such as "[SEP]". Raises KeyError without a default."""
        found = self._ids.get(entry, default)
        if found is None:
            raise KeyError(entry)
        return found

    def ids(self, text: str) -> list[int]:
        """The ids of a text, without start and separator; `[SEP]` and its like in the text are themselves."""
        return [number for word in _words(text) for number in self._pieces(word)]

    def text(self, ids: Iterable[int]) -> str:
        """The text of ids: pieces joined, special entries and unknown ids left out, no space before a full stop."""
        words = [self.entries[number] for number in ids if 0 <= number < self.size]
        joined = " ".join(word for word in words if word not in SPECIAL).replace(" ##", "")
        return _BEFORE_MARK.sub(r"\1", joined).strip()

    def _pieces(self, word: str) -> list[int]:
        if word in SPECIAL:
            return [self._ids[word]] if word in self._ids else []
        if len(word) > MAX_WORD:
            return [self._ids[UNKNOWN]]
        pieces: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self._ids), None)
            if end is None:
                return [self._ids[UNKNOWN]]
            pieces.append(self._ids[prefix + word[start:end]])
            start = end
        return pieces


def read_vocabulary(path: Path) -> WordPiece:
    """Read a `vocab.txt`, one entry a line. Raises BadModelFile."""
    try:
        if path.stat().st_size > MAX_VOCABULARY_BYTES:
            raise BadModelFile(path, "is too large for a vocabulary", "Use the vocab.txt of bert-base-uncased.")
        entries = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadModelFile(path, f"cannot be read ({error})", "Use the vocab.txt of bert-base-uncased.") from error
    pieces = WordPiece(entry.rstrip("\r") for entry in entries)
    for needed in (PADDING, UNKNOWN, START, SEPARATOR):
        if pieces.id_of(needed, -1) < 0:
            raise BadModelFile(path, f"has no {needed}", "Use the vocab.txt of bert-base-uncased.")
    return pieces


def _words(text: str) -> Iterator[str]:
    """Split into words: lower case without accents, every mark and ideograph on its own."""
    for chunk in re.split(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])", text):
        if chunk in SPECIAL:
            yield chunk
            continue
        spaced = "".join(_spaced(character) for character in chunk)
        plain = unicodedata.normalize("NFD", "".join(character.lower() for character in spaced))
        plain = "".join(character for character in plain if unicodedata.category(character) != "Mn")
        yield from "".join(f" {c} " if _is_mark(c) else c for c in plain).split()


def _spaced(character: str) -> str:
    """What stands for a character before words are looked for: nothing, a space, itself, itself between spaces."""
    code = ord(character)
    if character in "\t\n\r" or unicodedata.category(character) == "Zs":
        return " "
    if code in (0, 0xFFFD) or unicodedata.category(character).startswith("C"):
        return ""
    if any(low <= code <= high for low, high in _IDEOGRAPHS):
        return f" {character} "
    return character


def _is_mark(character: str) -> bool:
    """Whether BERT takes a character for punctuation: all of ASCII that is no letter, digit or space, too."""
    code = ord(character)
    ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_mark or unicodedata.category(character).startswith("P")
