"""The prompt syntax: weights in round parentheses, words, and chunks of 77 tokens.

`(text)` multiplies the weight by 1.1 and nests; `(text:1.3)` sets it, whatever stands around; `\\(` and `\\)` are
letters; what does not balance is text. Nothing else is syntax. Every text is accepted, in linear time, and no word is
lost. This is the syntax of ComfyUI and Fooocus (shared/specs: fooocus-behaviour §2.8, graph-protocol g.4).
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from models.text.tokenizer import CONTEXT, END, START

STEP = 1.1  # one pair of parentheses
WHOLE_WORD = 8  # tokens; a word of fewer is never divided between two chunks
_LONGEST_NUMBER = 40  # characters after a colon that are tried as a weight


class Word(NamedTuple):
    """A piece of text without spaces, and its weight."""

    text: str
    weight: float


class TokenGroup(NamedTuple):
    """What one word became: token ids or embedding rows (width,), all of one weight."""

    tokens: Sequence[Any]
    weight: float


class Chunk(NamedTuple):
    """77 tokens from START to padding, and the weight of each."""

    tokens: list[Any]
    weights: list[float]


def weighted_words(text: str) -> list[Word]:
    """Split a prompt at spaces and line ends into words with their weights."""
    words = []
    for piece, weight in weighted_pieces(text):
        letters = piece.replace("\\(", "(").replace("\\)", ")").replace("\n", " ")
        words += [Word(word, weight) for word in letters.split(" ") if word]
    return words


def weighted_pieces(text: str) -> list[tuple[str, float]]:
    """Split a prompt into stretches of one weight, in order, escapes still in place."""
    closing = _closing_positions(text)
    last_colon = _last_colons(text)
    pieces: list[tuple[str, float]] = []
    waiting = [(0, len(text), 1.0)]  # a stack in place of recursion: nesting may be as deep as the text is long
    while waiting:
        start, end, weight = waiting.pop()
        bracket, after = _next_bracket(text, start, end, closing)
        pieces.append((text[start:bracket], weight))
        if bracket == end:
            continue
        if after == end and not (end - bracket >= 2 and text[end - 1] == ")" and end - 1 in closing):
            pieces.append((text[bracket:end], weight))  # never closed: text
            continue
        inner_end, inner_weight = _group_weight(text, bracket + 1, after - 1, weight, last_colon)
        waiting.append((after, end, weight))
        waiting.append((bracket + 1, inner_end, inner_weight))
    return [piece for piece in pieces if piece[0]]


def _next_bracket(text: str, start: int, end: int, closing: dict[int, int | None]) -> tuple[int, int]:
    """Return where the first piece in brackets of text[start:end] begins and ends; (end, end) when there is none.

    A ")" too many shifts the level for all that follows it, so that "a) (b)" has no group. A bracket that is never
    closed takes all the rest.
    """
    level = 0
    for position in range(start, end):
        if position not in closing:
            continue
        if text[position] == ")":
            level -= 1
        elif level < 0:
            level += 1
        else:
            match = closing[position]
            return position, match + 1 if match is not None and match < end else end
    return end, end


def _group_weight(text: str, start: int, end: int, outer: float, last_colon: list[int]) -> tuple[int, float]:
    """Return where the words of a group's inside end, and their weight."""
    colon = last_colon[end]
    if colon > start and end - colon - 1 <= _LONGEST_NUMBER:
        try:
            weight = float(text[colon + 1 : end])
        except ValueError:
            return end, outer * STEP
        if math.isfinite(weight):
            return colon, weight
    return end, outer * STEP


def _closing_positions(text: str) -> dict[int, int | None]:
    """Map each parenthesis that is not escaped to the one that closes it, or to None."""
    closing: dict[int, int | None] = {}
    opened: list[int] = []
    for position, character in enumerate(text):
        if character not in "()" or (position and text[position - 1] == "\\"):
            continue
        closing[position] = None
        if character == "(":
            opened.append(position)
        elif opened:
            closing[opened.pop()] = position
    return closing


def _last_colons(text: str) -> list[int]:
    """Return for each position the index of the last colon before it, or -1."""
    last = -1
    colons = [-1]
    for position, character in enumerate(text):
        last = position if character == ":" else last
        colons.append(last)
    return colons


def pack(groups: Iterable[TokenGroup], pad: int) -> list[Chunk]:
    """Lay token groups out in chunks of 77: START, up to 75 tokens, END, padding. At least one chunk."""
    room = CONTEXT - 2
    filled: list[tuple[Any, float]] = []
    result: list[Chunk] = []
    for group in groups:
        tokens = group.tokens
        divisible = len(tokens) >= WHOLE_WORD
        while len(filled) + len(tokens) > room:
            free = room - len(filled) if divisible else 0
            filled += [(token, group.weight) for token in tokens[:free]]
            tokens = tokens[free:]
            result.append(_chunk(filled, pad))
            filled = []
        filled += [(token, group.weight) for token in tokens]
    if filled or not result:
        result.append(_chunk(filled, pad))
    return result


def _chunk(filled: list[tuple[Any, float]], pad: int) -> Chunk:
    free = CONTEXT - 2 - len(filled)
    tokens = [START, *(token for token, _ in filled), END, *[pad] * free]
    return Chunk(tokens, [1.0, *(weight for _, weight in filled), 1.0, *[1.0] * free])
