"""Whole runs on a stand-in UNet: where they start and stop, what they return, and that they repeat."""

import pytest
import torch
from torch import Tensor

from models.errors import NonFiniteOutput
from models.sampling.noise import generator, initial_noise
from models.sampling.parameterization import discrete
from models.sampling.run import sample, sample_custom
from models.sampling.samplers import SAMPLERS, UnknownSampler
from models.sampling.schedules import UnknownScheduler, schedule
from models.sdxl import AdaptiveGuidance, SizeScale
from tests.unit.models.sampling.stand_in import conditioning, empty_latent, normal, stand_in_model

POSITIVE, NEGATIVE = conditioning(1), conditioning(2)
SETTINGS = {"seed": 5, "steps": 6, "cfg": 3.0, "sampler_name": "euler", "scheduler": "karras"}


def run(latent=None, positive=POSITIVE, negative=NEGATIVE, model=None, **changes):
    model, network = model or stand_in_model()
    out = sample(model, positive, negative, latent or empty_latent(), **{**SETTINGS, **changes})
    return out, network


@pytest.mark.parametrize("policy", ["fooocus", "comfy"])
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_same_seed_gives_the_same_bytes(sampler: str, policy: str) -> None:
    options = {"size_scale": SizeScale(), "guidance": AdaptiveGuidance()}
    first, second = (
        run(sampler_name=sampler, policy=policy, model=stand_in_model(**options))[0]["samples"] for _ in range(2)
    )
    assert first.numpy().tobytes() == second.numpy().tobytes()
    assert first.isfinite().all()


def test_another_seed_gives_another_latent() -> None:
    assert not torch.equal(run()[0]["samples"], run(seed=6)[0]["samples"])


def test_run_leaves_the_global_generator_and_the_input_alone() -> None:
    latent = empty_latent()
    before = torch.random.get_rng_state()
    run(latent, sampler_name="dpmpp_2m_sde")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not latent["samples"].any()


def test_result_is_a_plain_float32_cpu_tensor_that_later_nodes_may_change() -> None:
    samples = run()[0]["samples"]
    assert (samples.dtype, samples.device.type, samples.shape) == (torch.float32, "cpu", (1, 4, 12, 16))
    assert samples.is_contiguous()
    assert not samples.is_inference()
    samples.mul_(2)


def test_other_entries_of_the_latent_are_carried_along() -> None:
    latent = {**empty_latent(2), "batch_index": [3, 4], "note": "kept"}
    out, _ = run(latent)
    assert out["batch_index"] == [3, 4]
    assert out["note"] == "kept"


@pytest.mark.parametrize("denoise", [0.0, -1.0])
def test_no_denoise_returns_the_latent_unchanged(denoise: float) -> None:
    latent = {"samples": normal(9, (1, 4, 12, 16))}
    out, network = run(latent, denoise=denoise)
    assert torch.equal(out["samples"], latent["samples"])
    assert network.timesteps == []


@pytest.mark.parametrize("denoise", [0.3, 0.55, 0.99995, 1.0])
def test_partial_denoise_still_runs_every_step(denoise: float) -> None:
    _, network = run(denoise=denoise)
    assert len(network.timesteps) == 6


def test_two_parts_of_a_run_give_the_whole() -> None:
    whole, _ = run(steps=8)
    first, _ = run(steps=8, end_step=3)
    second, network = run(first, steps=8, start_step=3, add_noise=False)
    assert len(network.timesteps) == 5
    torch.testing.assert_close(second["samples"], whole["samples"], rtol=1e-4, atol=1e-4)


def test_forced_full_denoise_ends_without_noise() -> None:
    left, _ = run(steps=8, end_step=3)
    forced, network = run(steps=8, end_step=3, force_full_denoise=True)
    assert len(network.timesteps) == 3
    assert forced["samples"].std() < left["samples"].std()


@pytest.mark.parametrize(("start", "end"), [(8, None), (20, 10000), (5, 5), (3, 2)])
def test_a_start_at_or_after_the_end_returns_the_latent_unchanged(start: int, end: int | None) -> None:
    latent = {"samples": normal(9, (1, 4, 12, 16))}
    out, network = run(latent, steps=8, start_step=start, end_step=end)
    assert torch.equal(out["samples"], latent["samples"])
    assert network.timesteps == []


def test_guidance_of_one_evaluates_the_positive_branch_alone() -> None:
    _, network = run(cfg=1.0)
    assert set(network.rows) == {1}
    assert run(cfg=1.5)[1].rows == [2] * 6


def test_cfg_plus_plus_evaluates_both_branches_even_at_guidance_one() -> None:
    assert run(cfg=1.0, sampler_name="euler_cfg_pp")[1].rows == [2] * 6


def test_start_latent_is_the_scaled_latent_plus_the_noise_of_the_first_sigma() -> None:
    seen: list[Tensor] = []
    latent = {"samples": normal(9, (1, 4, 12, 16))}
    sigmas = schedule("karras", discrete(), 12)[-7:]
    run(latent, denoise=0.5, callback=lambda step, total, x, denoised: seen.append(x))
    expected = latent["samples"] * 0.13025 + initial_noise((1, 4, 12, 16), generator(5)) * sigmas[0]
    torch.testing.assert_close(seen[0], expected)


def test_full_denoise_starts_from_pure_noise() -> None:
    seen: list[Tensor] = []
    run(callback=lambda step, total, x, denoised: seen.append(x))
    expected = initial_noise((1, 4, 12, 16), generator(5)) * (1 + 14.614643**2) ** 0.5
    torch.testing.assert_close(seen[0], expected)


def test_batch_of_one_prompt_equals_its_samples_drawn_alone() -> None:
    batch, _ = run(empty_latent(3))
    for index in range(3):
        alone, _ = run({**empty_latent(1), "batch_index": [index]})
        torch.testing.assert_close(alone["samples"][0], batch["samples"][index], rtol=1e-5, atol=1e-5)


def test_an_interrupt_raised_in_the_callback_stops_at_once() -> None:
    class Stop(Exception):
        pass

    model, network = stand_in_model()

    def stop(step: int, total: int, x: Tensor, denoised: Tensor) -> None:
        if step == 2:
            raise Stop

    with pytest.raises(Stop):
        run(model=(model, network), callback=stop)
    assert len(network.timesteps) == 3


def test_playground_runs_on_its_own_noise_scale_and_latent_space() -> None:
    seen: list[Tensor] = []
    out, network = run(scheduler="edm_playground_v2.5", callback=lambda step, total, x, denoised: seen.append(x))
    assert network.timesteps[0] == pytest.approx(1.19687, abs=1e-5)
    assert seen[0].std() > 100
    assert out["samples"].isfinite().all()


def test_turbo_runs_its_own_timesteps_unless_fooocus_fallback_is_asked_for() -> None:
    assert run(scheduler="turbo", steps=4)[1].timesteps == [999, 899, 799, 699]
    assert run(scheduler="turbo", steps=4, legacy_schedules=True)[1].timesteps == [999, 666, 333, 0]


def test_sampling_with_given_sigmas_equals_the_named_run() -> None:
    model, _ = stand_in_model()
    sigmas = torch.tensor(schedule("karras", discrete(), 6))
    named, _ = run(sampler_name="dpmpp_2m_sde", policy="comfy")
    custom, _ = sample_custom(
        model, POSITIVE, NEGATIVE, empty_latent(), sampler=SAMPLERS["dpmpp_2m_sde"], sigmas=sigmas.tolist(),
        seed=5, cfg=3.0,
    )  # fmt: skip
    assert torch.equal(custom["samples"], named["samples"])


def test_custom_run_also_returns_the_last_estimate() -> None:
    model, _ = stand_in_model()
    settings = {"sampler": SAMPLERS["euler"], "seed": 5, "cfg": 3.0}
    full = schedule("karras", discrete(), 6)
    out, denoised = sample_custom(model, POSITIVE, NEGATIVE, empty_latent(), sigmas=full, **settings)
    torch.testing.assert_close(out["samples"], denoised["samples"])
    out, denoised = sample_custom(model, POSITIVE, NEGATIVE, empty_latent(), sigmas=full[:4], **settings)
    assert out["samples"].std() > denoised["samples"].std()
    latent = {"samples": normal(9, (1, 4, 12, 16))}
    out, denoised = sample_custom(model, POSITIVE, NEGATIVE, latent, sigmas=[], **settings)
    assert torch.equal(out["samples"], latent["samples"])
    assert torch.equal(denoised["samples"], latent["samples"])


def test_unknown_names_are_refused_before_anything_runs() -> None:
    with pytest.raises(UnknownSampler):
        run(sampler_name="nope")
    with pytest.raises(UnknownScheduler, match="no scheduler 'nope'"):
        run(scheduler="nope")


def test_context_is_prepared_once_per_run() -> None:
    assert run()[1].prepared == 1
    _, network = run(model=stand_in_model(size_scale=SizeScale()))
    assert network.prepared == 1


@pytest.mark.parametrize(
    "sampler", sorted(set(SAMPLERS) - {"restart", "dpm_adaptive", "tcd", "lcm", "er_sde", "dpm_fast"})
)
def test_flipped_schedule_turns_a_latent_into_noise(sampler: str) -> None:
    model, _ = stand_in_model()
    sigmas = [1e-4, *reversed(schedule("karras", discrete(), 8)[:-1])]
    latent = {"samples": normal(9, (1, 4, 12, 16))}
    out, _ = sample_custom(
        model, POSITIVE, NEGATIVE, latent, sampler=SAMPLERS[sampler], sigmas=sigmas, seed=1, cfg=1.0, add_noise=False
    )
    assert out["samples"].std() > latent["samples"].std()


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "dpmpp_3m_sde", "lms", "uni_pc", "res_multistep"])
def test_a_repeated_sigma_is_no_step(sampler: str) -> None:
    model, network = stand_in_model()
    out, _ = sample_custom(
        model, POSITIVE, NEGATIVE, empty_latent(), sampler=SAMPLERS[sampler], sigmas=[8.0, 4.0, 4.0, 1.0, 0.0], seed=1,
        cfg=1.0,
    )  # fmt: skip
    assert out["samples"].isfinite().all()
    assert len(network.timesteps) == 3


@pytest.mark.parametrize("sampler", ["euler", "dpm_adaptive", "dpmpp_2m_sde"])
def test_a_network_that_overflows_is_an_error_with_a_remedy(sampler: str) -> None:
    conditioning_of_nan = [[POSITIVE[0][0] * float("nan"), POSITIVE[0][1]]]
    with pytest.raises(NonFiniteOutput, match="Lower cfg"):
        run(sampler_name=sampler, positive=conditioning_of_nan)
