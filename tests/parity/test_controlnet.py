"""ControlNets in every layout against diffusers' ControlNetModel on the same random tensors."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.control.model import ControlMismatch, ControlModel, load_control
from models.control.union import UnknownControlType
from models.errors import BadModelFile
from models.memory import Residency
from models.sdxl import Model, load_checkpoint
from tests.parity.control_reference import (
    diffusers_control,
    materialised,
    random_control,
    random_control_lora,
    random_union,
)
from tests.parity.random_sdxl import TINY, Plan, write_checkpoint
from tests.parity.test_unet import inputs, size_vector

TOLERANCE = 1e-4
PREFIX = "model.diffusion_model."
HINT = torch.rand(1, 3, 128, 96, generator=torch.Generator().manual_seed(9))


@pytest.fixture
def base(tmp_path: Path) -> tuple[Model, dict[str, Tensor], Residency]:
    state = write_checkpoint(tmp_path / "base.safetensors", TINY)
    residency = Residency()
    return load_checkpoint(tmp_path / "base.safetensors", residency)[0], state, residency


@torch.inference_mode()
def ours(control: ControlModel, model: Model, plan: Plan = TINY) -> list[Tensor]:
    x, timesteps, context, pooled, numbers = inputs(plan, 16, 12)
    with control.network(model).use() as network:
        features = network.read_hint(HINT)
        outputs, middle = network(x, timesteps, context, size_vector(pooled, numbers, plan.time_width), features)
    return [*outputs, middle]


@torch.inference_mode()
def theirs(state: dict[str, Tensor], model: Model, plan: Plan = TINY) -> list[Tensor]:
    x, timesteps, context, pooled, numbers = inputs(plan, 16, 12)
    oracle = diffusers_control(state, model.unet.sizes, plan)
    added = {"text_embeds": pooled, "time_ids": numbers}
    hint = HINT.expand(len(x), -1, -1, -1)
    down, middle = oracle(x, timesteps, context, hint, added_cond_kwargs=added, return_dict=False)
    return [*down, middle]


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected) == 10
    for mine, reference in zip(found, expected, strict=True):
        assert reference.std() > 0.1
        torch.testing.assert_close(mine, reference, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("prefix", ["control_model.", ""])
def test_an_ldm_file_equals_diffusers(prefix: str, base, tmp_path: Path) -> None:
    model, _, residency = base
    state = random_control(TINY)
    save_file({prefix + name: tensor for name, tensor in state.items()}, tmp_path / "control.safetensors")
    assert_equal(ours(load_control(tmp_path / "control.safetensors", residency), model), theirs(state, model))


def test_a_diffusers_file_equals_diffusers(base, tmp_path: Path) -> None:
    model, _, residency = base
    state = random_control(TINY)
    written = diffusers_control(state, model.unet.sizes, TINY).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in written.items()}, tmp_path / "control.safetensors")
    assert_equal(ours(load_control(tmp_path / "control.safetensors", residency), model), theirs(state, model))


def test_other_sizes_are_read_from_the_tensors(tmp_path: Path) -> None:
    plan = Plan(multiples=(1, 2, 3), depths=(1, 1, 1), text_l=(16, 1), text_g=(64, 2), time_width=16)
    write_checkpoint(tmp_path / "base.safetensors", plan)
    residency = Residency()
    model = load_checkpoint(tmp_path / "base.safetensors", residency)[0]
    state = random_control(plan)
    written = diffusers_control(state, model.unet.sizes, plan).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in written.items()}, tmp_path / "control.safetensors")
    control = load_control(tmp_path / "control.safetensors", residency)
    assert_equal(ours(control, model, plan), theirs(state, model, plan))


def test_a_control_lora_equals_the_network_made_by_hand(base, tmp_path: Path) -> None:
    """diffusers runs the hand-made network: its own loader would drop the file's biases (feasibility §8)."""
    model, state, residency = base
    lora = random_control_lora(TINY)
    save_file(lora, tmp_path / "lora.safetensors")
    unet = {name.removeprefix(PREFIX): tensor for name, tensor in state.items() if name.startswith(PREFIX)}
    by_hand = materialised(unet, lora, TINY)
    assert_equal(ours(load_control(tmp_path / "lora.safetensors", residency), model), theirs(by_hand, model))


@pytest.mark.parametrize("kind", [0, 3])
def test_a_union_controlnet_equals_diffusers(kind: int, base, tmp_path: Path) -> None:
    model, _, residency = base
    oracle = random_union(model.unet.sizes, TINY, types=6)
    save_file({name: tensor.clone() for name, tensor in oracle.state_dict().items()}, tmp_path / "union.safetensors")
    x, timesteps, context, pooled, numbers = inputs(TINY, 16, 12)
    y = size_vector(pooled, numbers, TINY.time_width)
    chosen = torch.nn.functional.one_hot(torch.full((len(x),), kind), 6).float()
    control = replace(load_control(tmp_path / "union.safetensors", residency), types=(kind,))
    with torch.inference_mode(), control.network(model).use() as network:
        features, shift = network.read_hint(HINT, control.types), network.type_shift(control.types)
        outputs, middle = network(x, timesteps, context, y, features, shift)
        down, expected = oracle(
            x, timesteps, context, [HINT.expand(len(x), -1, -1, -1)], chosen, [kind],
            added_cond_kwargs={"text_embeds": pooled, "time_ids": numbers}, return_dict=False,
        )  # fmt: skip
        bare = network(x, timesteps, context, y, network.read_hint(HINT))[0]
        with pytest.raises(UnknownControlType, match="promax"):
            network.read_hint(HINT, (6,))
    assert_equal([*outputs, middle], [*down, expected])
    assert not torch.allclose(outputs[3], bare[3], atol=0.01)


@dataclass(frozen=True)
class Shift:
    """A patch that adds 0.01 to the UNet's first convolution."""

    key: str = "shift"
    strength: float = 1.0

    def deltas(self, part: str) -> dict[str, Any]:
        name = "input_blocks.0.0.weight"
        return {name: lambda weight, base, strength: weight + 0.01 * strength} if part == "unet" else {}


def test_a_control_lora_follows_the_loras_of_the_model(base, tmp_path: Path) -> None:
    model, state, residency = base
    lora = random_control_lora(TINY)
    save_file(lora, tmp_path / "lora.safetensors")
    unet = {name.removeprefix(PREFIX): tensor for name, tensor in state.items() if name.startswith(PREFIX)}
    control = load_control(tmp_path / "lora.safetensors", residency)
    plain = ours(control, model)
    unet["input_blocks.0.0.weight"] = unet["input_blocks.0.0.weight"] + 0.01
    shifted = ours(control, model.patched(loras=(Shift(),)))
    assert not torch.equal(plain[0], shifted[0])
    assert_equal(shifted, theirs(materialised(unet, lora, TINY), model))


def test_a_control_lora_is_refused_for_another_checkpoint(base, tmp_path: Path) -> None:
    model, _, residency = base
    save_file(random_control_lora(Plan(width=96)), tmp_path / "lora.safetensors")
    control = load_control(tmp_path / "lora.safetensors", residency)
    with pytest.raises(BadModelFile, match="another checkpoint"):
        ours(control, model)


def test_a_controlnet_for_another_model_is_refused(base, tmp_path: Path) -> None:
    model, _, residency = base
    save_file(random_control(Plan(text_g=(64, 2))), tmp_path / "control.safetensors")
    control = load_control(tmp_path / "control.safetensors", residency)
    with pytest.raises(ControlMismatch, match="another model"):
        control.network(model)


def without(state: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(start)}


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ({"decoder.conv_in.weight": torch.zeros(1)}, "is a VAE, not a ControlNet"),
        (without(random_control(TINY), "label_emb"), "for SD 1.x"),
        (random_control(TINY) | {"difference": torch.zeros(1)}, "holds differences"),
        (random_control(TINY) | {"task_embedding": torch.zeros(6, 4)}, "lacks the tensor"),
        (without(random_control(TINY), "input_blocks.0.0.weight"), "lacks the tensor"),
        ({"lora_controlnet": torch.zeros(1)}, "lacks the tensor"),
    ],
)
def test_files_that_are_no_sdxl_controlnet_are_refused(state: dict[str, Tensor], fault: str, tmp_path: Path) -> None:
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(BadModelFile, match=fault):
        load_control(tmp_path / "other.safetensors", Residency())


def test_a_damaged_controlnet_is_refused_before_it_is_read(base, tmp_path: Path) -> None:
    model, _, residency = base
    save_file(without(random_control(TINY), "zero_convs.3."), tmp_path / "control.safetensors")
    with pytest.raises(BadModelFile, match=r"zero_convs\.3"):
        load_control(tmp_path / "control.safetensors", residency).network(model)
