"""How conditioning reaches the network: one batch, repeated lengths, size numbers, areas, masks and ranges."""

from typing import Any

import pytest
import torch

from models.sampling.areas import Area, resize_mask
from models.sampling.conditions import (
    NEGATIVE,
    POSITIVE,
    Frame,
    MissingPooledText,
    match_areas,
    prepare,
)
from models.sampling.denoiser import Guidance, GuidedDenoiser, fit_batch
from models.sampling.parameterization import discrete
from models.text.size import SizeNumbers, size_vector
from tests.unit.models.sampling.stand_in import ADM_CHANNELS, StandInUNet, conditioning, normal

EPS = discrete()
FRAME = Frame(12, 16, ADM_CHANNELS, EPS, torch.device("cpu"), torch.float32)
X = normal(3, (1, 4, 12, 16))


def denoiser(
    positive: list[Any], negative: list[Any], guidance: Guidance | None = None, batch: int = 1, scale: bool = False
) -> tuple[GuidedDenoiser, StandInUNet]:
    network = StandInUNet()
    first = prepare(POSITIVE, positive, FRAME, 1.5 if scale else None)
    second = prepare(NEGATIVE, negative, FRAME, 0.8 if scale else None)
    entries = match_areas(second, first) + match_areas(first, second)
    return GuidedDenoiser(network, EPS, entries, guidance or Guidance(4.0), batch=batch), network


def alone(condition: list[Any], sigma: float = 2.0) -> torch.Tensor:
    return denoiser(condition, conditioning(50), Guidance(1.0))[0](X, sigma)


def test_both_branches_go_in_one_forward_negative_first() -> None:
    denoise, network = denoiser(conditioning(1), conditioning(5))
    out = denoise(X, 2.0)
    assert network.rows == [2]
    torch.testing.assert_close(out, alone(conditioning(5)).lerp(alone(conditioning(1)), 4.0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("chunks", "lengths"),
    [((3, 2), [462]), ((2, 3), [462]), ((4, 1), [308]), ((1, 1), [77]), ((5, 1), [77, 385]), ((5, 2), [154, 385])],
)
def test_contexts_are_repeated_to_a_common_length_up_to_four_times(chunks: tuple[int, int], lengths: list[int]) -> None:
    positive, negative = conditioning(1, 77 * chunks[0]), conditioning(5, 77 * chunks[1])
    denoise, network = denoiser(positive, negative)
    out = denoise(X, 2.0)
    assert sorted(network.lengths) == lengths
    torch.testing.assert_close(out, alone(negative).lerp(alone(positive), 4.0), rtol=1e-4, atol=1e-4)


def test_samples_of_a_batch_are_guided_alike() -> None:
    denoise, network = denoiser(conditioning(1), conditioning(5), batch=3)
    x = X.repeat(3, 1, 1, 1)
    out = denoise(x, 2.0)
    assert network.rows == [6]
    for sample in out:
        torch.testing.assert_close(sample, out[0])


@pytest.mark.parametrize(("timestep", "emphasised"), [(999, True), (700, True), (699, False), (0, False)])
def test_claimed_size_is_emphasised_until_thirty_percent_are_done(timestep: int, emphasised: bool) -> None:
    seen: list[torch.Tensor] = []

    class Recording(StandInUNet):
        def __call__(self, x: Any, timesteps: Any, context: Any, y: torch.Tensor, *, freeu: Any = None) -> Any:
            seen.append(y)
            return super().__call__(x, timesteps, context, y, freeu=freeu)

    positive, negative = conditioning(1), conditioning(5)
    entries = prepare(NEGATIVE, negative, FRAME, 0.8) + prepare(POSITIVE, positive, FRAME, 1.5)
    GuidedDenoiser(Recording(), EPS, entries, Guidance(4.0, size_scale_end=0.3))(X, EPS.sigma(timestep))
    original = ((76, 102), (144, 192)) if emphasised else ((128, 128), (128, 128))
    for row, condition, size in zip(seen[0], (negative, positive), original, strict=True):
        numbers = SizeNumbers(*size, 0, 0, 128, 128)
        torch.testing.assert_close(row[None], size_vector(condition[0][1]["pooled_output"], numbers, ADM_CHANNELS))


def test_size_numbers_of_the_conditioning_are_used_by_comfyui_rule() -> None:
    facts = {"height": 512, "width": 640, "crop_h": 3, "crop_w": 5, "target_height": 768, "target_width": 896}
    (entry,) = prepare(POSITIVE, conditioning(1, **facts), FRAME, None)
    numbers = SizeNumbers(512, 640, 3, 5, 768, 896)
    torch.testing.assert_close(entry.y_early, size_vector(normal(2, (1, 1280)), numbers, ADM_CHANNELS))
    (plain,) = prepare(POSITIVE, conditioning(1), FRAME, None)
    numbers = SizeNumbers.plain(96, 128)
    torch.testing.assert_close(plain.y_late, size_vector(normal(2, (1, 1280)), numbers, ADM_CHANNELS))


def test_conditioning_without_pooled_text_says_what_to_do() -> None:
    with pytest.raises(MissingPooledText, match="Encode the prompt"):
        prepare(POSITIVE, [[normal(1, (1, 77, 2048)), {}]], FRAME, None)


def test_combined_conditionings_are_averaged_by_strength() -> None:
    both = conditioning(1, strength=3.0) + conditioning(5)
    denoise, _ = denoiser(both, conditioning(9), Guidance(1.0))
    expected = 0.75 * alone(conditioning(1)) + 0.25 * alone(conditioning(5))
    torch.testing.assert_close(denoise(X, 2.0), expected, rtol=1e-4, atol=1e-4)


def test_mask_says_where_a_conditioning_holds() -> None:
    mask = torch.zeros(1, 12, 16)
    mask[..., :8] = 1
    both = conditioning(1, mask=mask) + conditioning(5, mask=1 - mask)
    out = denoiser(both, conditioning(9), Guidance(1.0))[0](X, 2.0)
    torch.testing.assert_close(out[..., :8], alone(conditioning(1))[..., :8], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out[..., 8:], alone(conditioning(5))[..., 8:], rtol=1e-4, atol=1e-4)


def test_area_is_evaluated_by_itself_and_fades_at_inner_edges() -> None:
    both = conditioning(1) + conditioning(5, area=(12, 8, 0, 8))
    denoise, network = denoiser(both, conditioning(9))
    out = denoise(X, 2.0)
    assert network.rows == [2, 2]  # whole picture, and the area with a twin of the negative
    plain = alone(conditioning(9)).lerp(alone(conditioning(1)), 4.0)
    torch.testing.assert_close(out[..., :8], plain[..., :8], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(out[..., 8:], plain[..., 8:])
    (_, area) = prepare(POSITIVE, both, FRAME, None)
    assert area.weight is not None
    assert area.weight[0, 0, 0].tolist() == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 1])


def test_area_in_shares_of_the_picture() -> None:
    (entry,) = prepare(POSITIVE, conditioning(1, area=("percentage", 0.5, 0.25, 0.5, 0.75)), FRAME, None)
    assert entry.area == Area(6, 4, 6, 12)


def test_area_may_be_the_bounds_of_a_mask() -> None:
    mask = torch.zeros(1, 12, 16)
    mask[:, 1:11, 3:5] = 1
    (entry,) = prepare(POSITIVE, conditioning(1, mask=mask, set_area_to_bounds=True), FRAME, None)
    assert entry.area == Area(10, 8, 1, 3)
    assert entry.weight is not None
    assert entry.weight.shape == (1, 1, 10, 8)
    (empty,) = prepare(POSITIVE, conditioning(1, mask=mask * 0, set_area_to_bounds=True), FRAME, None)
    assert empty.area == Area(8, 8, 0, 0)


def test_each_sample_of_a_batch_has_its_own_conditioning_mask() -> None:
    masks = torch.stack([torch.ones(12, 16), torch.zeros(12, 16)])
    both = conditioning(1, mask=masks) + conditioning(5, mask=1 - masks)
    out = denoiser(both, conditioning(9), Guidance(1.0), batch=2)[0](X.repeat(2, 1, 1, 1), 2.0)
    torch.testing.assert_close(out[:1], alone(conditioning(1)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out[1:], alone(conditioning(5)), rtol=1e-4, atol=1e-4)


def test_conditioning_outside_its_range_is_skipped() -> None:
    early = conditioning(1, start_percent=0.0, end_percent=0.5)
    late = conditioning(5, start_percent=0.5, end_percent=1.0)
    denoise, network = denoiser(early + late, conditioning(9), Guidance(1.0))
    torch.testing.assert_close(denoise(X, 10.0), alone(conditioning(1), 10.0))
    torch.testing.assert_close(denoise(X, 0.5), alone(conditioning(5), 0.5))
    assert network.rows == [1, 1]


def test_branches_come_apart_for_cfg_plus_plus() -> None:
    denoise, _ = denoiser(conditioning(1), conditioning(5))
    guided, negative = denoise.with_negative(X, 2.0)
    torch.testing.assert_close(guided, denoise(X, 2.0))
    torch.testing.assert_close(negative, alone(conditioning(5)), rtol=1e-5, atol=1e-5)


def test_mask_is_resized_bilinearly() -> None:
    mask = torch.zeros(8, 8)
    mask[:, 4:] = 1
    assert resize_mask(mask, 2, 4)[0, 0, 0].tolist() == [0, 0, 1, 1]
    assert resize_mask(mask[None, None], 8, 8).shape == (1, 1, 8, 8)


@pytest.mark.parametrize(("rows", "batch", "expected"), [(1, 3, [0, 0, 0]), (2, 3, [0, 1, 0]), (3, 2, [0, 1])])
def test_rows_are_repeated_or_cut_to_the_batch(rows: int, batch: int, expected: list[int]) -> None:
    assert fit_batch(torch.arange(rows)[:, None], batch)[:, 0].tolist() == expected
