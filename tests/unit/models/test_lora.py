"""LoRA files: every dialect reaches the right weight with the right change; others are refused or skipped."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.errors import BadModelFile
from models.lora import LoraDelta, LoraPatch, load_lora, match_lora
from models.memory import Residency
from models.sdxl import Clip, Model, add_lora, encode_tokens, load_checkpoint
from tests.parity.random_sdxl import write_checkpoint

RANK = 3
Q = "input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"  # 64 × 64
CONV = "input_blocks.1.0.in_layers.2.weight"  # 64 × 64 × 3 × 3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sdxl") / "a.safetensors"
    write_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> tuple[Model, Clip]:
    return load_checkpoint(checkpoint, Residency())[:2]


def factors(out: int = 64, into: int = 64, kernel: tuple[int, ...] = (), rank: int = RANK) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(out + into)
    ones = (1,) * len(kernel)
    return torch.randn(out, rank, *ones, generator=generator), torch.randn(rank, into, *kernel, generator=generator)


def change(loaded: tuple[Model, Clip], path: Path, parameter: str, part: str = "unet", strength: float = 1.0) -> Tensor:
    """Return what a LoRA file adds to one weight."""
    model, clip, warnings = add_lora(*loaded, load_lora(path), strength, strength)
    assert warnings == ()
    assert clip is not None
    resident = {"unet": model.unet, "clip_l": clip.l, "clip_g": clip.g}[part]
    with resident.use(()) as module:
        before = module.get_parameter(parameter).clone()
    with resident.use(model.loras) as module:
        after = module.get_parameter(parameter).clone()
    with resident.use(()) as module:
        assert torch.equal(module.get_parameter(parameter), before)
    return after - before


DIALECTS = {
    "kohya, LDM blocks": ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", ".lora_up", ".lora_down"),
    "kohya, diffusers blocks": (
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
        ".lora_up",
        ".lora_down",
    ),
    "peft": ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", ".lora_B", ".lora_A"),
    "peft with adapter name": (
        "base_model.model.unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
        ".lora_B.default",
        ".lora_A.default",
    ),
    "old processors": (
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q",
        "_lora.up",
        "_lora.down",
    ),
    "generic": ("diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q", ".lora_B", ".lora_A"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_changes_the_same_weight(loaded: tuple[Model, Clip], tmp_path: Path, dialect: str) -> None:
    name, up_name, down_name = DIALECTS[dialect]
    up, down = factors()
    save_file({f"{name}{up_name}.weight": up, f"{name}{down_name}.weight": down}, tmp_path / "l.safetensors")
    torch.testing.assert_close(change(loaded, tmp_path / "l.safetensors", Q), up @ down, rtol=0, atol=1e-5)


def test_old_processors_out_projection_is_found(loaded: tuple[Model, Clip], tmp_path: Path) -> None:
    up, down = factors()
    name = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora"
    save_file({f"{name}.up.weight": up, f"{name}.down.weight": down}, tmp_path / "l.safetensors")
    delta = change(loaded, tmp_path / "l.safetensors", Q.replace("to_q", "to_out.0"))
    torch.testing.assert_close(delta, up @ down, rtol=0, atol=1e-5)


def test_alpha_over_rank_and_strength_scale_the_change(loaded: tuple[Model, Clip], tmp_path: Path) -> None:
    name = DIALECTS["kohya, LDM blocks"][0]
    up, down = factors()
    tensors = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down, f"{name}.alpha": torch.tensor(1.5)}
    save_file(tensors, tmp_path / "l.safetensors")
    delta = change(loaded, tmp_path / "l.safetensors", Q, strength=-0.25)
    torch.testing.assert_close(delta, -0.25 * 1.5 / RANK * (up @ down), rtol=0, atol=1e-5)


def test_half_precision_factors_are_multiplied_in_float32(loaded: tuple[Model, Clip], tmp_path: Path) -> None:
    name = DIALECTS["kohya, LDM blocks"][0]
    up, down = (factor.half() for factor in factors())
    save_file({f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}, tmp_path / "l.safetensors")
    delta = change(loaded, tmp_path / "l.safetensors", Q)
    torch.testing.assert_close(delta, up.float() @ down.float(), rtol=0, atol=1e-5)


def test_convolutions_plain_and_factored(loaded: tuple[Model, Clip], tmp_path: Path) -> None:
    up, down = factors(kernel=(3, 3))
    name = "lora_unet_input_blocks_1_0_in_layers_2"
    save_file({f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}, tmp_path / "l.safetensors")
    expected = torch.nn.functional.conv2d(down.transpose(0, 1), up).transpose(0, 1)
    torch.testing.assert_close(change(loaded, tmp_path / "l.safetensors", CONV), expected, rtol=0, atol=1e-5)

    up, down = factors(kernel=(1, 1))
    mid = torch.randn(RANK, RANK, 3, 3, generator=torch.Generator().manual_seed(9))
    tensors = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down, f"{name}.lora_mid.weight": mid}
    save_file(tensors, tmp_path / "m.safetensors")
    x = torch.randn(1, 64, 5, 5, generator=torch.Generator().manual_seed(1))
    conv = torch.nn.functional.conv2d
    delta = change(loaded, tmp_path / "m.safetensors", CONV)
    torch.testing.assert_close(conv(x, delta), conv(conv(conv(x, down), mid), up), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("prefix", ["lora_te1_text_model_", "lora_te2_text_model_"])
def test_kohya_text_encoder_layers_are_found_in_both_encoders(
    loaded: tuple[Model, Clip], tmp_path: Path, prefix: str
) -> None:
    part, width = ("clip_l", 32) if "te1" in prefix else ("clip_g", 48)
    up, down = factors(width, width)
    name = f"{prefix}encoder_layers_0_self_attn_k_proj"
    save_file({f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}, tmp_path / "l.safetensors")
    delta = change(loaded, tmp_path / "l.safetensors", "encoder.layers.0.self_attn.k_proj.weight", part)
    torch.testing.assert_close(delta, up @ down, rtol=0, atol=1e-5)


def test_merged_text_encoder_encodes_differently_and_the_base_comes_back(
    loaded: tuple[Model, Clip], tmp_path: Path
) -> None:
    _, clip = loaded
    up, down = factors(48, 48)
    name = "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj"
    save_file({f"{name}.lora_B.weight": up, f"{name}.lora_A.weight": down}, tmp_path / "l.safetensors")
    patched = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)[1]
    assert patched is not None
    ids = [[1, 5, 9, 599, *[0] * 73]]
    base = encode_tokens(clip, ids, "g").hidden
    assert not torch.equal(encode_tokens(patched, ids, "g").hidden, base)
    assert torch.equal(encode_tokens(clip, ids, "g").hidden, base)


def test_strengths_of_model_and_clip_are_separate(loaded: tuple[Model, Clip], tmp_path: Path) -> None:
    save_file(flat_lora("lora_unet_input_blocks_4_1_proj_in"), tmp_path / "l.safetensors")
    model, clip, _ = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 0.5, 0.25)
    assert clip is not None
    assert (model.loras[0].strength, clip.loras[0].strength) == (0.5, 0.25)


def flat_lora(*names: str) -> dict[str, Tensor]:
    up, down = factors()
    return {f"{n}.{role}.weight": t.clone() for n in names for role, t in (("lora_up", up), ("lora_down", down))}


@pytest.mark.parametrize("axis", ["input", "output", "output as a vector"])
def test_dora_rescales_the_sum_to_the_learned_lengths(axis: str) -> None:
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(5, 4, generator=generator)
    up, down = torch.randn(5, 2, generator=generator), torch.randn(2, 4, generator=generator)
    scale = torch.rand({"input": (1, 4), "output": (5, 1), "output as a vector": (5,)}[axis], generator=generator)
    total = (weight + up @ down * 0.5).double()
    dim = 0 if axis == "input" else 1
    expected = scale.double().view((1, 4) if axis == "input" else (5, 1)) * total / total.norm(dim=dim, keepdim=True)
    delta = LoraDelta(up, down, alpha=1.0, dora_scale=scale)
    torch.testing.assert_close(delta(weight, weight, 1.0), expected.float())
    torch.testing.assert_close(delta(weight, weight, 0.3), weight + 0.3 * (expected.float() - weight))


def test_dora_of_a_convolution_keeps_its_shape() -> None:
    up, down = factors(8, 4, (3, 3))
    weight = torch.randn(8, 4, 3, 3)
    delta = LoraDelta(up, down, dora_scale=torch.rand(1, 4, 1, 1))
    assert delta(weight, weight, 1.0).shape == weight.shape
    lengths = delta(weight, weight, 1.0).transpose(0, 1).flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, delta.dora_scale.flatten())


def test_file_with_more_than_twelve_strange_tensors_is_skipped_whole(
    loaded: tuple[Model, Clip], tmp_path: Path
) -> None:
    good, strange = "lora_unet_input_blocks_4_1_proj_in", [f"lora_unet_elsewhere_{i}" for i in range(7)]
    save_file(flat_lora(good, *strange), tmp_path / "l.safetensors")
    model, clip, warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)
    assert (model, clip) == loaded
    assert "skipped" in warnings[0]


def test_file_with_up_to_twelve_strange_tensors_is_used_with_a_warning(
    loaded: tuple[Model, Clip], tmp_path: Path
) -> None:
    good, strange = "lora_unet_input_blocks_4_1_proj_in", [f"lora_unet_elsewhere_{i}" for i in range(6)]
    save_file(flat_lora(good, *strange), tmp_path / "l.safetensors")
    model, _, warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)
    assert "12 tensors do not fit" in warnings[0]
    assert list(model.loras[0].deltas("unet")) == ["input_blocks.4.1.proj_in.weight"]


def test_layer_of_the_wrong_shape_counts_as_strange(loaded: tuple[Model, Clip], tmp_path: Path) -> None:
    up, down = factors(64, 32)
    name = "lora_unet_input_blocks_4_1_proj_in"
    save_file({f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}, tmp_path / "l.safetensors")
    match = match_lora(load_lora(tmp_path / "l.safetensors"), {"unet": loaded[0].unet.sizes})
    assert len(match.unmatched) == 2
    assert LoraPatch(match, 1.0).deltas("unet") == {}


def test_text_encoder_layers_are_no_fault_when_only_the_model_is_patched(
    loaded: tuple[Model, Clip], tmp_path: Path
) -> None:
    names = [f"lora_te1_text_model_encoder_layers_{i}_mlp_fc1" for i in range(12)]
    save_file(flat_lora("lora_unet_input_blocks_4_1_proj_in", *names), tmp_path / "l.safetensors")
    model, clip, warnings = add_lora(loaded[0], None, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)
    assert (clip, warnings, len(model.loras)) == (None, (), 1)


@pytest.mark.parametrize(
    ("name", "word"),
    [("model.diffusion_model.input_blocks.0.0.weight", "not a LoRA"), ("anything", "something unknown")],
)
def test_other_files_are_refused(tmp_path: Path, name: str, word: str) -> None:
    save_file({name: torch.zeros(2, 2)}, tmp_path / "l.safetensors")
    with pytest.raises(BadModelFile, match=word):
        load_lora(tmp_path / "l.safetensors")


@pytest.mark.parametrize(("width", "family"), [(768, "Stable Diffusion 1.x"), (1024, "Stable Diffusion 2.x")])
def test_file_for_an_older_model_is_skipped_and_the_warning_says_which(
    loaded: tuple[Model, Clip], tmp_path: Path, width: int, family: str
) -> None:
    tensors = {}
    for block in range(8):
        name = f"lora_unet_down_blocks_{block}_attentions_0_transformer_blocks_0_attn2_to_k"
        up, down = factors(320, width)
        tensors |= {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    save_file(tensors, tmp_path / "l.safetensors")
    warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)[2]
    assert "skipped" in warnings[0]
    assert family in warnings[0]


def test_file_read_in_inference_mode_is_merged_outside_of_it_and_inside(
    loaded: tuple[Model, Clip], tmp_path: Path
) -> None:
    save_file(flat_lora("lora_unet_input_blocks_4_1_proj_in"), tmp_path / "l.safetensors")
    up, down = factors()
    with torch.inference_mode():
        model, _, _ = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)
        with model.use() as unet:
            inside = unet.get_parameter("input_blocks.4.1.proj_in.weight").clone()
    with loaded[0].use() as unet:
        base = unet.get_parameter("input_blocks.4.1.proj_in.weight").clone()
    with model.use() as unet:
        outside = unet.get_parameter("input_blocks.4.1.proj_in.weight").clone()
    assert torch.equal(inside, outside)
    torch.testing.assert_close(outside - base, up @ down, rtol=0, atol=1e-5)
