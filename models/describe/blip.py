"""BLIP's captioner: a vision transformer, and a BERT that looks at its output while it writes.

Li et al. 2022, https://arxiv.org/abs/2201.12086 (figure 2, the image-grounded text decoder); Dosovitskiy et al. 2020,
https://arxiv.org/abs/2010.11929; Devlin et al. 2018, https://arxiv.org/abs/1810.04805. `formats.py` has the file names.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_WIDTH = 64  # of both transformers, in every published size
TEXT_EPS = 1e-12


@dataclass(frozen=True)
class BlipSizes:
    """What differs between files, read from the tensors."""

    vision_width: int
    vision_layers: int
    vision_hidden: int
    patch: int  # pixels per side
    grid: int  # patches per side
    text_width: int
    text_layers: int
    text_hidden: int
    vocabulary: int
    positions: int
    vision_eps: float = 1e-6

    @property
    def side(self) -> int:
        """The side of the square picture that the encoder sees, in pixels."""
        return self.patch * self.grid


@dataclass
class Seen:
    """Keys and values of what a layer has read already: its own words, and the picture."""

    words: tuple[Tensor, Tensor] | None = None
    picture: tuple[Tensor, Tensor] | None = None


class Blip(nn.Module):
    """Picture in, logits of the next word out."""

    def __init__(self, sizes: BlipSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.vision = VisionTransformer(sizes)
        self.text = TextDecoder(sizes)


class VisionTransformer(nn.Module):
    """Pictures (B, 3, side, side), normalised → tokens (B, 1 + grid², C)."""

    def __init__(self, sizes: BlipSizes) -> None:
        super().__init__()
        width = sizes.vision_width
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + sizes.grid**2, width))
        self.patches = nn.Conv2d(3, width, sizes.patch, stride=sizes.patch)
        self.blocks = nn.ModuleList(VisionBlock(sizes) for _ in range(sizes.vision_layers))
        self.norm = nn.LayerNorm(width, eps=sizes.vision_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(pixels), -1, -1), tokens], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class VisionBlock(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, sizes: BlipSizes) -> None:
        super().__init__()
        width = sizes.vision_width
        self.norm1 = nn.LayerNorm(width, eps=sizes.vision_eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=sizes.vision_eps)
        self.fc1 = nn.Linear(width, sizes.vision_hidden)
        self.fc2 = nn.Linear(sizes.vision_hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (_heads(part) for part in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        x = x + self.proj(_joined(F.scaled_dot_product_attention(q, k, v)))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class TextDecoder(nn.Module):
    """Token ids (B, T) → logits (B, T, vocabulary), each seeing the words before it and the whole picture."""

    def __init__(self, sizes: BlipSizes) -> None:
        super().__init__()
        width = sizes.text_width
        self.words = nn.Embedding(sizes.vocabulary, width)
        self.positions = nn.Embedding(sizes.positions, width)
        self.norm = nn.LayerNorm(width, eps=TEXT_EPS)
        self.layers = nn.ModuleList(TextLayer(sizes) for _ in range(sizes.text_layers))
        self.transform = nn.Linear(width, width)
        self.transform_norm = nn.LayerNorm(width, eps=TEXT_EPS)
        self.decoder = nn.Linear(width, sizes.vocabulary)

    def forward(self, ids: Tensor, picture: Tensor, seen: list[Seen] | None = None, start: int = 0) -> Tensor:
        """seen: one per layer, filled on the way; with it, ids are the new ones, `start` the place of the first."""
        places = torch.arange(start, start + ids.shape[1], device=ids.device)
        x = self.norm(self.words(ids) + self.positions(places))
        for number, layer in enumerate(self.layers):
            x = layer(x, picture, seen[number] if seen else Seen())
        return self.decoder(self.transform_norm(F.gelu(self.transform(x))))


class TextLayer(nn.Module):
    """Post-norm transformer layer that attends to the words, then to the picture."""

    def __init__(self, sizes: BlipSizes) -> None:
        super().__init__()
        width = sizes.text_width
        self.attention = Attention(width, width)
        self.cross = Attention(width, sizes.vision_width)
        self.grow = nn.Linear(width, sizes.text_hidden)
        self.shrink = nn.Linear(sizes.text_hidden, width)
        self.norm = nn.LayerNorm(width, eps=TEXT_EPS)

    def forward(self, x: Tensor, picture: Tensor, seen: Seen) -> Tensor:
        key, value = self.attention.keys_and_values(x)
        if seen.words is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(seen.words, (key, value), strict=True))
        seen.words = key, value
        x = self.attention(x, seen.words, causal=x.shape[1] > 1)
        if seen.picture is None:
            seen.picture = self.cross.keys_and_values(picture)
        x = self.cross(x, seen.picture)
        return self.norm(x + self.shrink(F.gelu(self.grow(x))))


class Attention(nn.Module):
    """Multi-head attention with BERT's residual and norm around it."""

    def __init__(self, width: int, source_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source_width, width)
        self.value = nn.Linear(source_width, width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=TEXT_EPS)

    def keys_and_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, C) → two of (B, heads, S, 64)."""
        return _heads(self.key(source)), _heads(self.value(source))

    def forward(self, x: Tensor, source: tuple[Tensor, Tensor], causal: bool = False) -> Tensor:
        mixed = F.scaled_dot_product_attention(_heads(self.query(x)), *source, is_causal=causal)
        return self.norm(self.out(_joined(mixed)) + x)


def _heads(x: Tensor) -> Tensor:
    """(B, T, C) → (B, heads, T, C / heads); a network narrower than one head has one."""
    return x.unflatten(-1, (max(1, x.shape[-1] // HEAD_WIDTH), -1)).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)
