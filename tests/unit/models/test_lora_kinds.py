"""Every kind of LoRA layer equals the same change added to the weight by hand, in float64, by the papers' formulas."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.lora import load_lora
from models.memory import Residency
from models.sdxl import Clip, Model, add_lora, load_checkpoint
from tests.parity.random_sdxl import write_checkpoint
from tests.unit.models.lora_kinds import CONV, FLAT, KINDS, NORM, RANK, TEXT, kohya, noise, product

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Clip]:
    path = tmp_path_factory.mktemp("sdxl") / "a.safetensors"
    write_checkpoint(path)
    return load_checkpoint(path, Residency())[:2]


def weight_of(loaded: tuple[Model, Clip], part: str, parameter: str, *, patched: bool) -> Tensor:
    model, clip = loaded
    resident = {"unet": model.unet, "clip_l": clip.l, "clip_g": clip.g}[part]
    loras = (model.loras if part == "unet" else clip.loras) if patched else ()
    with resident.use(loras) as module:
        return module.get_parameter(parameter).clone()


@pytest.mark.parametrize("strength", [1.0, 0.3, -0.5])
@pytest.mark.parametrize(("kind", "parameter"), [(name, weight) for name, k in KINDS.items() for weight in k.weights])
def test_equals_the_same_change_added_by_hand(
    loaded: tuple[Model, Clip], tmp_path: Path, kind: str, parameter: str, strength: float
) -> None:
    before = weight_of(loaded, "unet", parameter, patched=False)
    tensors = KINDS[kind].tensors(tuple(before.shape))
    save_file({kohya(parameter) + name: tensor for name, tensor in tensors.items()}, tmp_path / "l.safetensors")
    *patched, warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), strength, strength)
    assert warnings == ()
    changed = KINDS[kind].expected(before.double(), tensors)
    expected = before.double() + strength * (changed - before.double())
    assert (expected - before).abs().max() > 1e-3
    got = weight_of((patched[0], patched[1]), "unet", parameter, patched=True)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=TOLERANCE)
    assert torch.equal(weight_of(loaded, "unet", parameter, patched=False), before)


PREFIXES = {
    "kohya, LDM blocks": "lora_unet_input_blocks_4_1_transformer_blocks_0_ff_net_0_proj",
    "kohya, diffusers blocks": "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_0_proj",
    "generic": "diffusion_model.input_blocks.4.1.transformer_blocks.0.ff.net.0.proj",
    "diffusers": "unet.down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj",
}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("kind", ["LoHa", "LoKr, factored", "GLoRA", "OFT", "whole difference"])
def test_every_kind_is_found_under_every_name(
    loaded: tuple[Model, Clip], tmp_path: Path, kind: str, prefix: str
) -> None:
    before = weight_of(loaded, "unet", FLAT, patched=False)
    tensors = KINDS[kind].tensors(tuple(before.shape))
    save_file({PREFIXES[prefix] + name: tensor for name, tensor in tensors.items()}, tmp_path / "l.safetensors")
    *patched, warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)
    assert warnings == ()
    got = weight_of((patched[0], patched[1]), "unet", FLAT, patched=True)
    expected = KINDS[kind].expected(before.double(), tensors)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["LoHa", "LoKr, factored", "GLoRA", "OFT", "BOFT", "DoRA", "IA³ on inputs"])
@pytest.mark.parametrize(("part", "prefix"), [("clip_l", "lora_te1_"), ("clip_g", "lora_te2_")])
def test_every_kind_changes_both_text_encoders(
    loaded: tuple[Model, Clip], tmp_path: Path, kind: str, part: str, prefix: str
) -> None:
    before = weight_of(loaded, part, TEXT, patched=False)
    tensors = KINDS[kind].tensors(tuple(before.shape))
    name = prefix + "text_model_encoder_layers_1_mlp_fc1"
    save_file({name + ending: tensor for ending, tensor in tensors.items()}, tmp_path / "l.safetensors")
    *patched, warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)
    assert warnings == ()
    got = weight_of((patched[0], patched[1]), part, TEXT, patched=True)
    expected = KINDS[kind].expected(before.double(), tensors)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=TOLERANCE)


def test_biases_of_layers_and_norms_are_changed_beside_a_low_rank_weight(
    loaded: tuple[Model, Clip], tmp_path: Path
) -> None:
    low_rank = KINDS["LoRA"].tensors((512, 64))
    layer, norm = kohya(FLAT), "lora_unet_" + NORM.replace(".", "_")
    tensors = {layer + name: tensor for name, tensor in low_rank.items()}
    tensors |= {f"{layer}.diff_b": noise(512), f"{norm}.w_norm": noise(64), f"{norm}.b_norm": noise(64, seed=9)}
    save_file(tensors, tmp_path / "l.safetensors")
    *patched, warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 0.5, 0.5)
    assert warnings == ()
    for parameter, change in {
        FLAT.replace("weight", "bias"): tensors[f"{layer}.diff_b"],
        f"{NORM}.weight": tensors[f"{norm}.w_norm"],
        f"{NORM}.bias": tensors[f"{norm}.b_norm"],
        FLAT: product(low_rank[".lora_up.weight"], low_rank[".lora_down.weight"]) * 2.0 / RANK,
    }.items():
        before = weight_of(loaded, "unet", parameter, patched=False)
        after = weight_of((patched[0], patched[1]), "unet", parameter, patched=True)
        torch.testing.assert_close((after - before).double(), 0.5 * change.double(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 6.0 / RANK), (True, 6.0 / RANK**0.5)])
def test_alphas_in_the_header_of_a_diffusers_file_count(
    loaded: tuple[Model, Clip], tmp_path: Path, rslora: bool, scale: float
) -> None:
    up, down = noise(512, RANK), noise(RANK, 64)
    name = PREFIXES["diffusers"]
    header = {"unet.r": RANK, "unet.lora_alpha": 6, "unet.use_rslora": rslora, "unet.alpha_pattern": {"to_q": 1}}
    save_file(
        {f"{name}.lora_B.weight": up, f"{name}.lora_A.weight": down},
        tmp_path / "l.safetensors",
        metadata={"format": "pt", "lora_adapter_metadata": json.dumps(header)},
    )
    model, clip, _ = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)
    before = weight_of(loaded, "unet", FLAT, patched=False)
    after = weight_of((model, clip), "unet", FLAT, patched=True)
    torch.testing.assert_close((after - before).double(), product(up, down) * scale, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in ("norm", "new weight")])
def test_layer_for_another_width_is_left_out(loaded: tuple[Model, Clip], tmp_path: Path, kind: str) -> None:
    shape = (320, 640, 3, 3) if KINDS[kind].weights == (CONV,) else (320, 640)
    name = kohya(CONV if len(shape) == 4 else FLAT)
    tensors = KINDS[kind].tensors(shape)
    save_file({name + ending: tensor for ending, tensor in tensors.items()}, tmp_path / "l.safetensors")
    model, _, warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)
    assert "do not fit" in warnings[0]
    assert model.loras[0].deltas("unet") == {}


def test_two_kinds_in_a_row_add_up_and_leave_no_trace(loaded: tuple[Model, Clip], tmp_path: Path) -> None:
    before = weight_of(loaded, "unet", CONV, patched=False)
    expected, patched = before.double(), loaded
    for number, kind in enumerate(("LoKr, factored", "whole difference")):
        tensors = KINDS[kind].tensors(tuple(before.shape))
        path = tmp_path / f"{number}.safetensors"
        save_file({kohya(CONV) + ending: tensor for ending, tensor in tensors.items()}, path)
        model, clip, _ = add_lora(*patched, load_lora(path), 0.5, 0.5)
        assert clip is not None
        patched = (model, clip)
        expected = expected + 0.5 * (KINDS[kind].expected(before.double(), tensors) - before.double())
    got = weight_of(patched, "unet", CONV, patched=True)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=TOLERANCE)
    assert torch.equal(weight_of(loaded, "unet", CONV, patched=False), before)
