"""PyraCanny and CPDS: against a slow Canny written out here, by hand, and against figures of the original programs."""

import numpy as np
import pytest

from models.control.canny import canny, pyramid_edges, resize_area, stretch
from models.control.cpds import blur, contrast_preserving, decolorized
from models.control.lab import from_lab_code, interpolated_lab, lab_code, to_lab


def figure() -> np.ndarray:
    """The picture of the specification's §11.5: 240 × 320 waves with a flat rectangle."""
    y, x = np.mgrid[0:240, 0:320].astype(float)
    waves = (127 + 100 * np.sin(x / 17) * np.cos(y / 23), 127 + 100 * np.cos((x + y) / 31), 255 * x / 319)
    pixels = np.stack(waves, axis=-1).astype(np.uint8)
    pixels[60:180, 100:220] = (200, 40, 90)
    return pixels


def slow_canny(plane: np.ndarray, low: int, high: int) -> np.ndarray:
    """Canny pixel by pixel: Sobel, angle of the gradient by arctan, suppression, growing from strong pixels."""
    height, width = plane.shape
    padded = np.pad(plane.astype(int), 1, mode="edge")
    magnitude, angle = np.zeros((height + 2, width + 2), int), np.zeros((height, width))
    gradients = {}
    for y in range(height):
        for x in range(width):
            p = padded[y : y + 3, x : x + 3]
            dx = p[0, 2] + 2 * p[1, 2] + p[2, 2] - p[0, 0] - 2 * p[1, 0] - p[2, 0]
            dy = p[2, 0] + 2 * p[2, 1] + p[2, 2] - p[0, 0] - 2 * p[0, 1] - p[0, 2]
            magnitude[y + 1, x + 1] = abs(dx) + abs(dy)
            angle[y, x] = np.degrees(np.arctan2(abs(dy), abs(dx)))
            gradients[y, x] = (dx < 0) != (dy < 0) if dx and dy else False
    kept = set()
    for y in range(height):
        for x in range(width):
            m = magnitude[y + 1, x + 1]
            if angle[y, x] < 22.5:
                ridge = m > magnitude[y + 1, x] and m >= magnitude[y + 1, x + 2]
            elif angle[y, x] > 67.5:
                ridge = m > magnitude[y, x + 1] and m >= magnitude[y + 2, x + 1]
            else:
                side = -1 if gradients[y, x] else 1
                ridge = m > magnitude[y, x + 1 - side] and m > magnitude[y + 2, x + 1 + side]
            if m > low and ridge:
                kept.add((y, x))
    edges = np.zeros((height, width), bool)
    stack = [place for place in kept if magnitude[place[0] + 1, place[1] + 1] > high]
    while stack:
        y, x = stack.pop()
        if (y, x) in kept and not edges[y, x]:
            edges[y, x] = True
            stack += [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return edges


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("thresholds", [(64, 128), (150, 400), (0, 0)])
def test_canny_equals_the_slow_reference(seed: int, thresholds: tuple[int, int]) -> None:
    random = np.random.default_rng(seed)
    plane = np.kron(random.integers(0, 256, (7, 9)), np.ones((5, 4))).astype(np.uint8)
    plane = (plane * 0.7 + random.integers(0, 60, plane.shape)).astype(np.uint8)
    expected = slow_canny(plane, *thresholds)
    assert 0 < expected.mean() < 1
    assert np.array_equal(canny(plane, *thresholds), expected)


def test_a_step_has_one_edge_and_only_above_the_upper_threshold() -> None:
    plane = np.zeros((8, 8), np.uint8)
    plane[:, 4:] = 40  # |dx| = 4 · 40 on both sides of the step; of two equal pixels the left one counts
    edges = canny(plane, 10, 159)
    assert np.array_equal(np.flatnonzero(edges.any(axis=0)), [3])
    assert edges[:, 3].all()
    assert not canny(plane, 10, 160).any()


def test_the_edge_pyramid_has_the_figures_of_the_original() -> None:
    edges = pyramid_edges(figure(), 64, 128)
    assert edges.mean() == pytest.approx(18.8348, abs=1e-4)
    assert (edges > 127).mean() == pytest.approx(0.020911, abs=1e-6)


def test_higher_thresholds_leave_fewer_edges() -> None:
    shares = [(pyramid_edges(figure(), low, high) > 0).mean() for low, high in ((20, 40), (64, 128), (200, 500))]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


def test_a_picture_without_edges_stays_black() -> None:
    assert not pyramid_edges(np.full((40, 50, 3), 90, np.uint8)).any()


def test_pictures_shrink_to_means_of_areas() -> None:
    row = np.array([0, 60, 90], np.uint8)[None, :, None].repeat(3, axis=2)
    assert resize_area(row, 1, 2)[0, :, 0].tolist() == [20, 80]  # (0 + 60/2)/1.5, (60/2 + 90)/1.5
    square = np.array([[1, 2], [2, 1]], np.uint8)[:, :, None].repeat(3, axis=2)
    assert resize_area(square, 1, 1)[0, 0, 0] == 2  # 1.5 is rounded up when a picture is halved


def test_stretching_is_linear_between_the_percentiles() -> None:
    assert stretch(np.arange(101.0), 10, 90)[[5, 10, 50, 90, 95]].tolist() == [0, 0, 127, 255, 255]


def test_the_contrast_preserving_picture_has_the_figures_of_the_original() -> None:
    control = contrast_preserving(figure())
    assert control.mean() == pytest.approx(103.535, abs=5e-4)
    assert (control[120, 160], control[10, 10]) == (45, 124)


def test_colours_of_equal_luminance_stay_apart_in_the_grey_picture() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16], pixels[:, 16:] = (200, 60, 60), (60, 113, 60)  # .299, .587, .114: both 102
    assert abs(int(decolorized(pixels)[0, 0]) - int(decolorized(pixels)[0, 31])) > 100


def test_large_pictures_are_fitted_on_a_small_copy_and_look_the_same() -> None:
    small = figure()
    large = np.kron(small, np.ones((3, 3, 1), np.uint8))
    difference = np.abs(decolorized(large)[1::3, 1::3].astype(int) - decolorized(small).astype(int))
    assert difference.mean() < 8


def test_a_grey_picture_without_contrast_is_black() -> None:
    assert not contrast_preserving(np.full((20, 30, 3), 128, np.uint8)).any()


def test_the_blur_keeps_flat_areas_and_spreads_a_point_by_the_fixed_weights() -> None:
    assert (blur(np.full((9, 9, 3), 77, np.uint8)) == 77).all()
    point = np.zeros((15, 15, 3), np.uint8)
    point[7, 7] = 255
    weights = np.exp(-(np.arange(-3, 4) ** 2) / 1.28)
    expected = np.outer(weights, weights) / weights.sum() ** 2 * 255
    assert np.abs(blur(point)[4:11, 4:11, 0] - expected).max() <= 1.5


@pytest.mark.parametrize(
    ("rgb", "lab"), [((1, 1, 1), (100, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((1, 0, 0), (53.24, 80.09, 67.20))]
)
def test_lab_has_its_known_values_and_comes_back(rgb: tuple[int, ...], lab: tuple[float, ...]) -> None:
    assert to_lab(np.array(rgb, float)) == pytest.approx(lab, abs=0.02)
    assert interpolated_lab(np.array(rgb, float)) == pytest.approx(lab, abs=0.02)
    code = lab_code(np.array(rgb, np.uint8) * 255)
    assert code == pytest.approx(np.array(lab) * (2.55, 1, 1) + (0, 128, 128), abs=0.6)
    assert from_lab_code(code).astype(int) == pytest.approx(np.array(rgb) * 255, abs=2)


def test_whole_numbers_and_the_grid_stay_near_the_formula() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (50, 50, 3)).astype(np.uint8)
    lab = to_lab(pixels / 255)
    assert np.abs(interpolated_lab(pixels / 255) - lab).max() < 1.5
    assert np.abs(interpolated_lab(pixels / 255) - lab).mean() < 0.1
    assert np.abs(lab_code(pixels) - (lab * (2.55, 1, 1) + (0, 128, 128))).max() < 1.5
    assert np.abs(from_lab_code(lab_code(pixels)).astype(int) - pixels).mean() < 1.5
