"""SDXL's refiner and SD 1.5 against diffusers and transformers: random small files, and the names at full size."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from models.formats.diffusers_unet import diffusers_name
from models.formats.sizes import unet_sizes
from models.interposer import load_interposer
from models.memory import Residency
from models.sampling.conditions import NEGATIVE, POSITIVE, Frame, prepare
from models.sampling.parameterization import discrete
from models.sdxl import encode_tokens, load_checkpoint
from models.text.encode import encode_comfy
from models.unet import UNet, timestep_embedding
from tests.parity.diffusers_sdxl import diffusers_unet, transformers_clip_g, transformers_clip_l, unet_config
from tests.parity.interposer_reference import Interposer, interposer_shapes
from tests.parity.published_unets import PUBLISHED
from tests.parity.random_sdxl import (
    FULL_REFINER,
    FULL_SD15,
    REFINER,
    SD15,
    Plan,
    random_state,
    shapes,
    unet_shapes,
    write_checkpoint,
)

TOLERANCE = 1e-4
SMALL = {"sdxl_refiner": REFINER, "sd1": SD15}


def inputs(plan: Plan) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x, timesteps, context, pooled text and the numbers of the size conditioning."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(2, 4, 16, 12, generator=generator)
    context = torch.randn(2, 77, plan.context, generator=generator)
    pooled = torch.randn(2, plan.pooled, generator=generator)
    numbers = torch.tensor([[128.0, 96.0, 0.0, 8.0, 6.0]]).repeat(2, 1)
    return x, torch.tensor([981.0, 17.25]), context, pooled, numbers


@pytest.mark.parametrize("family", SMALL)
def test_the_unet_equals_diffusers(tmp_path: Path, family: str) -> None:
    plan = SMALL[family]
    state = write_checkpoint(tmp_path / "a.safetensors", plan)
    model = load_checkpoint(tmp_path / "a.safetensors", Residency())[0]
    assert model.family == family
    x, timesteps, context, pooled, numbers = inputs(plan)
    added = {"text_embeds": pooled, "time_ids": numbers} if plan.numbers else None
    embedded = timestep_embedding(numbers.flatten(), plan.time_width).view(2, -1)
    y = torch.cat((pooled, embedded), dim=1) if plan.numbers else torch.zeros(2, 0)
    other = diffusers_unet(state, model.unet.sizes, plan.pooled, plan.numbers)
    with torch.inference_mode(), model.use() as unet:
        expected = other(x, timesteps, encoder_hidden_states=context, added_cond_kwargs=added).sample
        got = unet(x, timesteps, context, y)
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("family", PUBLISHED)
def test_names_and_shapes_at_full_size_are_those_of_the_published_configuration(family: str) -> None:
    plan, config = PUBLISHED[family]
    sizes = unet_sizes(unet_shapes(plan), heads=8 if family == "sd1" else None)
    with torch.device("meta"):
        unet, other = UNet(sizes), UNet2DConditionModel(**config)
    wanted = {name: tuple(p.shape) for name, p in other.named_parameters()}
    translated = {}
    for name, shape in unet_shapes(plan).items():
        module, _, leaf = name.rpartition(".")
        translated[f"{diffusers_name(module, sizes)}.{leaf}"] = shape
    assert translated == wanted
    assert {name: p.numel() for name, p in unet.named_parameters()}.keys() == unet_shapes(plan).keys()
    assert sum(p.numel() for p in unet.parameters()) == sum(p.numel() for p in other.parameters())
    ours = {key: value for key, value in unet_config(sizes, plan.pooled, plan.numbers).items() if key in config}
    if family == "sdxl_refiner":  # diffusers repeats one number for levels with and without attention
        assert ours.pop("transformer_layers_per_block") == [1, 4, 4, 4]
        config = {key: value for key, value in config.items() if key != "transformer_layers_per_block"}
    assert ours == config


def test_sd15_s_clip_is_normed_behind_the_chosen_layer(tmp_path: Path) -> None:
    state = write_checkpoint(tmp_path / "a.safetensors", SD15)
    clip = load_checkpoint(tmp_path / "a.safetensors", Residency())[1]
    other = transformers_clip_l(state, clip.l.sizes, SD15.prefixes[0])
    ids = torch.randint(1, SD15.vocabulary - 2, (2, 77), generator=torch.Generator().manual_seed(1))
    norm = next(module for name, module in other.named_modules() if name.endswith("final_layer_norm"))
    with torch.inference_mode():
        states = other(ids, output_hidden_states=True)
        earlier = norm(states.hidden_states[-2])
    torch.testing.assert_close(encode_tokens(clip, ids, "l").hidden, states.last_hidden_state, rtol=0, atol=TOLERANCE)
    skipped = encode_tokens(clip.patched(clip_skip=2), ids, "l").hidden
    torch.testing.assert_close(skipped, earlier, rtol=0, atol=TOLERANCE)


def test_the_refiner_s_clip_is_open_clip_below_its_own_prefix(tmp_path: Path) -> None:
    state = write_checkpoint(tmp_path / "a.safetensors", REFINER)
    clip = load_checkpoint(tmp_path / "a.safetensors", Residency())[1]
    renamed = {name.replace("conditioner.embedders.0.", "conditioner.embedders.1."): t for name, t in state.items()}
    ids = torch.randint(1, REFINER.vocabulary - 2, (2, 77), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = transformers_clip_g(renamed, clip.g.sizes)(ids, output_hidden_states=True)
    out = encode_tokens(clip, ids, "g")
    assert out.pooled is not None
    torch.testing.assert_close(out.hidden, expected.hidden_states[-2], rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(out.pooled, expected.text_embeds, rtol=0, atol=TOLERANCE)


SCORES = [(POSITIVE, {}, 6.0), (NEGATIVE, {}, 2.5), (POSITIVE, {"aesthetic_score": 9.0}, 9.0)]


@pytest.mark.parametrize(("branch", "facts", "score"), SCORES)
def test_the_refiner_is_told_size_crop_and_score(branch: int, facts: dict[str, Any], score: float) -> None:
    pooled = torch.randn(1, 48, generator=torch.Generator().manual_seed(3))
    frame = Frame(12, 16, 48 + 5 * 32, discrete(), torch.device("cpu"), torch.float32, "sdxl_refiner", 48)
    (entry,) = prepare(branch, [[torch.zeros(1, 77, 48), {"pooled_output": pooled, **facts}]], frame, 1.5)
    numbers = torch.tensor([96.0, 128.0, 0.0, 0.0, score])
    expected = torch.cat((pooled, timestep_embedding(numbers, 32).view(1, -1)), dim=1)
    torch.testing.assert_close(entry.y_early, expected, rtol=0, atol=1e-6)
    assert torch.equal(entry.y_early, entry.y_late)  # no scaling by time


def test_contexts_of_one_encoder_are_as_wide_as_the_unet_reads(tmp_path: Path) -> None:
    for plan in (REFINER, SD15):
        full_vocabulary = Plan(**{**plan.__dict__, "vocabulary": 49408, "multiples": (1,), "depths": (1,)})
        path = tmp_path / f"{plan.numbers}.safetensors"
        write_checkpoint(path, full_vocabulary)
        model, clip, _ = load_checkpoint(path, Residency())
        ((context, facts),) = encode_comfy(clip, "a (red:1.3) circle")
        assert context.shape == (1, 77, model.unet.sizes.context_dim)
        assert ("pooled_output" in facts) == bool(plan.numbers)


@pytest.mark.parametrize(("width", "blocks"), [(16, 2), (64, 12)])
def test_the_interposer_equals_one_of_torch_s_own_layers(tmp_path: Path, width: int, blocks: int) -> None:
    state = random_state(interposer_shapes(width, blocks), seed=5)
    for name in state:
        if name.endswith("running_var"):
            state[name] = state[name].abs() + 0.5
    counters = {f"core.{n}.norm.num_batches_tracked": torch.tensor(7) for n in range(1, blocks + 1)}
    save_file(state | counters, tmp_path / "xl-to-v1_interposer-v4.0.safetensors")
    other = Interposer(width, blocks).eval()
    other.load_state_dict(state, strict=False)
    x = 5 * torch.randn(2, 4, 9, 12, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = other(x)
    got = load_interposer(tmp_path / "xl-to-v1_interposer-v4.0.safetensors", Residency()).convert(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=TOLERANCE)


def test_full_size_files_have_the_parts_of_the_published_ones() -> None:
    """686 tensors of v1-5-pruned-emaonly.safetensors are its UNet's."""
    assert len(unet_shapes(FULL_SD15)) == 686
    assert not any("conditioner.embedders.1" in name for name in shapes(FULL_REFINER))
