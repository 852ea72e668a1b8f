"""Handing over to a refiner: the exact step, each method's formula, what it is told (behaviour §4.6, §11.5)."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.control.apply import KEY
from models.sampling.parameterization import discrete, training_table
from models.sampling.refine import Refiner, UnfitRefiner, converted
from models.sampling.run import sample
from models.sampling.schedules import denoise_schedule
from models.sdxl import AdaptiveGuidance, Model, ModelOptions, SizeScale
from tests.unit.models.sampling.stand_in import AlwaysResident, StandInUNet, conditioning, empty_latent, normal

ADAPTED = {"size_scale": SizeScale(1.5, 0.8, 0.3), "guidance": AdaptiveGuidance(7.0, 2.0)}
KARRAS = {"sampler_name": "dpmpp_2m_sde_gpu", "scheduler": "karras"}
EULER = {"sampler_name": "euler", "scheduler": "karras", "cfg": 1.0, "seed": 3}


class Weak(StandInUNet):
    """The stand-in with half the words' weight: the refiner of the recorded run."""

    def __call__(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor, **options: Any) -> Tensor:
        return super().__call__(x, timesteps, context * 0.5, y, **options)


def model_of(network: StandInUNet, family: str = "sdxl", **options: Any) -> Model:
    return Model(AlwaysResident(network), family=family, options=ModelOptions(**options))  # type: ignore[arg-type]


def refined(method: str, switch: int, steps: int = 8, cfg: float = 4.0, seed: int = 21, **changes: Any):
    """A run with a refiner; returns the latent and both networks."""
    base, weak = StandInUNet(), Weak()
    words = conditioning(seed + 100), conditioning(seed + 200)
    refiner = Refiner(model_of(weak, **ADAPTED), *words, switch, method)  # type: ignore[arg-type]
    asked = {"seed": seed, "steps": steps, "cfg": cfg, **KARRAS, **changes}
    latent = asked.pop("latent", empty_latent())
    out = sample(model_of(base, **ADAPTED), *words, latent, refiner=refiner, **asked)
    return out["samples"], base, weak


def test_joint_gives_the_recorded_figures() -> None:
    samples, base, weak = refined("joint", 3)
    np.testing.assert_allclose(samples[0, :, 5, 7], [-2.7386, -0.1277, -4.0668, 3.7471], atol=1.5e-4)
    assert float(samples.mean()) == pytest.approx(-0.13258, abs=1.5e-5)
    assert float(samples.std()) == pytest.approx(4.53048, abs=6e-5)
    assert (len(base.timesteps), len(weak.timesteps)) == (4, 4)


@pytest.mark.parametrize(("sampler", "per_step"), [("euler", 1), ("heun", 2), ("dpmpp_sde", 2)])
@pytest.mark.parametrize("switch", [0, 3, 7])
def test_joint_switches_after_the_first_evaluation_of_the_step(sampler: str, per_step: int, switch: int) -> None:
    _, base, weak = refined("joint", switch, cfg=1.0, sampler_name=sampler)
    assert len(base.timesteps) == per_step * switch + 1
    assert len(weak.timesteps) == per_step * 8 - (per_step - 1) - len(base.timesteps)


@pytest.mark.parametrize("method", ["joint", "separate", "vae"])
@pytest.mark.parametrize("switch", [8, 9, 100])
def test_a_switch_behind_the_last_step_is_no_refiner_bit_by_bit(method: str, switch: int) -> None:
    words = conditioning(121), conditioning(221)
    plain = sample(model_of(StandInUNet(), **ADAPTED), *words, empty_latent(), seed=21, steps=8, cfg=4.0, **KARRAS)
    samples, _, weak = refined(method, switch)
    assert torch.equal(samples, plain["samples"])
    assert weak.timesteps == []


def test_joint_keeps_a_multistep_sampler_s_memory() -> None:
    """DPM-Solver++(2M) by hand: the first step after the switch looks back at the base's estimate."""
    first, second = Timed(1.0), Timed(-2.0)
    words = conditioning(1)
    refiner = Refiner(model_of(second), words, words, 3)
    asked = {**EULER, "sampler_name": "dpmpp_2m"}
    out = sample(model_of(first), words, words, empty_latent(), steps=8, refiner=refiner, **asked)
    sigmas = denoise_schedule("karras", discrete(), 8)
    x, before = start(empty_latent(), sigmas[0]), None
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        denoised = x - sigma * noise_of(x, sigma, 1.0 if step <= 3 else -2.0)
        if after == 0:
            x = denoised
            break
        h = np.log(sigma) - np.log(after)
        looked = denoised
        if before is not None:
            r = (np.log(sigmas[step - 1]) - np.log(sigma)) / h
            looked = (1 + 1 / (2 * r)) * denoised - before / (2 * r)
        x, before = after / sigma * x - np.expm1(-h) * looked, denoised
    np.testing.assert_allclose(out["samples"], x / 0.13025, rtol=1e-4, atol=1e-3)


class Timed:
    """eps = 0.1·u + 0.0001·t·gain, whatever the words say: small enough to be run by hand."""

    def __init__(self, gain: float, adm: int = 2816, width: int = 2048) -> None:
        self.gain, self.emb_weight, self.timesteps = gain, torch.zeros(1), []
        self.sizes = SimpleNamespace(adm_channels=adm, model_channels=320, context_dim=width)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def prepare(self, context: Tensor) -> Tensor:
        return context

    def __call__(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor, **_: Any) -> Tensor:
        self.timesteps.append(float(timesteps[0]))
        self.seen.append((context, y))
        return 0.1 * x + 0.01 * self.gain * timesteps.view(-1, 1, 1, 1) / 100


def noise_of(x: np.ndarray, sigma: float, gain: float) -> np.ndarray:
    """What `Timed` predicts, in float64."""
    timestep = int(np.abs(np.log(np.array(training_table())) - np.log(sigma)).argmin())
    return 0.1 * x / np.sqrt(sigma**2 + 1) + 0.01 * gain * timestep / 100


def by_hand(x: np.ndarray, sigmas: Any, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Euler in float64; returns x and the last noise."""
    epsilon = np.zeros_like(x)
    for sigma, after in pairwise(sigmas):
        epsilon = noise_of(x, sigma, gain)
        x = x + (after - sigma) * epsilon
    return x, epsilon


def start(latent: dict[str, Any], sigma: float) -> np.ndarray:
    noise = normal(3, tuple(latent["samples"].shape)).double().numpy()
    return latent["samples"].double().numpy() * 0.13025 + noise * np.sqrt(1 + sigma**2)


def euler(method: str, switch: int, family: str = "sdxl", latent: dict[str, Any] | None = None, **changes: Any):
    first = Timed(1.0)
    second = Timed(-2.0) if family == "sdxl" else Timed(-2.0, 0, 768)
    words = conditioning(1) if family == "sdxl" else [[normal(5, (1, 77, 768)), {}]]
    refiner = Refiner(model_of(second, family), words, words, switch, method, **changes)  # type: ignore[arg-type]
    start_from = latent or empty_latent()
    base_words = conditioning(1)
    out = sample(model_of(first), base_words, base_words, start_from, steps=8, refiner=refiner, **EULER)  # type: ignore[arg-type]
    return out["samples"], first, second


def test_separate_leaves_noise_and_adds_none() -> None:
    samples, first, second = euler("separate", 3)
    sigmas = denoise_schedule("karras", discrete(), 8)
    x, _ = by_hand(start(empty_latent(), sigmas[0]), sigmas[:4], 1.0)
    x, _ = by_hand(x, sigmas[3:], -2.0)
    np.testing.assert_allclose(samples, x / 0.13025, rtol=1e-4, atol=1e-3)
    assert (len(first.timesteps), len(second.timesteps)) == (3, 5)


@pytest.mark.parametrize("sampler", ["dpmpp_sde_gpu", "euler_ancestral"])
def test_separate_goes_on_with_the_same_random_numbers(sampler: str) -> None:
    """With one network in both runs, a sampler without memory of steps draws as in one run."""
    words = conditioning(121), conditioning(221)
    refiner = Refiner(model_of(StandInUNet()), *words, 3, "separate")
    runs = [
        sample(
            model_of(StandInUNet()), *words, empty_latent(), seed=4, steps=8, cfg=1.0, sampler_name=sampler,
            scheduler="karras", refiner=chosen,
        )["samples"]
        for chosen in (None, refiner)
    ]  # fmt: skip
    torch.testing.assert_close(runs[1], runs[0], rtol=0, atol=2e-4)


def test_vae_noises_a_finished_picture_anew() -> None:
    samples, first, second = euler("vae", 3)
    sigmas = denoise_schedule("karras", discrete(), 8)
    x, epsilon = by_hand(start(empty_latent(), sigmas[0]), (*sigmas[:3], 0.0), 1.0)
    noise = normal(4, (1, 4, 12, 16)).double().numpy()  # seed + 1
    noise += epsilon.mean(1, keepdims=True) - noise.mean(1, keepdims=True)
    more = [1.4 * sigma for sigma in sigmas[3:]]
    x, _ = by_hand(x + noise * more[0], more, -2.0)
    np.testing.assert_allclose(samples, x / 0.13025, rtol=1e-4, atol=1e-3)
    assert (len(first.timesteps), len(second.timesteps)) == (3, 5)


def test_vae_asks_at_the_recorded_timesteps() -> None:
    _, base, weak = refined("vae", 3)
    assert base.timesteps == [999, 890, 746]
    assert weak.timesteps == [643, 399, 147, 24, 1]


class Doubling:
    """An interposer for tests."""

    def convert(self, samples: Tensor) -> Tensor:
        return samples * 2


def test_sd15_works_in_its_own_latents_whatever_the_method() -> None:
    samples, _, second = euler("joint", 3, "sd1", interposer=Doubling())
    sigmas = denoise_schedule("karras", discrete(), 8)
    x, epsilon = by_hand(start(empty_latent(), sigmas[0]), (*sigmas[:3], 0.0), 1.0)
    noise = normal(4, (1, 4, 12, 16)).double().numpy()
    noise += epsilon.mean(1, keepdims=True) - noise.mean(1, keepdims=True)
    more = [1.4 * sigma for sigma in sigmas[3:]]
    x, _ = by_hand(2 * x / 0.13025 * 0.18215 + noise * more[0], more, -2.0)
    np.testing.assert_allclose(samples, x / 0.18215, rtol=1e-4, atol=1e-3)
    context, y = second.seen[0]
    assert (context.shape, y.shape) == ((1, 77, 768), (1, 0))
    with pytest.raises(UnfitRefiner, match="other latents"):
        euler("joint", 3, "sd1")


@pytest.mark.parametrize("method", ["joint", "separate", "vae"])
def test_what_a_mask_keeps_is_the_first_picture(method: str) -> None:
    mask = torch.zeros(1, 12, 16)
    mask[:, 3:9, 4:12] = 1
    original = 5 * normal(70, (1, 4, 12, 16))
    samples, _, _ = euler(method, 3, latent={"samples": original, "noise_mask": mask})
    outside = (mask == 0)[:, None].expand_as(original)
    torch.testing.assert_close(samples[outside], original[outside], rtol=0, atol=1e-4)
    assert (samples - original).abs()[~outside].mean() > 1


def test_what_a_mask_keeps_is_given_in_sd15_s_latents() -> None:
    mask = torch.ones(1, 12, 16)
    mask[..., :8] = 0
    kept = {"samples": 3 * normal(71, (1, 4, 12, 16))}
    latent = {"samples": 5 * normal(70, (1, 4, 12, 16)), "noise_mask": mask}
    samples, _, _ = euler("vae", 3, "sd1", latent, interposer=Doubling(), kept=kept)
    torch.testing.assert_close(samples[..., :8], kept["samples"][..., :8], rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", ["separate", "vae"])
def test_steps_are_counted_on_and_told_to_the_refiner_s_own_report(method: str) -> None:
    told: list[tuple[str, int, int]] = []
    words = conditioning(1)
    refiner = Refiner(
        model_of(StandInUNet()), words, words, 3, method,  # type: ignore[arg-type]
        callback=lambda step, total, x, denoised: told.append(("refiner", step, total)),
    )  # fmt: skip
    sample(
        model_of(StandInUNet()), words, words, empty_latent(), steps=8, refiner=refiner, **EULER,
        callback=lambda step, total, x, denoised: told.append(("base", step, total)),
    )  # fmt: skip
    assert told == [("base" if step < 3 else "refiner", step, 8) for step in range(8)]


def test_words_are_handed_on_without_controls_or_encoding() -> None:
    words = [[normal(1, (1, 154, 2048)), {"pooled_output": normal(2, (1, 1280)), KEY: "a control", "strength": 0.5}]]

    def refiner(family: str, width: int) -> Any:
        return SimpleNamespace(family=family, unet=SimpleNamespace(sizes=SimpleNamespace(context_dim=width)))

    norm = torch.nn.LayerNorm(768)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)

    class Encoder:
        """CLIP-L, of which only the final norm is asked."""

        def use(self, loras: Any = ()) -> Any:
            from contextlib import nullcontext

            return nullcontext(SimpleNamespace(final_layer_norm=norm))

    clip: Any = SimpleNamespace(l=Encoder(), loras=())
    ((same, facts),) = converted(words, clip, refiner("sdxl", 2048))
    assert torch.equal(same, words[0][0])
    assert facts == {"pooled_output": words[0][1]["pooled_output"], "strength": 0.5}
    ((context, facts),) = converted(words, clip, refiner("sdxl_refiner", 1280))
    assert torch.equal(context, words[0][0][..., 768:])
    assert torch.equal(facts["pooled_output"], words[0][1]["pooled_output"])
    ((context, facts),) = converted(words, clip, refiner("sd1", 768))
    expected = F.layer_norm(words[0][0][..., :768], (768,), norm.weight, norm.bias)
    torch.testing.assert_close(context, expected.detach(), rtol=0, atol=1e-6)
    assert facts == {"strength": 0.5}
