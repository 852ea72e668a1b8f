import math
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.text.prompt import TokenGroup, Word, pack, weighted_words
from models.text.tokenizer import END, START, token_ids


def words(text: str) -> list[tuple[str, float]]:
    return [(word.text, round(word.weight, 6)) for word in weighted_words(text)]


def tokens(text: str) -> list[float]:
    return [round(w.weight, 6) for w in weighted_words(text) for _ in token_ids(w.text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a (red) cat", [1, 1.1, 1]),
        ("(a (b:0.5) c:1.3)", [1.3, 0.5, 1.3]),
        ("((a)) b", [1.21, 1]),
        ("((a:1.2) b)", [1.2, 1.1]),
        ("(a:b)", [1.1, 1.1, 1.1]),
        ("(a)b)", [1.1, 1, 1]),
        ("(a:1.3", [1, 1, 1, 1, 1, 1]),
        ("(foo:-0.5)", [-0.5]),
        ("(a:1e-1)", [0.1]),
    ],
)
def test_weights_are_those_of_the_executed_original(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("()", []),
        ("(:1.2)", [(":1.2", 1.1)]),
        (r"\(a\) (b\):1.5)", [("(a)", 1), ("b)", 1.5)]),
        ("one\ntwo  three", [("one", 1), ("two", 1), ("three", 1)]),
        ("[a] BREAK a AND b", [("[a]", 1), ("BREAK", 1), ("a", 1), ("AND", 1), ("b", 1)]),
        ("a) (b)", [("a)", 1), ("(b)", 1)]),
        ("(a (b)", [("a", 1.1), ("(b", 1.1)]),  # never closed, yet the rest ends like a group
        ("(embedding:name:1.2)", [("embedding:name", 1.2)]),
        ("(curry:nan)", [("curry:nan", 1.1)]),
    ],
)
def test_brackets_escapes_and_spaces(text, expected):
    assert words(text) == expected


PROMPTS = st.text(alphabet=list("ab(): .1-\\\n[é"), max_size=80)


@settings(max_examples=500, deadline=None)
@given(PROMPTS)
def test_no_text_raises_and_every_weight_is_finite(text):
    assert all(math.isfinite(word.weight) for word in weighted_words(text))


@settings(max_examples=500, deadline=None)
@given(PROMPTS)
def test_no_word_is_lost(text):
    numbers = re.compile(r":\s*[-+]?[\d._]+(e[-+]?\d+)?\s*(?=\)|$)")

    def letters(string: str) -> str:
        return re.sub(r"[^abé]", "", numbers.sub("", string))

    assert letters("".join(word.text for word in weighted_words(text))) == letters(text)


@pytest.mark.parametrize("unit", ["(", ")", "(a", "a)", "((a:1.2) ", ":", "(:", "\\(", "(a:1.1", "() "])
def test_hostile_prompts_take_linear_time(unit):
    text = unit * (100_000 // len(unit)) + ")" * 20_000
    started = time.thread_time()
    weighted_words(text)
    assert time.thread_time() - started < 1.0  # 0.1 s on a quiet core; a quadratic parser needs minutes


def test_balanced_nesting_may_be_as_deep_as_the_text():
    (word,) = weighted_words("(" * 50_000 + "a" + ":0)" * 50_000)
    assert word == Word("a", 0.0)


def groups(*lengths: int) -> list[TokenGroup]:
    return [TokenGroup([100 + length] * length, 1.0) for length in lengths]


def filled(chunk) -> int:
    return chunk.tokens.index(END) - 1


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([], [0]), ([1] * 74 + [6], [74, 6]), ([1] * 72 + [22], [75, 19]), ([1] * 75, [75]), ([1] * 76, [75, 1])],
)
def test_chunks_fill_as_in_the_executed_original(lengths, expected):
    assert [filled(chunk) for chunk in pack(groups(*lengths), END)] == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=30))
def test_every_chunk_has_77_tokens_and_none_is_lost(lengths):
    given_tokens = [token for group in groups(*lengths) for token in group.tokens]
    chunks = pack(groups(*lengths), 0)
    assert all(len(c.tokens) == len(c.weights) == 77 and c.tokens[0] == START and END in c.tokens for c in chunks)
    assert [t for c in chunks for t in c.tokens[1 : 1 + filled(c)]] == given_tokens


def test_padding_follows_the_end_token():
    (chunk,) = pack([TokenGroup([320], 1.5)], 0)
    assert chunk.tokens == [START, 320, END] + [0] * 74
    assert chunk.weights == [1.0, 1.5] + [1.0] * 75
