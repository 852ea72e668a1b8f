import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.files.png import deflate_isal, deflate_zlib, encode_png

DEFLATES = [deflate_isal, deflate_zlib]


def read(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data), formats=("PNG",))
    picture.load()  # checks every checksum
    return picture


@pytest.mark.parametrize("deflate", DEFLATES)
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 3, 4]), st.integers(0, 2**32 - 1))
def test_pixels_come_back_bit_for_bit(deflate, height, width, channels, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    decoded = np.asarray(read(encode_png(pixels, compress=deflate)))
    assert np.array_equal(decoded.reshape(pixels.shape), pixels)


@pytest.mark.parametrize("deflate", DEFLATES)
@pytest.mark.parametrize("height", [255, 256, 257, 700])
def test_a_picture_of_several_strips_comes_back_bit_for_bit(deflate, height):
    pixels = np.random.default_rng(2).integers(0, 256, (height, 1024, 3), dtype=np.uint8)  # 256 rows make a strip
    assert np.array_equal(np.asarray(read(encode_png(pixels, compress=deflate))), pixels)


def test_a_view_that_is_not_contiguous_is_written_right():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(read(encode_png(pixels[::2, ::-1]))), pixels[::2, ::-1])


@given(
    st.dictionaries(
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=79),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200),
        max_size=4,
    )
)
def test_texts_come_back_as_they_were(texts):
    picture = read(encode_png(np.zeros((2, 2, 3), dtype=np.uint8), texts))
    assert picture.text == texts


def test_latin_1_stays_in_a_text_chunk_and_other_letters_go_to_an_international_one():
    data = encode_png(np.zeros((1, 1, 3), dtype=np.uint8), {"prompt": "naïve", "parameters": "猫"})
    assert b"tEXtprompt\0na\xefve" in data
    assert b"iTXtparameters\0\0\0\0\0" + "猫".encode() in data


@pytest.mark.parametrize("keyword", ["", "x" * 80, "a\nb", "a\0b"])
def test_a_keyword_that_png_does_not_allow_is_refused(keyword):
    with pytest.raises(ValueError, match="keyword"):
        encode_png(np.zeros((1, 1, 3), dtype=np.uint8), {keyword: "x"})


def test_the_same_picture_gives_the_same_bytes():
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert encode_png(pixels, {"a": "b"}) == encode_png(pixels.copy(), {"a": "b"})
