"""Sizes as clients write them (API contract §2.5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.request import Refused
from graphs.sizes import ASPECT_RATIOS, aspect_label, parse_aspect_ratio


@pytest.mark.parametrize(
    "text",
    [
        "1152*896",
        "1152×896",
        "1152x896",
        " 1152 * 896 ",
        "1152*896 | 9:7",
        '1152×896 <span style="color: grey;"> ∣ 9:7',
    ],
)
def test_every_known_spelling_of_a_size_is_read(text):
    assert parse_aspect_ratio(text) == (1152, 896)


@pytest.mark.parametrize("text", ["", "square", "1152", "*", "1152*", "0*0", "1152*8", "99999*64", "1e3*1e3", "-8*64"])
def test_what_is_no_size_is_refused_with_the_field(text):
    with pytest.raises(Refused) as caught:
        parse_aspect_ratio(text, "aspect_ratios_selection")
    assert caught.value.field == "aspect_ratios_selection"
    assert caught.value.hint


@given(st.integers(64, 8192), st.integers(64, 8192))
def test_sizes_come_down_to_whole_latent_cells(width, height):
    rounded = parse_aspect_ratio(f"{width}*{height}")
    assert all(new % 8 == 0 and 0 <= old - new < 8 for new, old in zip(rounded, (width, height), strict=True))


def test_the_known_list_is_complete_and_read_back_unchanged():
    assert len(ASPECT_RATIOS) == 26
    for text in ASPECT_RATIOS:
        width, height = parse_aspect_ratio(text)
        assert f"{width}*{height}" == text
    assert aspect_label(1152, 896) == "1152×896 ∣ 9:7"
