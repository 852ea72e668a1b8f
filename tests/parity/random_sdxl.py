"""Random checkpoints of SDXL, its refiner and SD 1.5 in the published single-file layout, from small to full size.

The names are written out here, not taken from the code under test.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Plan:
    """Sizes of a checkpoint. multiples and depths (of transformers) are per UNet level, vae are widths per level.

    text_l, text_g: None where the family has no such encoder. numbers: of the size conditioning; 0 = no label_emb.
    middle: transformers in the middle, by default as on the last level. convolved: projections are 1x1 convolutions.
    """

    width: int = 64
    multiples: tuple[int, ...] = (1, 1, 2)
    depths: tuple[int, ...] = (0, 1, 2)
    text_l: tuple[int, int] | None = (32, 2)  # width, layers
    text_g: tuple[int, int] | None = (48, 3)
    time_width: int = 32  # of each of the six embedded size numbers
    vae: tuple[int, ...] = (32, 64, 64)
    vocabulary: int = 600
    numbers: int = 6
    middle: int | None = None
    convolved: bool = False

    @property
    def context(self) -> int:
        return sum(text[0] for text in (self.text_l, self.text_g) if text)

    @property
    def pooled(self) -> int:
        return self.text_g[0] if self.text_g else 0

    @property
    def prefixes(self) -> tuple[str, str]:
        """Of the two text encoders."""
        if self.text_g is None:
            return "cond_stage_model.transformer.text_model.", ""
        if self.text_l is None:
            return "", "conditioner.embedders.0.model."
        return "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."


TINY = Plan()
FULL = Plan(
    width=320,
    multiples=(1, 2, 4),
    depths=(0, 2, 10),
    text_l=(768, 12),
    text_g=(1280, 32),
    time_width=256,
    vae=(128, 256, 512, 512),
    vocabulary=49408,
)
REFINER = Plan(depths=(0, 1, 0), multiples=(1, 2, 2), text_l=None, numbers=5, middle=2)
FULL_REFINER = Plan(
    width=384,
    multiples=(1, 2, 4, 4),
    depths=(0, 4, 4, 0),
    text_l=None,
    text_g=(1280, 32),
    time_width=256,
    vae=(128, 256, 512, 512),
    vocabulary=49408,
    numbers=5,
    middle=4,
)
SD15 = Plan(depths=(1, 1, 0), multiples=(1, 2, 2), text_g=None, numbers=0, middle=1, convolved=True)
FULL_SD15 = Plan(
    width=320,
    multiples=(1, 2, 4, 4),
    depths=(1, 1, 1, 0),
    text_l=(768, 12),
    text_g=None,
    vae=(128, 256, 512, 512),
    vocabulary=49408,
    numbers=0,
    middle=1,
    convolved=True,
)


def shapes(plan: Plan) -> Shapes:
    """Return every tensor of a checkpoint: 2515 for FULL, the number in sd_xl_base_1.0.safetensors."""
    parts = (
        ("model.diffusion_model.", unet_shapes(plan)),
        ("first_stage_model.", vae_shapes(plan.vae)),
        (plan.prefixes[0], clip_l_shapes(plan)),
        (plan.prefixes[1], clip_g_shapes(plan)),
    )
    return {prefix + name: shape for prefix, part in parts for name, shape in part.items()}


def random_state(wanted: Shapes, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Draw tensors that keep activations near 1: 1/sqrt(fan-in) for matrices, near 1 for norm weights."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _draw(name, shape, generator).to(dtype) for name, shape in wanted.items()}


def write_checkpoint(
    path: Path, plan: Plan = TINY, seed: int = 0, dtype: torch.dtype = torch.float32, vae_norm_groups: int = 32
) -> dict[str, Tensor]:
    """Write a random checkpoint file and return its tensors."""
    state = random_state(shapes(plan), seed, dtype)
    save_file(state, path, metadata={"focal.vae_norm_groups": str(vae_norm_groups)})
    return state


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name.endswith("position_ids"):
        return torch.arange(shape[1])[None]
    values = torch.randn(shape, generator=generator)
    if len(shape) == 1 and name.endswith("weight"):
        return 1 + 0.1 * values
    if len(shape) < 2:
        return 0.1 * values
    if "embedding" in name:
        return 0.3 * values
    fan_in = values[0].numel()
    return values / fan_in**0.5


def unet_shapes(plan: Plan) -> Shapes:
    """Names as in https://github.com/Stability-AI/generative-models, `UNetModel`."""
    width, embed = plan.width, 4 * plan.width
    context = plan.context
    found = dict(_layer("time_embed.0", (embed, width)))
    found |= _layer("time_embed.2", (embed, embed))
    if plan.numbers:
        found |= _layer("label_emb.0.0", (embed, plan.pooled + plan.numbers * plan.time_width))
        found |= _layer("label_emb.0.2", (embed, embed))
    found |= _layer("input_blocks.0.0", (width, 4, 3, 3))
    skips, channels, number = [width], width, 1
    for level, (multiple, depth) in enumerate(zip(plan.multiples, plan.depths, strict=True)):
        for _ in range(2):
            found |= _residual(f"input_blocks.{number}.0", channels, width * multiple, embed)
            channels = width * multiple
            found |= _transformer(f"input_blocks.{number}.1", channels, depth, context, plan.convolved)
            skips.append(channels)
            number += 1
        if level + 1 < len(plan.multiples):
            found |= _layer(f"input_blocks.{number}.0.op", (channels, channels, 3, 3))
            skips.append(channels)
            number += 1
    found |= _residual("middle_block.0", channels, channels, embed)
    middle = plan.depths[-1] if plan.middle is None else plan.middle
    found |= _transformer("middle_block.1", channels, middle, context, plan.convolved)
    found |= _residual("middle_block.2", channels, channels, embed)
    number = 0
    for level in reversed(range(len(plan.multiples))):
        for index in range(3):
            found |= _residual(
                f"output_blocks.{number}.0", channels + skips.pop(), width * plan.multiples[level], embed
            )
            channels = width * plan.multiples[level]
            found |= _transformer(f"output_blocks.{number}.1", channels, plan.depths[level], context, plan.convolved)
            if index == 2 and level:
                stage = 2 if plan.depths[level] else 1
                found |= _layer(f"output_blocks.{number}.{stage}.conv", (channels, channels, 3, 3))
            number += 1
    return found | _norm("out.0", width) | dict(_layer("out.2", (4, width, 3, 3)))


def vae_shapes(widths: tuple[int, ...]) -> Shapes:
    """Names as in https://github.com/CompVis/latent-diffusion, `AutoencoderKL`."""
    found: Shapes = {}
    levels, last = len(widths), widths[-1]
    for side, blocks, ends in (("encoder", 2, (3, 8)), ("decoder", 3, (4, 3))):
        first = widths[0] if side == "encoder" else last
        found |= _layer(f"{side}.conv_in", (first, ends[0], 3, 3))
        for level, width in enumerate(widths):
            if side == "encoder":
                before, stack = widths[max(0, level - 1)], f"encoder.down.{level}"
            else:
                before, stack = widths[min(level + 1, levels - 1)], f"decoder.up.{level}"
            for index in range(blocks):
                found |= _vae_residual(f"{stack}.block.{index}", before if index == 0 else width, width)
            if side == "encoder" and level + 1 < levels:
                found |= _layer(f"{stack}.downsample.conv", (width, width, 3, 3))
            if side == "decoder" and level:
                found |= _layer(f"{stack}.upsample.conv", (width, width, 3, 3))
        found |= _vae_residual(f"{side}.mid.block_1", last, last)
        found |= _norm(f"{side}.mid.attn_1.norm", last)
        for part in ("q", "k", "v", "proj_out"):
            found |= _layer(f"{side}.mid.attn_1.{part}", (last, last, 1, 1))
        found |= _vae_residual(f"{side}.mid.block_2", last, last)
        out = last if side == "encoder" else widths[0]
        found |= _norm(f"{side}.norm_out", out)
        found |= _layer(f"{side}.conv_out", (ends[1], out, 3, 3))
    return found | dict(_layer("quant_conv", (8, 8, 1, 1))) | dict(_layer("post_quant_conv", (4, 4, 1, 1)))


def clip_l_shapes(plan: Plan) -> Shapes:
    """Names as in transformers' CLIPTextModel."""
    if plan.text_l is None:
        return {}
    width, layers = plan.text_l
    found: Shapes = {
        "embeddings.token_embedding.weight": (plan.vocabulary, width),
        "embeddings.position_embedding.weight": (77, width),
        "embeddings.position_ids": (1, 77),
    }
    for number in range(layers):
        layer = f"encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found |= _layer(f"{layer}.self_attn.{part}", (width, width))
        found |= _norm(f"{layer}.layer_norm1", width) | _norm(f"{layer}.layer_norm2", width)
        found |= _layer(f"{layer}.mlp.fc1", (4 * width, width))
        found |= _layer(f"{layer}.mlp.fc2", (width, 4 * width))
    return found | _norm("final_layer_norm", width)


def clip_g_shapes(plan: Plan) -> Shapes:
    """Names as in https://github.com/mlfoundations/open_clip, `TextTransformer`."""
    if plan.text_g is None:
        return {}
    width, layers = plan.text_g
    found: Shapes = {
        "positional_embedding": (77, width),
        "token_embedding.weight": (plan.vocabulary, width),
        "text_projection": (width, width),
        "logit_scale": (),
    }
    for number in range(layers):
        layer = f"transformer.resblocks.{number}"
        found |= {f"{layer}.attn.in_proj_weight": (3 * width, width), f"{layer}.attn.in_proj_bias": (3 * width,)}
        found |= _layer(f"{layer}.attn.out_proj", (width, width))
        found |= _norm(f"{layer}.ln_1", width) | _norm(f"{layer}.ln_2", width)
        found |= _layer(f"{layer}.mlp.c_fc", (4 * width, width))
        found |= _layer(f"{layer}.mlp.c_proj", (width, 4 * width))
    return found | _norm("ln_final", width)


def _layer(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _residual(name: str, channels_in: int, channels_out: int, embed: int) -> Shapes:
    found = _norm(f"{name}.in_layers.0", channels_in) | dict(
        _layer(f"{name}.in_layers.2", (channels_out, channels_in, 3, 3))
    )
    found |= _layer(f"{name}.emb_layers.1", (channels_out, embed))
    found |= _norm(f"{name}.out_layers.0", channels_out)
    found |= _layer(f"{name}.out_layers.3", (channels_out, channels_out, 3, 3))
    if channels_in != channels_out:
        found |= _layer(f"{name}.skip_connection", (channels_out, channels_in, 1, 1))
    return found


def _transformer(name: str, width: int, depth: int, context: int, convolved: bool) -> Shapes:
    if not depth:
        return {}
    found = _norm(f"{name}.norm", width)
    for projection in ("proj_in", "proj_out"):
        found |= _layer(f"{name}.{projection}", (width, width, 1, 1) if convolved else (width, width))
    for number in range(depth):
        block = f"{name}.transformer_blocks.{number}"
        for attention, source in (("attn1", width), ("attn2", context)):
            found[f"{block}.{attention}.to_q.weight"] = (width, width)
            found[f"{block}.{attention}.to_k.weight"] = (width, source)
            found[f"{block}.{attention}.to_v.weight"] = (width, source)
            found |= _layer(f"{block}.{attention}.to_out.0", (width, width))
        found |= _layer(f"{block}.ff.net.0.proj", (8 * width, width))
        found |= _layer(f"{block}.ff.net.2", (width, 4 * width))
        for norm in ("norm1", "norm2", "norm3"):
            found |= _norm(f"{block}.{norm}", width)
    return found


def _vae_residual(name: str, channels_in: int, channels_out: int) -> Shapes:
    found = _norm(f"{name}.norm1", channels_in) | dict(_layer(f"{name}.conv1", (channels_out, channels_in, 3, 3)))
    found |= _norm(f"{name}.norm2", channels_out)
    found |= _layer(f"{name}.conv2", (channels_out, channels_out, 3, 3))
    if channels_in != channels_out:
        found |= _layer(f"{name}.nin_shortcut", (channels_out, channels_in, 1, 1))
    return found
