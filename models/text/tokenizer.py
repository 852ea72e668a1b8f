"""CLIP's byte-pair tokenizer: text in, the ids that SDXL's two text encoders were trained on out.

The merges are CLIP's own (data/bpe_simple_vocab_16e6.txt.gz, MIT). Ids equal those of transformers' CLIPTokenizer,
which is what ComfyUI, Fooocus and diffusers use; like it, text is NFC-normalised and lower-cased, and HTML entities
stay as they are. Padding is the caller's: L pads with END, G with 0, and "!" (id 256 or 0) stays an ordinary character
for both.
"""

import hashlib
import heapq
import unicodedata
import zlib
from functools import cache, lru_cache
from pathlib import Path

import regex

START = 49406
END = 49407
VOCABULARY = 49408
CONTEXT = 77  # positions of a CLIP text encoder, START and END among them

MERGES_FILE = Path(__file__).parent / "data" / "bpe_simple_vocab_16e6.txt.gz"
MERGES_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"

_SPECIAL = {"<|startoftext|>": START, "<|endoftext|>": END}
_MERGES = 48_894  # 49408 - 2 * 256 bytes - 2 special tokens; the file's further lines belong to a larger vocabulary
_MERGES_BYTES = 1_000_000  # of the unpacked 3.2 MB, enough for the lines in use
_FIRST_MERGED = 512
_CACHED_WORD_LENGTH = 64  # longer words are rare and would make the cache's size unbounded

_WORDS = regex.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")


def token_ids(text: str) -> list[int]:
    """Return the ids of a text without START, END, padding or cut."""
    ids: list[int] = []
    for word in _WORDS.findall(_normalised(text)):
        if word in _SPECIAL:
            ids.append(_SPECIAL[word])
        else:
            ids.extend(_cached_ids(word) if len(word) <= _CACHED_WORD_LENGTH else _word_ids(word))
    return ids


def _normalised(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Lower-casing goes letter by letter: str.lower() would turn a final capital sigma into another letter than CLIP's.
    return "".join(character.lower() for character in unicodedata.normalize("NFC", text))


@lru_cache(maxsize=8192)
def _cached_ids(word: str) -> tuple[int, ...]:
    return tuple(_word_ids(word))


def _word_ids(word: str) -> list[int]:
    """Merge the word's byte symbols, lowest rank first and leftmost among equals, in O(n log n)."""
    merged_ids = _merged_ids()
    ids, symbols = map(list, zip(*(_alphabet()[byte] for byte in word.encode("utf-8", "replace")), strict=True))
    symbols[-1] += "</w>"
    ids[-1] += 256
    end = len(symbols)
    following = list(range(1, end + 1))
    preceding = list(range(-1, end - 1))
    queue: list[tuple[int, int, str, str]] = []

    def offer(left: int, right: int) -> None:
        merged = merged_ids.get(f"{symbols[left]} {symbols[right]}")
        if merged is not None:
            heapq.heappush(queue, (merged, left, symbols[left], symbols[right]))

    for left in range(end - 1):
        offer(left, left + 1)
    while queue:
        merged, left, first, second = heapq.heappop(queue)
        right = following[left]
        if right >= end or symbols[left] != first or symbols[right] != second:
            continue  # an earlier merge has taken one of the two
        ids[left], symbols[left], symbols[right] = merged, first + second, ""
        following[left] = after = following[right]
        if after < end:
            preceding[after] = left
            offer(left, after)
        if preceding[left] >= 0:
            offer(preceding[left], left)
    return [number for number, symbol in zip(ids, symbols, strict=True) if symbol]


@cache
def _merged_ids() -> dict[str, int]:
    """Map "left right" to the id of what the two become. Ids grow with the merge's rank."""
    return dict(zip(_merge_lines(), range(_FIRST_MERGED, START), strict=True))


def _merge_lines() -> list[str]:
    packed = MERGES_FILE.read_bytes()
    if hashlib.sha256(packed).hexdigest() != MERGES_SHA256:
        raise RuntimeError(f"{MERGES_FILE} is damaged: reinstall Focal or restore the file from the repository")
    unpacked = zlib.decompressobj(wbits=31).decompress(packed, _MERGES_BYTES)
    return unpacked.decode("utf-8", "ignore").split("\n")[1 : _MERGES + 1]  # the first line is a comment


@cache
def _alphabet() -> list[tuple[int, str]]:
    """List for each byte its id inside a word and its printable stand-in (GPT-2's byte-level alphabet)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in printable]
    stand_ins = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(rest))]
    by_byte = {byte: (number, stand_ins[number]) for number, byte in enumerate(printable + rest)}
    return [by_byte[byte] for byte in range(256)]
