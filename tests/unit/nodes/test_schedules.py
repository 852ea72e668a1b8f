"""Schedule nodes against their formulas in float64, and the cutting of schedules."""

import math

import numpy as np
import pytest
import torch

from engine.registry import Registry

SDXL_ENDS = 14.614642, 0.0291675


def call(registry: Registry, class_type: str, **inputs):
    return registry.get(class_type).call(**inputs)


def test_schedules_by_formula(registry: Registry):
    high, low = SDXL_ENDS
    steps, ramp = 7, np.linspace(0, 1, 7)
    expected = {
        "KarrasScheduler": (high ** (1 / 5) + ramp * (low ** (1 / 5) - high ** (1 / 5))) ** 5,
        "ExponentialScheduler": np.exp(np.linspace(math.log(high), math.log(low), steps)),
        "PolyexponentialScheduler": np.exp((1 - ramp) ** 2 * (math.log(high) - math.log(low)) + math.log(low)),
        "VPScheduler": np.sqrt(
            np.expm1(19.9 * np.linspace(1, 0.001, steps) ** 2 / 2 + 0.1 * np.linspace(1, 0.001, steps))
        ),
    }
    ends = {"sigma_max": high, "sigma_min": low}
    inputs = {
        "KarrasScheduler": {**ends, "rho": 5.0},
        "ExponentialScheduler": ends,
        "PolyexponentialScheduler": {**ends, "rho": 2.0},
        "VPScheduler": {"beta_d": 19.9, "beta_min": 0.1, "eps_s": 0.001},
    }
    for name, values in expected.items():
        own = call(registry, name, steps=steps, **inputs[name])
        assert own.dtype == torch.float32
        np.testing.assert_allclose(own.numpy(), [*values, 0.0], rtol=1e-5, err_msg=name)


def test_laplace_has_no_closing_zero(registry: Registry):
    x = np.linspace(0, 1, 9)
    logs = 0.3 - 0.5 * np.sign(0.5 - x) * np.log(1 - 2 * np.abs(0.5 - x) + 1e-5)
    own = call(registry, "LaplaceScheduler", steps=9, sigma_max=10.0, sigma_min=0.1, mu=0.3, beta=0.5)
    np.testing.assert_allclose(own.numpy(), np.exp(logs).clip(0.1, 10.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("steps", "denoise", "length", "first"),
    [(10, 1.0, 11, 14.6146412293), (10, 0.5, 6, 0.8620721141), (5, 0.0, 0, None)],
)
def test_align_your_steps_keeps_the_end_of_the_table(registry: Registry, steps, denoise, length, first):
    own = call(registry, "AlignYourStepsScheduler", model_type="SDXL", steps=steps, denoise=denoise)
    assert len(own) == length
    if first is not None:
        assert own[0] == pytest.approx(first, rel=1e-6)
        assert own[-1] == 0


def test_a_schedule_is_cut_reversed_and_given_another_start(registry: Registry):
    sigmas = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0])
    high, low = call(registry, "SplitSigmas", sigmas=sigmas, step=1)
    assert (high.tolist(), low.tolist()) == ([4, 3], [3, 2, 1, 0])
    high, low = call(registry, "SplitSigmas", sigmas=sigmas, step=9)
    assert (high.tolist(), low.tolist()) == ([4, 3, 2, 1, 0], [])
    high, low = call(registry, "SplitSigmasDenoise", sigmas=sigmas, denoise=0.5)
    assert (high.tolist(), low.tolist()) == ([4, 3, 2], [2, 1, 0])
    assert call(registry, "FlipSigmas", sigmas=sigmas).tolist() == pytest.approx([1e-4, 1, 2, 3, 4])
    assert call(registry, "FlipSigmas", sigmas=torch.tensor([])).tolist() == []
    assert call(registry, "SetFirstSigma", sigmas=sigmas, sigma=9.0).tolist() == [9, 3, 2, 1, 0]
    assert sigmas.tolist() == [4, 3, 2, 1, 0]


def test_areas_and_times_are_facts_on_a_copy(registry: Registry):
    context = torch.zeros(1, 77, 8)
    plain = [[context, {"pooled_output": None}]]
    ((same, facts),) = call(
        registry, "ConditioningSetArea", conditioning=plain, width=128, height=64, x=16, y=8, strength=0.5
    )
    assert same is context
    assert facts["area"] == (8, 16, 1, 2)
    assert facts["strength"] == 0.5
    ((_, facts),) = call(
        registry,
        "ConditioningSetAreaPercentage",
        conditioning=plain,
        width=0.5,
        height=1.0,
        x=0.25,
        y=0.0,
        strength=1.0,
    )
    assert facts["area"] == ("percentage", 1.0, 0.5, 0.0, 0.25)
    ((_, facts),) = call(registry, "ConditioningSetTimestepRange", conditioning=plain, start=0.2, end=0.9)
    assert (facts["start_percent"], facts["end_percent"]) == (0.2, 0.9)
    assert call(registry, "ConditioningSetAreaStrength", conditioning=plain, strength=2.0)[0][1]["strength"] == 2.0
    mask = torch.ones(8, 8)
    ((_, facts),) = call(
        registry, "ConditioningSetMask", conditioning=plain, mask=mask, strength=0.7, set_cond_area="mask bounds"
    )
    assert facts["mask"].shape == (1, 8, 8)
    assert (facts["mask_strength"], facts["set_area_to_bounds"]) == (0.7, True)
    assert plain == [[context, {"pooled_output": None}]]
