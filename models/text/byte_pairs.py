"""GPT-2's byte-pair tokenizer, read from a `vocab.json` and a `merges.txt`: text in, ids out, and back.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2; format of the released files.
Ids equal those of transformers' GPT2Tokenizer.
"""

import json
from functools import cache
from itertools import pairwise
from pathlib import Path

import regex

from models.errors import BadModelFile

MAX_BYTES = 64 * 2**20
END = "<|endoftext|>"

_WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
_HINT = "Put vocab.json and merges.txt of the model beside its weights."


class BytePairs:
    """One vocabulary. `tokens` are the entries in the byte alphabet: a space in front is written Ġ."""

    def __init__(self, vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> None:
        self.vocabulary = vocabulary
        self.tokens = {number: token for token, number in vocabulary.items()}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._known: dict[str, tuple[int, ...]] = {}

    @property
    def end(self) -> int | None:
        """The id that ends a text, if there is one."""
        return self.vocabulary.get(END)

    def ids(self, text: str) -> list[int]:
        """The ids of a text. Bytes that the vocabulary lacks are left out."""
        return [number for word in _WORDS.findall(text) for number in self._word(word)]

    def text(self, ids: list[int]) -> str:
        """The text of ids, the end mark left out."""
        letters = "".join(self.tokens.get(number, "") for number in ids if number != self.end)
        to_byte = _bytes_of()
        return bytes(to_byte[letter] for letter in letters if letter in to_byte).decode("utf-8", "replace")

    def _word(self, word: str) -> tuple[int, ...]:
        known = self._known.get(word)
        if known is None:
            pieces = self._merged([letters()[byte] for byte in word.encode("utf-8", "replace")])
            known = tuple(self.vocabulary[piece] for piece in pieces if piece in self.vocabulary)
            if len(self._known) < 10_000:
                self._known[word] = known
        return known

    def _merged(self, pieces: list[str]) -> list[str]:
        """Merge the best-ranked pair wherever it stands, until none is left."""
        while len(pieces) > 1:
            ranked = {pair: self._ranks[pair] for pair in pairwise(pieces) if pair in self._ranks}
            if not ranked:
                break
            best = min(ranked, key=ranked.__getitem__)
            joined: list[str] = []
            for piece in pieces:
                if joined and (joined[-1], piece) == best:
                    joined[-1] += piece
                else:
                    joined.append(piece)
            pieces = joined
        return pieces


def read_byte_pairs(vocabulary: Path, merges: Path) -> BytePairs:
    """Read the two files. Raises BadModelFile."""
    try:
        if max(vocabulary.stat().st_size, merges.stat().st_size) > MAX_BYTES:
            raise BadModelFile(vocabulary, "is too large for a vocabulary", _HINT)
        entries = json.loads(vocabulary.read_text(encoding="utf-8"))
        lines = merges.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError, RecursionError) as error:
        raise BadModelFile(vocabulary, f"cannot be read with its merges ({error})", _HINT) from error
    if not isinstance(entries, dict) or not all(type(number) is int for number in entries.values()):
        raise BadModelFile(vocabulary, "is no vocabulary", _HINT)
    pairs = [(parts[0], parts[1]) for line in lines if len(parts := line.split(" ")) == 2 and line[:9] != "#version:"]
    return BytePairs(entries, pairs)


@cache
def letters() -> list[str]:
    """A printable stand-in for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(rest)) for byte in range(256)]


@cache
def _bytes_of() -> dict[str, int]:
    return {letter: byte for byte, letter in enumerate(letters())}
