"""Image prompts within a run: until when they act, on which branch, for which picture of a batch."""

import pytest
import torch
from torch import Tensor

from engine.cache import value_bytes
from models.memory import Residency
from models.sampling.areas import Area
from models.sampling.conditions import NEGATIVE, POSITIVE, Entry
from models.sampling.denoiser import Guidance, GuidedDenoiser
from models.sampling.parameterization import parameterization_for
from models.sdxl import Model, load_checkpoint
from models.vision.image_prompt import ImagePrompt, KeysValues, cross_widths
from tests.parity.random_sdxl import TINY, write_checkpoint

CONTEXT = TINY.text_l[0] + TINY.text_g[0]
SIDE = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    write_checkpoint(path, TINY)
    return load_checkpoint(path, Residency())[0]


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def keys_values(model: Model, seed: int, pictures: int = 1) -> KeysValues:
    heads = [width // 64 for width in cross_widths(model.unet.sizes)]
    return tuple(
        (random(pictures, h, 4, 64, seed=seed + i), random(pictures, h, 4, 64, seed=-i)) for i, h in enumerate(heads)
    )


def entry(branch: int, model: Model) -> Entry:
    y = random(1, model.unet.sizes.adm_channels, seed=5 + branch)
    return Entry(
        branch=branch,
        context=random(1, 77, CONTEXT, seed=branch),
        y_early=y,
        y_late=y,
        area=Area(SIDE, SIDE, 0, 0),
        weight=None,
        sigma_first=float("inf"),
        sigma_last=0.0,
    )


@torch.inference_mode()
def denoised(
    model: Model, prompts: list[ImagePrompt], progress: float, batch: int = 1, branches: tuple[int, ...] = (0, 1)
) -> Tensor:
    """Evaluate at a share of the way from noise to picture. cfg 1 where only the positive branch is asked."""
    timestep = 999 * (1 - progress)
    parameterization = parameterization_for("eps", None)
    sigma = parameterization.sigma(timestep)
    x = random(1, 4, SIDE, SIDE, seed=9).repeat(batch, 1, 1, 1) * sigma
    cfg = Guidance(3.0 if NEGATIVE in branches else 1.0)
    entries = [entry(branch, model) for branch in branches]
    with model.use() as unet:
        denoiser = GuidedDenoiser(unet, parameterization, entries, cfg, batch=batch, image_prompts=prompts)
        return denoiser(x, sigma)


def test_a_picture_acts_before_its_stop_and_not_at_it(model: Model) -> None:
    prompt = ImagePrompt(keys_values(model, 100), keys_values(model, 200), weight=1.0, stop=0.5)
    for progress, acts in ((0.0, True), (0.49, True), (0.51, False), (1.0, False)):
        same = torch.equal(denoised(model, [prompt], progress), denoised(model, [], progress))
        assert same is not acts, progress
    assert prompt.holds_at(0.4999)
    assert not prompt.holds_at(0.5)


def test_each_of_two_pictures_has_its_own_stop(model: Model) -> None:
    early = ImagePrompt(keys_values(model, 100), keys_values(model, 200), weight=1.0, stop=0.2)
    late = ImagePrompt(keys_values(model, 300), keys_values(model, 400), weight=0.5, stop=0.8)
    torch.testing.assert_close(denoised(model, [early, late], 0.5), denoised(model, [late], 0.5))
    assert not torch.allclose(denoised(model, [early, late], 0.1), denoised(model, [late], 0.1))
    assert not torch.allclose(denoised(model, [early, late], 0.1), denoised(model, [early], 0.1))


def test_the_positive_prompt_sees_the_picture_and_the_negative_one_what_stands_for_none(model: Model) -> None:
    seen, unseen = keys_values(model, 100), keys_values(model, 200)
    alone = denoised(model, [ImagePrompt(seen, unseen, 1.0, 1.0)], 0.3, branches=(POSITIVE,))
    assert torch.equal(alone, denoised(model, [ImagePrompt(seen, seen, 1.0, 1.0)], 0.3, branches=(POSITIVE,)))
    both = denoised(model, [ImagePrompt(seen, unseen, 1.0, 1.0)], 0.3)
    assert not torch.allclose(both, denoised(model, [ImagePrompt(seen, seen, 1.0, 1.0)], 0.3))


def test_weight_counts_from_nothing_on(model: Model) -> None:
    seen, unseen = keys_values(model, 100), keys_values(model, 200)
    plain = denoised(model, [], 0.3)
    torch.testing.assert_close(denoised(model, [ImagePrompt(seen, unseen, 0.0, 1.0)], 0.3), plain)
    distances = [
        float((denoised(model, [ImagePrompt(seen, unseen, weight, 1.0)], 0.3) - plain).abs().mean())
        for weight in (0.01, 0.05, 0.25)
    ]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_a_batch_of_pictures_goes_along_the_latents(model: Model) -> None:
    two, unseen = keys_values(model, 100, pictures=2), keys_values(model, 200)
    found = denoised(model, [ImagePrompt(two, unseen, 1.0, 1.0)], 0.3, batch=2)
    for row in range(2):
        one = tuple((k[row : row + 1], v[row : row + 1]) for k, v in two)
        expected = denoised(model, [ImagePrompt(one, unseen, 1.0, 1.0)], 0.3)
        torch.testing.assert_close(found[row : row + 1], expected, rtol=1e-4, atol=1e-4)


def test_a_model_counts_its_pictures_as_memory(model: Model) -> None:
    plain = value_bytes(model)
    prompt = ImagePrompt(keys_values(model, 100), keys_values(model, 200), weight=1.0, stop=0.5)
    tokens = 4 * 64 * 4  # of one head: keys or values in float32
    heads = sum(cross_widths(model.unet.sizes)) // 64
    assert value_bytes(model.patched(image_prompts=(prompt,))) - plain == 4 * heads * tokens
