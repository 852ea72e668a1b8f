"""The same SDXL as diffusers and transformers modules, filled by diffusers' own converters: the oracle of these tests.

Configurations are made from the sizes that Focal reads, weights go through diffusers' key tables and a strict load.
"""

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from models.clip import TextSizes
from models.unet import UNetSizes
from models.unet_blocks import HEAD_WIDTH
from models.vae import VaeSizes


def unet_config(sizes: UNetSizes, pooled_width: int, numbers: int = 6) -> dict[str, Any]:
    """diffusers' configuration of a UNet; `attention_head_dim` is its name for the number of heads."""
    levels = _levels(sizes)
    widths = [level[-1].channels_out for level in levels]
    depths = [level[-1].depth for level in levels]
    deepest = max(1, sizes.middle.depth)  # diffusers gives the middle as many as the last level, attended or not
    sized: dict[str, Any] = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (sizes.adm_channels - pooled_width) // max(numbers, 1),
        "projection_class_embeddings_input_dim": sizes.adm_channels,
    }
    return {
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "block_out_channels": widths,
        "layers_per_block": len(levels[0]),
        "cross_attention_dim": sizes.context_dim,
        "transformer_layers_per_block": [*(max(1, depth) for depth in depths[:-1]), depths[-1] or deepest],
        "attention_head_dim": sizes.heads or [width // HEAD_WIDTH for width in widths],
        "use_linear_projection": sizes.heads is None,
        "sample_size": 128,
        **(sized if sizes.adm_channels else {}),
    }


def vae_config(sizes: VaeSizes) -> dict[str, Any]:
    """diffusers' configuration of a VAE."""
    return {
        "down_block_types": ["DownEncoderBlock2D"] * len(sizes.widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(sizes.widths),
        "block_out_channels": list(sizes.widths),
        "layers_per_block": sizes.encoder_blocks,
        "latent_channels": sizes.latent_channels,
        "norm_num_groups": sizes.norm_groups,
        "scaling_factor": 0.13025,
        "force_upcast": False,
    }


def text_config(sizes: TextSizes) -> dict[str, Any]:
    """transformers' configuration of a text encoder; eos_token_id 2, as published, pools at the highest id."""
    return {
        "hidden_size": sizes.width,
        "intermediate_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "vocab_size": sizes.vocabulary,
        "max_position_embeddings": sizes.positions,
        "hidden_act": sizes.activation,
        "projection_dim": sizes.projection or sizes.width,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }


def diffusers_unet(
    state: Mapping[str, Tensor], sizes: UNetSizes, pooled_width: int, numbers: int = 6
) -> UNet2DConditionModel:
    """Load the `model.diffusion_model.` tensors of a single file strictly."""
    model = UNet2DConditionModel(**unet_config(sizes, pooled_width, numbers))
    model.load_state_dict(single_file_utils.convert_ldm_unet_checkpoint(dict(state), dict(model.config)), strict=True)
    return model.eval()


def diffusers_vae(state: Mapping[str, Tensor], sizes: VaeSizes) -> AutoencoderKL:
    """Load the `first_stage_model.` tensors of a single file strictly."""
    model = AutoencoderKL(**vae_config(sizes))
    model.load_state_dict(single_file_utils.convert_ldm_vae_checkpoint(dict(state), dict(model.config)), strict=True)
    return model.eval()


def transformers_clip_l(
    state: Mapping[str, Tensor],
    sizes: TextSizes,
    prefix: str = "conditioner.embedders.0.transformer.text_model.",
) -> CLIPTextModel:
    """Load the tensors below a prefix strictly."""
    model = CLIPTextModel(CLIPTextConfig(**text_config(sizes)))
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    model.load_state_dict(_named_like(model, own), strict=True)
    return model.eval()


def transformers_clip_g(state: Mapping[str, Tensor], sizes: TextSizes) -> CLIPTextModelWithProjection:
    """Load the `conditioner.embedders.1.model.` tensors strictly, through diffusers' converter."""
    model = CLIPTextModelWithProjection(CLIPTextConfig(**text_config(sizes)))
    found = single_file_utils.convert_open_clip_checkpoint(model, dict(state), prefix="conditioner.embedders.1.model.")
    found.pop("text_model.embeddings.position_ids", None)
    model.load_state_dict(found, strict=True)
    return model.eval()


def _named_like(model: CLIPTextModel, own: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers < 5.6 wants `text_model.` before every name, later releases do not."""
    prefix = "text_model." if any(key.startswith("text_model.") for key in model.state_dict()) else ""
    return {f"{prefix}{key}": value for key, value in own.items() if not key.endswith("position_ids")}


def _levels(sizes: UNetSizes) -> list[list[Any]]:
    levels: list[list[Any]] = [[]]
    for block in sizes.inputs:
        if block.resample:
            levels.append([])
        else:
            levels[-1].append(block)
    return levels
