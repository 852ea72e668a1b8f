"""Sizes: the vectors of the Fooocus behaviour specification (§11.1, §11.5), and the same rules at another base."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.geometry import class_of, goes_direct, size_of_class, step_of, upscaled_size, vary_size

VECTORS = [
    # height, width, class, size of class 1024, size for vary
    ((512, 512), 512, (1024, 1024), (1024, 1024)),
    ((896, 1152), 1024, (896, 1152), (896, 1152)),
    ((1000, 1000), 1024, (1000, 1000), (1000, 1000)),
    ((600, 800), 704, (896, 1152), (896, 1152)),
    ((768, 1344), 1024, (768, 1344), (768, 1344)),
    ((333, 777), 512, (640, 1536), (640, 1536)),
    ((300, 1500), 704, (448, 2176), (448, 2176)),
    ((1536, 1024), 1280, (1216, 832), (1536, 1024)),
    ((2160, 3840), 2880, (768, 1344), (1472, 2688)),
]
SIDES = st.integers(16, 5000)


@pytest.mark.parametrize(("size", "expected_class", "fitted", "varied"), VECTORS)
def test_sizes_are_those_of_the_specification(size, expected_class, fitted, varied):
    assert class_of(*size) == expected_class
    assert size_of_class(*size, 1024) == fitted
    assert vary_size(*size) == varied


@pytest.mark.parametrize(
    ("size", "factor", "expected_class", "target", "direct"),
    [
        ((512, 512), 1.5, 768, (1024, 1024), False),
        ((832, 1216), 1.5, 1536, (1248, 1824), False),
        ((1376, 1376), 2.0, 2752, (2752, 2752), False),
        ((1377, 1377), 2.0, 2816, (2754, 2754), True),
        ((1400, 1400), 2.0, 2816, (2800, 2800), True),
        ((1866, 1866), 1.5, 2816, (2799, 2799), True),
    ],
)
def test_upscaling_follows_the_specification(size, factor, expected_class, target, direct):
    assert class_of(size[0] * factor, size[1] * factor) == expected_class
    assert upscaled_size(*size, factor) == target
    assert goes_direct(*size, factor) is direct


def test_sizes_are_cut_not_rounded():
    assert upscaled_size(1001, 999, 1.5) == (1501, 1498)


def test_a_smaller_base_shrinks_every_step_and_limit():
    assert (step_of(1024), step_of(512), step_of(128), step_of(64)) == (64, 32, 8, 8)
    assert vary_size(64, 64, 128) == (128, 128)
    assert vary_size(75, 100, 128) == (112, 144)  # an eighth of 600 × 800
    assert upscaled_size(104, 152, 1.5, 128) == (156, 228)
    assert (goes_direct(172, 172, 2, 128), goes_direct(173, 173, 2, 128)) == (False, True)


@given(SIDES, SIDES, st.sampled_from([128, 512, 1024]))
def test_a_varied_picture_has_a_class_from_base_to_twice_the_base(height, width, base):
    if max(height, width) > 12 * min(height, width):
        return  # the search may circle between two sizes of such strips
    varied = vary_size(height, width, base)
    assert base - step_of(base) <= class_of(*varied, base) <= 2 * base + step_of(base)
