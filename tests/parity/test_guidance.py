"""Guidance and the anisotropic filter against the original's recorded figures and a plain float64 implementation."""

import numpy as np
import pytest
import torch

from models.sampling import sharpness
from models.sampling.guidance import guide, guide_adaptively, progress_at
from models.sampling.sharpness import anisotropic_filter
from tests.unit.models.sampling.stand_in import normal

RECORDED = {"rtol": 1e-4, "atol": 1e-5}


def filtered_pixel_by_pixel(x: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """The specification's words, one output pixel at a time, in float64. (C, h, w)"""
    guide = (guide - guide.mean()) / (guide.std(ddof=1) + 1e-5)
    padded_x, padded_guide = (np.pad(t, ((0, 0), (6, 6), (6, 6)), mode="reflect") for t in (x, guide))
    out = np.empty_like(x)
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            total, weights = np.zeros(len(x)), 0.0
            for i in range(13):
                for j in range(13):
                    near = padded_guide[:, row + i, column + j]
                    likeness = np.exp(-0.5 / 9 * np.abs(near - guide[:, row, column]).sum() ** 2)
                    weight = likeness * np.exp(-((i - 6) ** 2 + (j - 6) ** 2) / 18)
                    total, weights = total + weight * padded_x[:, row + i, column + j], weights + weight
            out[:, row, column] = total / weights
    return out


def test_filter_equals_the_plain_implementation() -> None:
    x, guide = normal(0, (2, 4, 9, 11)), normal(1, (2, 4, 9, 11)) * 2 + 0.5
    expected = np.stack(
        [filtered_pixel_by_pixel(a.double().numpy(), b.double().numpy()) for a, b in zip(x, guide, strict=False)]
    )
    np.testing.assert_allclose(anisotropic_filter(x, guide).numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(anisotropic_filter(x.double(), guide.double()).numpy(), expected, rtol=1e-10, atol=1e-10)


def test_filter_in_chunks_equals_the_filter_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    x, guide = normal(0, (1, 4, 24, 32)).double(), normal(1, (1, 4, 24, 32)).double()
    monkeypatch.setitem(sharpness.CHUNK_BYTES, "cpu", 2**40)
    whole = anisotropic_filter(x, guide)
    monkeypatch.setitem(sharpness.CHUNK_BYTES, "cpu", 1)
    torch.testing.assert_close(anisotropic_filter(x, guide), whole, rtol=1e-12, atol=1e-12)


def test_filter_gives_the_recorded_figures() -> None:
    out = anisotropic_filter(normal(0, (1, 4, 24, 32)), normal(1, (1, 4, 24, 32)))
    np.testing.assert_allclose(out.flatten()[:4], [0.100621, 0.181941, 0.206792, 0.206639], **RECORDED)
    np.testing.assert_allclose([out.mean(), out.std()], [0.0028641, 0.1397172], **RECORDED)
    np.testing.assert_allclose(out[0, :, 5, 7], [0.0204, -0.1561, 0.1101, 0.1866], atol=5e-5)


@pytest.mark.parametrize(
    ("cfg", "sharp", "progress", "first"),
    [
        (4.0, 2.0, 0.3, [-1.650898, 4.484339, -2.449277, 1.841433]),
        (9.0, 2.0, 0.3, [-3.017896, 8.633138, -4.963508, 3.905445]),
        (9.0, 30.0, 0.9, [-3.83623, 9.526109, -6.162994, 3.986337]),
    ],
)
def test_adaptive_guidance_gives_the_recorded_figures(
    cfg: float, sharp: float, progress: float, first: list[float]
) -> None:
    x, positive, negative = (normal(seed, (1, 4, 16, 16)) for seed in (10, 11, 12))
    out = guide_adaptively(2 * x, positive, negative, cfg, adaptive_cfg=7.0, sharpness=sharp, progress=progress)
    np.testing.assert_allclose(out.flatten()[:4], first, **RECORDED)
    if cfg == 4.0:
        np.testing.assert_allclose([out.mean(), out.std()], [0.0856029, 4.7551049], **RECORDED)


@pytest.mark.parametrize("cfg", [2.0, 7.0, 12.5])
def test_adaptive_guidance_equals_a_float64_implementation(cfg: float) -> None:
    x, positive, negative = (normal(seed, (1, 4, 7, 8)).double().numpy() for seed in (1, 2, 3))
    progress, sharp, adaptive = 0.7, 25.0, 7.0
    e_positive, e_negative = x - positive, x - negative
    weight = 0.001 * sharp * progress
    e_positive = (1 - weight) * e_positive + weight * filtered_pixel_by_pixel(e_positive[0], positive[0])[None]
    real, mimicked = (e_negative + scale * (e_positive - e_negative) for scale in (cfg, adaptive))
    expected = x - (real * progress + mimicked * (1 - progress) if cfg > adaptive else real)
    out = guide_adaptively(
        *(torch.from_numpy(t) for t in (x, positive, negative)), cfg,
        adaptive_cfg=adaptive, sharpness=sharp, progress=progress,
    )  # fmt: skip
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-11, atol=1e-11)


def test_plain_guidance_moves_away_from_the_negative() -> None:
    positive, negative = normal(1, (1, 4, 3, 3)).double(), normal(2, (1, 4, 3, 3)).double()
    torch.testing.assert_close(guide(positive, negative, 7.5), negative + 7.5 * (positive - negative))
    torch.testing.assert_close(guide(positive, negative, 0.25), negative + 0.25 * (positive - negative))


def test_no_sharpness_leaves_adaptive_guidance_plain() -> None:
    x, positive, negative = (normal(seed, (1, 4, 8, 8)) for seed in (1, 2, 3))
    out = guide_adaptively(x, positive, negative, 4.0, adaptive_cfg=7.0, sharpness=0.0, progress=0.5)
    torch.testing.assert_close(out, guide(positive, negative, 4.0), rtol=1e-5, atol=1e-5)


def test_progress_runs_from_noise_to_image() -> None:
    assert progress_at(999) == 0.0
    assert progress_at(0) == 1.0
    assert progress_at(572) == pytest.approx(0.427427, abs=1e-6)
