"""Prompt text: the vectors of fooocus-behaviour §2.2, §11.4, §11.5 and the laws behind them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.prompts import clean_line, expand_arrays, normalise_commas, split_lines, take_lora_tokens
from graphs.request import Lora

FILES = ["hey-lora.safetensors", "folder/you-lora.safetensors"]
TWO_TOKENS = "some prompt, very cool, <lora:hey-lora:0.4>,  cool   <lora:you-lora:0.2>"


def test_lora_tokens_become_loras_and_leave_the_text():
    text, loras, unknown = take_lora_tokens(TWO_TOKENS, [], FILES, limit=5)
    assert text == "some prompt, very cool, cool"
    assert loras == [Lora("hey-lora.safetensors", 0.4), Lora("folder/you-lora.safetensors", 0.2)]
    assert unknown == []


def test_the_limit_cuts_the_list_when_a_token_added_something():
    assert take_lora_tokens(TWO_TOKENS, [], FILES, limit=1)[1] == [Lora("hey-lora.safetensors", 0.4)]


def test_the_limit_leaves_the_list_alone_when_no_token_added_anything():
    chosen = [Lora("a.safetensors"), Lora("b.safetensors")]
    assert take_lora_tokens("no tokens", chosen, FILES, limit=1)[1] == chosen


def test_malformed_lora_tokens_stay_in_the_text():
    text = "<lora:foo:1..2>, <lora:bar:.>, <test:1.0>, <lora:baz:+> and <lora:quux:>"
    assert take_lora_tokens(text, [], ["foo.safetensors", "bar.safetensors"], limit=5) == (text, [], [])


def test_a_chosen_lora_keeps_its_weight_and_unknown_tokens_vanish():
    chosen = [Lora("hey.safetensors", 0.9)]
    text, loras, unknown = take_lora_tokens(
        "a <lora:hey:-1.>,<lora:none:1>,, b  c", chosen, ["hey.safetensors"], limit=5
    )
    assert (text, loras, unknown) == ("a, b c", chosen, ["none"])


def test_the_first_line_is_the_main_prompt_and_empty_lines_go():
    assert split_lines("  a,  b ,.\n\n ,. \r\nsecond   line.\n") == ("a, b", ["second line"])
    assert split_lines(" \n,") == ("", [])


@pytest.mark.parametrize(
    ("index", "expected"),
    list(enumerate(["red x 1", " green x 1", "blue x 1", "red x 2", " green x 2", "blue x 2", "red x 1"])),
)
def test_arrays_count_like_digits_with_the_first_turning_fastest(index, expected):
    assert expand_arrays("[[red, green,blue]] x [[1,2]]", index) == expected


def test_equal_arrays_turn_independently():
    assert expand_arrays("[[a,b]] [[a,b]]", 1) == "b a"


@given(st.text())
def test_cleaning_twice_is_cleaning_once(text):
    assert clean_line(clean_line(text)) == clean_line(text)


@given(st.text(alphabet="ab, <>:lora1.\n"))
def test_comma_normalisation_is_stable_and_leaves_no_empty_part(text):
    once = normalise_commas(text)
    assert normalise_commas(once) == once
    assert once == "" or all(part.strip() for part in once.split(","))


@given(st.text(), st.integers(0, 100))
def test_text_without_arrays_is_never_changed(text, index):
    if "[[" not in text:
        assert expand_arrays(text, index) == text


@given(st.text(alphabet="ab<lora:hey:1.5>, -+"))
def test_no_well_formed_token_survives(text):
    left, loras, _ = take_lora_tokens(text, [], ["hey.safetensors"], limit=5)
    if "<lora:hey:1.5>" in text:
        assert "<lora:hey:1.5>" not in left
        assert loras


@given(st.lists(st.lists(st.text(alphabet="abc ", min_size=1), min_size=1, max_size=4), min_size=1, max_size=3))
def test_every_combination_of_array_elements_is_reached(arrays):
    line = "|".join(f"[[{','.join(elements)}]]" for elements in arrays)
    count = 1
    for elements in arrays:
        count *= len(elements)
    seen = {expand_arrays(line, index) for index in range(count)}
    assert len(seen) == len({tuple(pick) for pick in _products(arrays)})


def _products(arrays):
    if not arrays:
        yield ()
        return
    for element in arrays[0]:
        for rest in _products(arrays[1:]):
            yield (element, *rest)
