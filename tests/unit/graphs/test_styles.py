"""Styles: the names, the chunks and their order (fooocus-behaviour §2.6)."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.styles import EXPANSION, FAMILIES, RANDOM, SHIPPED, Style, StyleBook, normalise_name

BOOK = StyleBook(
    {
        "Ink": Style("Ink", "{prompt} in ink", "photo"),
        "Two Lines": Style("Two Lines", "first {prompt}\nsecond", "one\ntwo"),
        "Plain": Style("Plain", "no place for it", ""),
        "Only Negative": Style("Only Negative", "", "blur"),
    }
)
SHIPPED_BOOK = StyleBook.load()


def test_each_style_makes_its_own_chunks_in_order():
    wrapped = BOOK.wrap(["Ink", "Two Lines"], "a cat", "bad", ["extra"], ["worse"])
    assert wrapped.positive == ["a cat in ink", "first a cat", "second", "extra"]
    assert wrapped.negative == ["photo", "one", "two", "bad", "worse"]


def test_the_bare_prompt_comes_first_when_no_style_has_a_place_for_it():
    assert BOOK.wrap(["Plain", "Only Negative"], "a cat", "").positive == ["a cat", "no place for it"]
    assert BOOK.wrap(["Only Negative"], "a cat", "").negative == ["blur"]


def test_without_styles_the_prompts_stand_alone():
    wrapped = BOOK.wrap([], "a cat", "bad")
    assert (wrapped.positive, wrapped.negative) == (["a cat"], ["bad"])


def test_one_chunk_always_remains():
    wrapped = BOOK.wrap([], "", "")
    assert (wrapped.positive, wrapped.negative) == ([""], [""])


@given(
    st.lists(st.sampled_from(list(BOOK.styles))),
    st.text(alphabet="ab ", max_size=5),
    st.text(alphabet="ab ", max_size=5),
    st.lists(st.text(alphabet="ab", max_size=3), max_size=2),
)
def test_no_empty_chunk_stands_beside_others(styles, positive, negative, extra):
    wrapped = BOOK.wrap(styles, positive, negative, extra, extra)
    for chunks in (wrapped.positive, wrapped.negative):
        assert chunks
        assert len(chunks) == 1 or all(chunks)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("mre-sumi-e-detailed", "MRE Sumi E Detailed"),
        ("sai-3d-model", "SAI 3D Model"),
        ("Flat 2d Art", "Flat 2d Art"),
        ("game-gta", "Game Gta"),
        ("adorable 3d character", "Adorable 3D Character"),
    ],
)
def test_names_are_shown_as_fooocus_shows_them(raw, shown):
    assert normalise_name(raw) == shown


def test_a_style_is_found_in_any_case_and_with_any_separator():
    assert SHIPPED_BOOK.find("sai_cinematic") == "SAI Cinematic"
    assert SHIPPED_BOOK.find("FOOOCUS v2") == EXPANSION
    assert SHIPPED_BOOK.find("random-style") == RANDOM
    assert SHIPPED_BOOK.find("Default (Slightly Cinematic)") is None


@pytest.mark.parametrize(
    ("seed", "name"),
    [
        (0, "Op Art"),
        (1, "Artstyle Psychedelic"),
        (2, "MRE Dark Dream"),
        (3, "Papercraft Paper Mache"),
        (42, "Artstyle Abstract Expressionism"),
    ],
)
def test_random_style_draws_what_fooocus_draws(seed, name):
    assert SHIPPED_BOOK.pick(["Fooocus Sharp", RANDOM], Random(seed)) == ["Fooocus Sharp", name]


def test_all_279_names_can_be_selected_in_family_order():
    names = SHIPPED_BOOK.names
    assert len(names) == 279
    assert names[:4] == [EXPANSION, RANDOM, "Fooocus Enhance", "Fooocus Semi Realistic"]
    assert names[-1] == "Mk Shepard Fairey Style"
    counts = [len(json.loads((SHIPPED / family).read_text(encoding="utf-8"))) for family in FAMILIES]
    assert counts == [8, 17, 22, 89, 79, 62]


def test_every_shipped_style_says_something_of_its_own():
    only_negative = {"Fooocus Enhance", "Fooocus Semi Realistic", "Fooocus Negative"}
    positives = [style.prompt for style in SHIPPED_BOOK.styles.values() if style.prompt]
    assert len(set(positives)) == len(positives) == 277 - len(only_negative)
    for name, style in SHIPPED_BOOK.styles.items():
        assert normalise_name(name) == name
        assert (style.prompt.count("{prompt}"), "\n" in style.prompt) == (int(name not in only_negative), False), name
        assert style.negative_prompt, name
        assert len(style.prompt.split()) <= 45, name  # Leaves room for the prompt in 75 tokens.


def test_user_files_load_unchanged_and_may_replace_a_family(tmp_path):
    (tmp_path / "mine.json").write_text(
        json.dumps([{"name": "my-look", "prompt": "{prompt} mine", "extra": 1}, {"name": "Fooocus Sharp"}]),
        encoding="utf-8",
    )
    (tmp_path / "sdxl_styles_sai.json").write_text(
        '[{"name": "sai-anime", "prompt": "{prompt} own"}]', encoding="utf-8"
    )
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    book = StyleBook.load(tmp_path)
    assert book.names[2:5] == ["My Look", "Fooocus Sharp", "Fooocus Enhance"]
    assert book.styles["SAI Anime"].prompt == "{prompt} own"
    assert "SAI Cinematic" not in book.styles
    assert book.styles["Fooocus Sharp"].prompt == SHIPPED_BOOK.styles["Fooocus Sharp"].prompt
