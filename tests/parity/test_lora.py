"""LoRAs through diffusers and peft, in the dialects that diffusers applies correctly (specs/feasibility.md §8)."""

from pathlib import Path

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import Tensor

from models.lora import load_lora
from models.memory import Residency
from models.sdxl import add_lora, load_checkpoint
from tests.parity.diffusers_sdxl import diffusers_unet
from tests.parity.random_sdxl import TINY, write_checkpoint
from tests.parity.test_unet import inputs, ours

TOLERANCE = 1e-4
RANK = 4
LDM = "lora_unet_input_blocks_4_1_"
DIFFUSERS = "lora_unet_down_blocks_1_attentions_0_"
LINEARS = (  # (place in the transformer, out, in)
    ("proj_in", 64, 64),
    ("transformer_blocks_0_attn1_to_q", 64, 64),
    ("transformer_blocks_0_attn2_to_k", 64, 80),
    ("transformer_blocks_0_attn2_to_out_0", 64, 64),
    ("transformer_blocks_0_ff_net_0_proj", 512, 64),
)


def layer(name: str, out: int, into: int, kernel: tuple[int, ...] = (), peft: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(name) + out)
    up = torch.randn(out, RANK, *(1 for _ in kernel), generator=generator) * 0.1
    down = torch.randn(RANK, into, *kernel, generator=generator) * 0.1
    if peft:
        return {f"{name}.lora_B.weight": up, f"{name}.lora_A.weight": down}
    return {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down, f"{name}.alpha": torch.tensor(2.0)}


def kohya(prefix: str) -> dict[str, Tensor]:
    return {key: value for place, out, into in LINEARS for key, value in layer(prefix + place, out, into).items()}


FILES = {
    "kohya with LDM blocks": kohya(LDM),
    "kohya with diffusers blocks": kohya(DIFFUSERS),
    "LoCon": layer("lora_unet_input_blocks_1_0_in_layers_2", 64, 64, (3, 3))
    | layer("lora_unet_input_blocks_1_0_emb_layers_1", 64, 256)
    | layer("lora_unet_input_blocks_3_0_op", 64, 64, (3, 3))
    | layer("lora_unet_output_blocks_2_2_conv", 128, 128, (3, 3)),
    "peft": layer("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", 64, 64, peft=True)
    | layer("unet.mid_block.attentions.0.transformer_blocks.1.attn2.to_v", 128, 80, peft=True)
    | layer("unet.up_blocks.0.resnets.1.conv1", 128, 256, (3, 3), peft=True),
}


@pytest.mark.parametrize("dialect", FILES)
def test_unet_with_lora_equals_diffusers(tmp_path: Path, dialect: str) -> None:
    save_file(FILES[dialect], tmp_path / "lora.safetensors")
    state = write_checkpoint(tmp_path / "a.safetensors")
    model = load_checkpoint(tmp_path / "a.safetensors", Residency())[0]
    patched, _, warnings = add_lora(model, None, load_lora(tmp_path / "lora.safetensors"), 1.0, 1.0)
    assert warnings == ()
    expected = diffusers_output(tmp_path, state, model.unet.sizes)
    assert (expected - ours(model, TINY)).abs().max() > 1e-3
    torch.testing.assert_close(ours(patched, TINY), expected, rtol=0, atol=TOLERANCE)


def diffusers_output(folder: Path, state: dict[str, Tensor], sizes: object) -> Tensor:
    unet = diffusers_unet(state, sizes, TINY.text_g[0])
    nothing = dict.fromkeys(("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipeline = StableDiffusionXLPipeline(unet=unet, scheduler=EulerDiscreteScheduler(), **nothing)
    pipeline.load_lora_weights(str(folder), weight_name="lora.safetensors")
    x, timesteps, context, pooled, numbers = inputs(TINY)
    with torch.inference_mode():
        added = {"text_embeds": pooled, "time_ids": numbers}
        return unet(x, timesteps, encoder_hidden_states=context, added_cond_kwargs=added).sample
