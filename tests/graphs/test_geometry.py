"""What the builders foresee of sizes is what the nodes choose."""

from hypothesis import given
from hypothesis import strategies as st

from graphs import geometry as foreseen
from models import geometry as chosen

SIDES = st.integers(1, 5000)
BASES = st.sampled_from([128, 512, 1024])
FACTORS = st.sampled_from([1.0, 1.5, 2.0]) | st.floats(1, 5)


def cut(height: int, width: int) -> tuple[int, int]:
    return height // 8 * 8, width // 8 * 8


@given(SIDES, SIDES, BASES)
def test_vary(height, width, base):
    assert foreseen.varied_size(height, width, base) == cut(*chosen.vary_size(height, width, base))


@given(SIDES, SIDES, FACTORS, BASES)
def test_upscale(height, width, factor, base):
    assert foreseen.upscaled_size(height, width, factor, base) == chosen.upscaled_size(height, width, factor, base)
    assert foreseen.diffused_size(height, width, factor, base) == cut(
        *chosen.upscaled_size(height, width, factor, base)
    )
    assert foreseen.goes_direct(height, width, factor, base) == chosen.goes_direct(height, width, factor, base)
