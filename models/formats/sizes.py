"""Sizes of networks, read from the names and shapes of their tensors.

Every function takes shapes without the file's prefix and raises KeyError for a tensor that the architecture cannot be
without.
"""

import re
from collections.abc import Mapping
from typing import Literal

from models.clip import TextSizes
from models.unet import BlockSize, UNetSizes
from models.vae import VaeSizes

Shapes = Mapping[str, tuple[int, ...]]


def unet_sizes(shapes: Shapes, heads: int | None = None) -> UNetSizes:
    """Read a UNet of SDXL's kind with LDM names. heads: of every attention, which no tensor tells; None: 64 wide."""
    stem = shapes["input_blocks.0.0.weight"]
    inputs = tuple(_input_block(shapes, i) for i in range(1, _count(shapes, r"input_blocks\.(\d+)\.")))
    outputs = tuple(_output_block(shapes, i) for i in range(_count(shapes, r"output_blocks\.(\d+)\.")))
    return UNetSizes(
        in_channels=stem[1],
        out_channels=shapes["out.2.weight"][0],
        model_channels=stem[0],
        embed_channels=shapes["time_embed.0.weight"][0],
        context_dim=_context_dim(shapes),
        adm_channels=shapes["label_emb.0.0.weight"][1] if heads is None else 0,
        inputs=inputs,
        middle=_stages(shapes, "middle_block"),
        outputs=outputs,
        heads=heads,
    )


def vae_sizes(shapes: Shapes, norm_groups: int) -> VaeSizes:
    """Read an AutoencoderKL with LDM names."""
    levels = _count(shapes, r"decoder\.up\.(\d+)\.")
    return VaeSizes(
        widths=tuple(shapes[f"decoder.up.{i}.block.0.conv1.weight"][0] for i in range(levels)),
        encoder_blocks=_count(shapes, r"encoder\.down\.0\.block\.(\d+)\."),
        decoder_blocks=_count(shapes, r"decoder\.up\.0\.block\.(\d+)\."),
        latent_channels=shapes["decoder.conv_in.weight"][1],
        norm_groups=norm_groups,
    )


def text_sizes(shapes: Shapes, activation: Literal["quick_gelu", "gelu"]) -> TextSizes:
    """Read a text encoder with the names of `models.clip`."""
    vocabulary, width = shapes["embeddings.token_embedding.weight"]
    projection = shapes.get("text_projection.weight")
    return TextSizes(
        width=width,
        layers=_count(shapes, r"encoder\.layers\.(\d+)\."),
        hidden=shapes["encoder.layers.0.mlp.fc1.weight"][0],
        vocabulary=vocabulary,
        positions=shapes["embeddings.position_embedding.weight"][0],
        projection=projection[0] if projection else None,
        activation=activation,
    )


def _input_block(shapes: Shapes, index: int) -> BlockSize:
    halving = shapes.get(f"input_blocks.{index}.0.op.weight")
    if halving:
        return BlockSize(halving[1], halving[0], resample=True)
    return _stages(shapes, f"input_blocks.{index}")


def _output_block(shapes: Shapes, index: int) -> BlockSize:
    size = _stages(shapes, f"output_blocks.{index}")
    doubles = any(f"output_blocks.{index}.{place}.conv.weight" in shapes for place in (1, 2))
    return BlockSize(size.channels_in, size.channels_out, size.depth, resample=doubles)


def _stages(shapes: Shapes, block: str) -> BlockSize:
    channels_out, channels_in = shapes[f"{block}.0.in_layers.2.weight"][:2]
    return BlockSize(channels_in, channels_out, _count(shapes, rf"{re.escape(block)}\.1\.transformer_blocks\.(\d+)\."))


def _context_dim(shapes: Shapes) -> int:
    return next(shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight"))


def _count(shapes: Shapes, pattern: str) -> int:
    """Return how many numbers, counted from 0, the names have at the pattern's group."""
    found = (re.match(pattern, name) for name in shapes)
    return max((int(match[1]) + 1 for match in found if match), default=0)
