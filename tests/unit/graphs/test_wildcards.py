"""Wildcards: the vectors of fooocus-behaviour §11.5, obtained by running the original."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.wildcards import SHIPPED, Wildcards


@pytest.fixture
def book(tmp_path):
    (tmp_path / "color.txt").write_text("red\ngreen\n\nblue\n", encoding="utf-8")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "flower.txt").write_text("rose\ntulip\nlily\niris\n", encoding="utf-8")
    (tmp_path / "mix.txt").write_text("__color__ __flower__\n", encoding="utf-8")
    (tmp_path / "loop.txt").write_text("__loop__\n", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("\n\n", encoding="utf-8")
    return Wildcards([tmp_path])


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (0, "green and iris"),
        (1, "red and rose"),
        (2, "red and rose"),
        (123456789, "blue and iris"),
        (2**63 - 1, "green and tulip"),
    ],
)
def test_a_seed_always_draws_the_same_words(book, seed, expected):
    assert book.apply("__color__ and __flower__", Random(seed)) == expected


def test_nested_wildcards_are_resolved_in_later_rounds(book):
    assert book.apply("__mix__ __mix__", Random(0)) == "red lily blue iris"


def test_in_order_the_image_number_picks_the_line(book):
    text = book.apply("__color__ __flower__ __mix__", Random(0), index=4, in_order=True)
    assert text == "green rose green rose"


def test_names_without_a_file_or_lines_lose_their_underscores(book):
    assert book.apply("__nothing__ and __empty__ and __nothing__", Random(0)) == "nothing and empty and nothing"
    assert book.missing("__color__ __nothing__ __empty__") == ["nothing", "empty"]


def test_placeholders_that_touch_are_read_as_one_name(book):
    assert book.apply("__color__-__color__", Random(0)) == "color-color"
    assert book.apply("__a____b__", Random(0)) == "a____b"


def test_a_wildcard_that_names_itself_comes_to_an_end(book):
    assert book.apply("__loop__", Random(0)) == "__loop__"


def test_the_first_folder_wins(tmp_path, book):
    own = tmp_path / "own"
    own.mkdir()
    (own / "color.txt").write_text("mauve\n", encoding="utf-8")
    assert Wildcards([own, tmp_path]).apply("__color__", Random(0)) == "mauve"


def test_the_shipped_lists_carry_the_known_names_and_no_doubles():
    shipped = Wildcards()
    assert sorted(shipped.names) == sorted(
        ["animal", "artist", "color", "color_flower", "extended-color", "flower", "nationality"]
    )
    for name in shipped.names:
        lines = shipped.lines(name)
        assert lines, name
        assert len(set(lines)) == len(lines), name
    assert shipped.lines("color_flower") == ("__color__ __flower__",)
    assert SHIPPED.is_dir()


@given(st.text(), st.integers(0, 2**63 - 1))
def test_text_without_placeholders_passes_untouched_and_draws_nothing(text, seed):
    if "__" in text:
        return
    rng = Random(seed)
    assert Wildcards().apply(text, rng) == text
    assert rng.random() == Random(seed).random()
