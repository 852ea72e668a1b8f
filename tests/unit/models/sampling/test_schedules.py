"""What every schedule keeps to, whatever the numbers."""

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.sampling import sigma_curves
from models.sampling.parameterization import discrete, edm, float32, parameterization_for
from models.sampling.schedules import (
    COMFY_SCHEDULERS,
    FOOOCUS_SCHEDULERS,
    MODEL_SCHEDULES,
    SCHEDULES,
    UnknownScheduler,
    cut,
    denoise_schedule,
    schedule,
)

STEPS = st.integers(1, 120)


def model_for(name: str):
    return parameterization_for("eps", name if name in MODEL_SCHEDULES else None)


@settings(deadline=None)  # imports and a busy machine
@given(st.sampled_from(sorted(SCHEDULES)), STEPS)
def test_sigmas_descend_to_zero_and_are_float32(name: str, steps: int) -> None:
    sigmas = schedule(name, model_for(name), steps)
    assert all(a > b for a, b in itertools.pairwise(sigmas)) or name == "simple"
    assert sigmas[-1] == 0
    assert all(sigma == struct.unpack("f", struct.pack("f", sigma))[0] for sigma in sigmas)


@settings(deadline=None)  # imports and a busy machine
@given(st.sampled_from(sorted(set(SCHEDULES) - {"ddim_uniform", "beta", "turbo"})), STEPS)
def test_a_schedule_has_one_value_more_than_steps(name: str, steps: int) -> None:
    assert len(schedule(name, model_for(name), steps)) == steps + 1


@settings(deadline=None)  # imports and a busy machine
@given(st.integers(1, 60), st.floats(0.01, 0.9999), st.booleans())
def test_partial_denoise_keeps_the_end_of_a_longer_schedule(steps: int, denoise: float, drop: bool) -> None:
    sigmas = denoise_schedule("karras", discrete(), steps, denoise, drop_penultimate=drop)
    assert len(sigmas) == steps + 1
    longer = denoise_schedule("karras", discrete(), int(steps / denoise), drop_penultimate=drop)
    assert longer[-len(sigmas) :] == sigmas


def test_ddim_uniform_may_be_longer_and_beta_shorter_than_asked() -> None:
    assert len(schedule("ddim_uniform", discrete(), 7)) == 9
    assert len(schedule("beta", discrete(), 400)) < 401
    assert len(schedule("turbo", discrete(), 12)) == 11


@pytest.mark.parametrize(
    ("steps", "denoise", "timesteps"), [(1, 1.0, [999]), (2, 0.5, [499, 399]), (4, 0.2, [199, 99])]
)
def test_turbo_starts_at_the_timestep_of_its_denoise(steps: int, denoise: float, timesteps: list[int]) -> None:
    p = discrete()
    sigmas = SCHEDULES["turbo"](p, steps, denoise)  # type: ignore[call-arg]
    assert [p.timestep(sigma) for sigma in sigmas[:-1]] == timesteps


def test_align_your_steps_is_the_table_at_ten_steps() -> None:
    table = sigma_curves.ALIGN_YOUR_STEPS["SDXL"]
    assert sigma_curves.align_your_steps(10) == (*table[:-1], 0.0)
    twenty = sigma_curves.align_your_steps(20)
    assert twenty[::2] == pytest.approx((*table[:-1], 0.0))


def test_align_your_steps_keeps_the_end_for_partial_denoise() -> None:
    whole = sigma_curves.align_your_steps(10)
    assert sigma_curves.align_your_steps_denoised("SDXL", 10, 0.4) == whole[-5:]
    assert sigma_curves.align_your_steps_denoised("SDXL", 10, 0.04) == (0.0,)
    assert sigma_curves.align_your_steps_denoised("SDXL", 10, 0.0) == ()


def test_cutting_keeps_the_asked_steps() -> None:
    sigmas = (8.0, 4.0, 2.0, 1.0, 0.0)
    assert cut(sigmas, None, None, False) == sigmas
    assert cut(sigmas, 1, 3, False) == (4.0, 2.0, 1.0)
    assert cut(sigmas, 1, 3, True) == (4.0, 2.0, 0.0)
    assert cut(sigmas, 0, 10_000, True) == sigmas
    assert cut(sigmas, 4, None, False) == ()


def test_lists_name_only_what_exists() -> None:
    assert set(COMFY_SCHEDULERS) | set(FOOOCUS_SCHEDULERS) == set(SCHEDULES)


def test_unknown_scheduler_lists_the_known_ones() -> None:
    with pytest.raises(UnknownScheduler, match=r"no scheduler 'karas'.*karras"):
        schedule("karas", discrete(), 4)


def test_exponential_needs_a_smallest_sigma_above_zero() -> None:
    with pytest.raises(ValueError, match="raise sigma_min"):
        sigma_curves.exponential(5, 0.0, 14.6)


@settings(deadline=None)  # imports and a busy machine
@given(st.integers(0, 999))
def test_timestep_and_sigma_name_each_other(timestep: int) -> None:
    p = discrete()
    assert p.timestep(p.sigma(timestep)) == timestep
    assert edm().timestep(edm().sigma(0.3)) == pytest.approx(0.3)


@settings(deadline=None)  # imports and a busy machine
@given(st.floats(0, 999))
def test_fractional_timesteps_lie_between_their_neighbours(timestep: float) -> None:
    p = discrete()
    assert p.sigma(int(timestep)) * (1 - 1e-6) <= p.sigma(timestep) <= p.sigma(min(int(timestep) + 1, 999)) * (1 + 1e-6)


@pytest.mark.parametrize("choice", [("eps", "nope"), ("nope", None)])
def test_unknown_parameterization_is_refused(choice: tuple[str, str | None]) -> None:
    with pytest.raises(ValueError, match="choose"):
        parameterization_for(*choice)


def test_x0_prediction_is_the_output_itself() -> None:
    import torch

    x, output = torch.zeros(1), torch.ones(1)
    assert parameterization_for("x0").denoised(x, output, 3.0) is output
    assert float32(0.1) != 0.1
