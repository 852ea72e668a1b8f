"""The UNet against diffusers' on the same random tensors."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.formats.sizes import unet_sizes
from models.freeu import FreeU
from models.memory import Residency
from models.sdxl import Model, load_checkpoint
from models.unet import Injections, UNet, UNetSizes, timestep_embedding
from tests.parity.diffusers_sdxl import diffusers_unet, unet_config
from tests.parity.random_sdxl import FULL, TINY, Plan, shapes, unet_shapes, write_checkpoint

TOLERANCE = 1e-4


def inputs(
    plan: Plan, height: int = 16, width: int = 16, batch: int = 2
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x, timesteps, context, pooled text and size numbers."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(batch, 4, height, width, generator=generator)
    timesteps = torch.tensor([981.0, 17.25])[:batch]
    context = torch.randn(batch, 77, plan.text_l[0] + plan.text_g[0], generator=generator)
    pooled = torch.randn(batch, plan.text_g[0], generator=generator)
    numbers = torch.tensor([[128.0, 96.0, 0.0, 8.0, 128.0, 128.0]]).repeat(batch, 1)
    return x, timesteps, context, pooled, numbers


def size_vector(pooled: Tensor, numbers: Tensor, width: int) -> Tensor:
    return torch.cat((pooled, timestep_embedding(numbers.flatten(), width).view(len(pooled), -1)), dim=1)


def load(path: Path, plan: Plan = TINY) -> tuple[Model, dict[str, Tensor]]:
    state = write_checkpoint(path, plan)
    return load_checkpoint(path, Residency())[0], state


@torch.inference_mode()
def theirs(state: dict[str, Tensor], sizes: UNetSizes, plan: Plan, height: int = 16, width: int = 16) -> Tensor:
    x, timesteps, context, pooled, numbers = inputs(plan, height, width)
    unet = diffusers_unet(state, sizes, plan.text_g[0])
    added = {"text_embeds": pooled, "time_ids": numbers}
    return unet(x, timesteps, encoder_hidden_states=context, added_cond_kwargs=added, return_dict=False)[0]


@torch.inference_mode()
def ours(model: Model, plan: Plan, height: int = 16, width: int = 16, prepare: bool = False, **extra: object) -> Tensor:
    x, timesteps, context, pooled, numbers = inputs(plan, height, width)
    y = size_vector(pooled, numbers, plan.time_width)
    with model.use() as unet:
        return unet(x, timesteps, unet.prepare(context) if prepare else context, y, **extra)


def test_unet_equals_diffusers(tmp_path: Path) -> None:
    model, state = load(tmp_path / "a.safetensors")
    expected = theirs(state, model.unet.sizes, TINY)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(model, TINY), expected, rtol=0, atol=TOLERANCE)


def test_unet_equals_diffusers_for_other_sizes_and_a_picture_that_is_not_square(tmp_path: Path) -> None:
    plan = Plan(multiples=(1, 2, 3), depths=(1, 1, 1), text_l=(16, 1), text_g=(64, 2), time_width=16)
    model, state = load(tmp_path / "a.safetensors", plan)
    expected = theirs(state, model.unet.sizes, plan, 24, 12)
    torch.testing.assert_close(ours(model, plan, 24, 12), expected, rtol=0, atol=TOLERANCE)


def test_unet_equals_diffusers_for_a_picture_that_is_no_multiple_of_32_pixels(tmp_path: Path) -> None:
    model, state = load(tmp_path / "a.safetensors")
    expected = theirs(state, model.unet.sizes, TINY, 13, 10)
    torch.testing.assert_close(ours(model, TINY, 13, 10), expected, rtol=0, atol=TOLERANCE)


def test_context_may_be_prepared_once_for_all_steps(tmp_path: Path) -> None:
    model, _ = load(tmp_path / "a.safetensors")
    assert torch.equal(ours(model, TINY, prepare=True), ours(model, TINY))


def test_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    model, _ = load(tmp_path / "a.safetensors")
    assert torch.equal(ours(model, TINY), ours(model, TINY))


def test_control_residuals_are_added_where_diffusers_adds_them(tmp_path: Path) -> None:
    model, state = load(tmp_path / "a.safetensors")
    x, timesteps, context, pooled, numbers = inputs(TINY)
    theirs_unet = diffusers_unet(state, model.unet.sizes, TINY.text_g[0])
    y = size_vector(pooled, numbers, TINY.time_width)
    widths = [(64, 16)] * 3 + [(64, 8)] * 3 + [(64, 4)] + [(128, 4)] * 2
    generator = torch.Generator().manual_seed(3)
    skips = [torch.randn(2, channels, side, side, generator=generator) for channels, side in widths]
    middle = torch.randn(2, 128, 4, 4, generator=generator)
    with torch.inference_mode(), model.use() as unet:
        expected = theirs_unet(
            x,
            timesteps,
            encoder_hidden_states=context,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": numbers},
            down_block_additional_residuals=skips,
            mid_block_additional_residual=middle,
        ).sample
        got = unet(x, timesteps, context, y, Injections(skips=tuple(skips), middle=middle))
    torch.testing.assert_close(got, expected, rtol=0, atol=TOLERANCE)


def test_neutral_freeu_changes_nothing_and_a_strong_one_does(tmp_path: Path) -> None:
    plan = Plan(multiples=(1, 2, 4), depths=(0, 1, 1))
    model, _ = load(tmp_path / "a.safetensors", plan)
    plain = ours(model, plan)
    torch.testing.assert_close(ours(model, plan, freeu=FreeU(1, 1, 1, 1)), plain, rtol=0, atol=TOLERANCE)
    assert (ours(model, plan, freeu=FreeU(1.3, 1.4, 0.9, 0.2)) - plain).abs().max() > 1e-2


def full_sizes() -> UNetSizes:
    return unet_sizes(unet_shapes(FULL))


def test_full_size_names_are_the_published_files() -> None:
    assert len(shapes(FULL)) == 2515
    with torch.device("meta"):
        unet = UNet(full_sizes())
    wanted = {name: shape[:2] if shape[2:] == (1, 1) else shape for name, shape in unet_shapes(FULL).items()}
    assert {name: tuple(p.shape) for name, p in unet.named_parameters()} == wanted
    assert sum(p.numel() for p in unet.parameters()) == 2_567_463_684


@pytest.mark.slow
def test_full_size_unet_equals_diffusers(tmp_path: Path) -> None:
    """One forward at 256 px; the tensors are shared by both, 10.3 GB of memory."""
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    from tests.parity.full_size import arena_filled_unet

    unet, state = arena_filled_unet(full_sizes())
    with torch.device("meta"):
        other = UNet2DConditionModel(**unet_config(unet.sizes, 1280)).eval()
    converted = convert_ldm_unet_checkpoint(
        {f"model.diffusion_model.{k}": v for k, v in state.items()}, dict(other.config)
    )
    other.load_state_dict(converted, strict=True, assign=True)
    x, timesteps, context, pooled, numbers = inputs(FULL, 32, 32)
    with torch.inference_mode():
        added = {"text_embeds": pooled, "time_ids": numbers}
        expected = other(x, timesteps, encoder_hidden_states=context, added_cond_kwargs=added).sample
        got = unet(x, timesteps, context, size_vector(pooled, numbers, FULL.time_width))
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=0, atol=TOLERANCE)
