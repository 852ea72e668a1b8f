"""Reading checkpoints: dtypes, families, missing parts, values."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.errors import BadModelFile, NonFiniteOutput
from models.freeu import FreeU
from models.images import crop
from models.memory import DtypePolicy, Residency
from models.sdxl import Model, SizeScale, encode_tokens, load_checkpoint, load_vae
from models.vae import AutoencoderKL
from tests.parity.random_sdxl import TINY, random_state, shapes, write_checkpoint


def unet_output(model: Model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x, context, y = (torch.randn(*size, generator=generator) for size in ((1, 4, 8, 8), (1, 77, 80), (1, 240)))
    with torch.inference_mode(), model.use() as unet:
        return unet(x, torch.tensor([500.0]), context, y)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_compute_in_float32_on_the_cpu(tmp_path: Path, dtype: torch.dtype) -> None:
    state = write_checkpoint(tmp_path / "half.safetensors", dtype=dtype)
    save_file({name: tensor.float() for name, tensor in state.items()}, tmp_path / "full.safetensors")
    half, full = (load_checkpoint(tmp_path / f"{name}.safetensors", Residency())[0] for name in ("half", "full"))
    assert half.unet.dtype is torch.float32
    assert torch.equal(unet_output(half), unet_output(full))


def test_text_encoders_with_weights_in_half_precision_compute_in_float32(tmp_path: Path) -> None:
    """Fooocus behaviour §1.9: on a GPU the weights are float16, the arithmetic is not."""
    state = write_checkpoint(tmp_path / "half.safetensors", dtype=torch.float16)
    save_file({name: tensor.float() for name, tensor in state.items()}, tmp_path / "full.safetensors")
    half = load_checkpoint(tmp_path / "half.safetensors", Residency(dtypes=DtypePolicy(text=torch.float16)))[1]
    full = load_checkpoint(tmp_path / "full.safetensors", Residency())[1]
    assert half.g.dtype is torch.float16
    for which in ("l", "g"):
        ids = torch.randint(0, 599, (2, 77), generator=torch.Generator().manual_seed(0))
        ours, wanted = (encode_tokens(clip, ids, which) for clip in (half, full))
        assert torch.equal(ours.hidden, wanted.hidden)
        assert which == "l" or torch.equal(ours.pooled, wanted.pooled)


def test_parts_are_loaded_once_however_often_the_checkpoint_is(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors")
    residency = Residency()
    first, second = (load_checkpoint(tmp_path / "a.safetensors", residency) for _ in range(2))
    assert first == second
    unet_output(first[0])
    unet_output(second[0])
    assert first[0].unet.loads == 1


def test_changed_file_is_another_model(tmp_path: Path) -> None:
    path, residency = tmp_path / "a.safetensors", Residency()
    write_checkpoint(path, seed=0)
    before = load_checkpoint(path, residency)[0]
    old = unet_output(before)
    path.unlink()
    write_checkpoint(path, seed=1)
    after = load_checkpoint(path, residency)[0]
    assert after.unet is not before.unet
    assert not torch.equal(unet_output(after), old)


def test_file_changed_between_opening_and_first_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, seed=0)
    model = load_checkpoint(path, Residency())[0]
    path.unlink()
    write_checkpoint(path, seed=1)
    with pytest.raises(BadModelFile, match="was changed after it was opened"):
        unet_output(model)


def test_same_file_with_other_norm_groups_is_another_vae(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors")
    residency = Residency()
    first, second = (load_vae(tmp_path / "a.safetensors", residency, groups) for groups in (32, 8))
    assert (first.module.sizes.norm_groups, second.module.sizes.norm_groups) == (32, 8)


def test_v_prediction_is_marked_in_the_file(tmp_path: Path) -> None:
    state = random_state(shapes(TINY))
    save_file(state | {"v_pred": torch.zeros(0)}, tmp_path / "v.safetensors")
    save_file(state, tmp_path / "eps.safetensors")
    assert load_checkpoint(tmp_path / "v.safetensors", Residency())[0].prediction == "v"
    assert load_checkpoint(tmp_path / "eps.safetensors", Residency())[0].prediction == "eps"


def refused(path: Path) -> str:
    with pytest.raises(BadModelFile) as caught:
        load_checkpoint(path, Residency())
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["cond_stage_model.transformer.text_model.x", "model.diffusion_model.x"], "an SD 1.x checkpoint without VAE"),
        (["cond_stage_model.model.x", "model.diffusion_model.x"], "SD 2.x checkpoint, not an SDXL"),
        (["conditioner.embedders.0.model.x", "model.diffusion_model.x"], "SDXL refiner checkpoint without VAE"),
        (["lora_unet_input_blocks_4_1_proj_in.lora_up.weight"], "a LoRA"),
        (["unet.down_blocks.0.resnets.0.conv1.lora_A.weight"], "a LoRA"),
        (["lora_controlnet", "input_blocks.0.0.weight"], "Control-LoRA"),
        (["decoder.conv_in.weight", "encoder.conv_in.weight"], "a VAE"),
        (["model.diffusion_model.double_blocks.0.x"], "Flux"),
        (["model.diffusion_model.joint_blocks.0.x"], "SD 3"),
        (["controlnet_cond_embedding.conv_in.weight"], "ControlNet"),
        (["down_blocks.0.resnets.0.conv1.weight"], "without text encoders"),
        (["clip_g", "clip_l"], "textual-inversion"),
        (["something.else"], "no model that Focal knows"),
    ],
)
def test_other_families_are_refused_by_name(tmp_path: Path, names: list[str], word: str) -> None:
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "other.safetensors")
    assert word in refused(tmp_path / "other.safetensors")


def test_missing_tensor_part_and_wrong_shape_are_named(tmp_path: Path) -> None:
    path, state = tmp_path / "a.safetensors", random_state(shapes(TINY))
    name = "model.diffusion_model.output_blocks.0.0.out_layers.3.bias"
    save_file({k: v for k, v in state.items() if k != name}, path)
    assert "output_blocks.0.0.out_layers.3.bias" in refused(path)
    save_file({k: v for k, v in state.items() if not k.startswith("first_stage_model.")}, path)
    assert "without VAE" in refused(path)
    save_file(state | {name: torch.zeros(7)}, path)
    assert "shape (7,)" in refused(path)
    stem = "model.diffusion_model.input_blocks.0.0.weight"
    save_file(state | {stem: torch.zeros(64, 9, 3, 3)}, path)
    assert "9 input channels" in refused(path)


def test_checkpoint_given_as_vae_gives_its_vae_and_a_lora_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors")
    residency = Residency()
    assert load_vae(tmp_path / "a.safetensors", residency) == load_checkpoint(tmp_path / "a.safetensors", residency)[2]
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(1)}, tmp_path / "lora.safetensors")
    with pytest.raises(BadModelFile, match="is a LoRA, not a VAE"):
        load_vae(tmp_path / "lora.safetensors", residency)


def test_patched_values_are_new_values(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors")
    model = load_checkpoint(tmp_path / "a.safetensors", Residency())[0]
    changed = model.patched(size_scale=SizeScale(1.5, 0.8, 0.3)).patched(freeu=FreeU(1, 2, 3, 4), prediction="v")
    assert (changed.options.size_scale, changed.prediction) == (SizeScale(1.5, 0.8, 0.3), "v")
    assert changed.options.freeu == FreeU(1, 2, 3, 4)
    assert model.options.size_scale is None


def overflowing_vae(tmp_path: Path, factor: float) -> Path:
    """A VAE whose first decoder convolution overflows float16 (or, with infinity, everything)."""
    state = random_state(shapes(TINY))
    state["first_stage_model.decoder.conv_in.weight"] *= factor
    save_file(state, tmp_path / "vae.safetensors")
    return tmp_path / "vae.safetensors"


def test_decode_that_overflows_in_half_precision_is_done_again_in_float32(tmp_path: Path) -> None:
    path = overflowing_vae(tmp_path, 1e6)
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    half = load_vae(path, Residency(dtypes=DtypePolicy(vae=torch.float16)))
    full = load_vae(path, Residency())
    assert torch.equal(half.decode(latents), full.decode(latents))
    assert (half.module.loads, half.full.loads) == (1, 1)


def test_decode_that_overflows_in_float32_too_is_an_error(tmp_path: Path) -> None:
    vae = load_vae(overflowing_vae(tmp_path, float("inf")), Residency())
    with pytest.raises(NonFiniteOutput, match="NaN or infinity"):
        vae.decode(torch.randn(1, 4, 4, 4))


def test_pictures_are_cropped_in_the_middle_to_multiples_of_eight() -> None:
    # The example of fooocus-behaviour §4.12: 1001 x 1003 is cut to 1000 x 1000 from row 0, column 1.
    image = torch.arange(1001 * 1003).view(1, 1001, 1003, 1)
    assert torch.equal(crop(image, 8), image[:, 0:1000, 1:1001])


def test_decode_in_tiles_is_close_to_the_whole(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors")
    vae = load_checkpoint(tmp_path / "a.safetensors", Residency())[2]
    latents = torch.randn(1, 4, 72, 40, generator=torch.Generator().manual_seed(0))
    whole, tiled = vae.decode(latents), vae.decode(latents, tiled=True)
    assert tiled.shape == whole.shape == (1, 288, 160, 3)
    assert (tiled - whole).abs().mean() < 0.05


def test_decode_that_runs_out_of_gpu_memory_is_done_in_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "a.safetensors")
    vae = load_checkpoint(tmp_path / "a.safetensors", Residency())[2]
    latents = torch.randn(1, 4, 72, 40, generator=torch.Generator().manual_seed(0))
    expected = vae.decode(latents, tiled=True)
    decode = AutoencoderKL.decode

    def decode_a_part(self: AutoencoderKL, z: torch.Tensor) -> torch.Tensor:
        if z.shape == latents.shape:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(self, z)

    monkeypatch.setattr(AutoencoderKL, "decode", decode_a_part)
    assert torch.equal(vae.decode(latents), expected)
