"""CLIP's image encoder, in the names of transformers' `CLIPVisionModelWithProjection`.

Radford et al. 2021, https://arxiv.org/abs/2103.00020; Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.clip import quick_gelu


@dataclass(frozen=True)
class VisionSizes:
    """What differs between image encoders. heads and activation cannot be seen in the tensors."""

    width: int
    layers: int
    hidden: int  # of the feed-forward
    patch: int  # pixels
    image: int  # pixels per side
    projection: int
    heads: int
    activation: Literal["quick_gelu", "gelu"]


@dataclass(frozen=True)
class VisionStates:
    """last, penultimate: (B, 1 + patches, C), before the final norm. embeds: (B, P), projected."""

    last: Tensor
    penultimate: Tensor
    embeds: Tensor


class VisionEncoder(nn.Module):
    """Transformer over the patches of a picture and one token for the whole of it."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.vision_model = nn.ModuleDict(
            {
                "embeddings": Embeddings(sizes),
                "pre_layrnorm": nn.LayerNorm(sizes.width),  # sic
                "encoder": nn.ModuleDict({"layers": nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))}),
                "post_layernorm": nn.LayerNorm(sizes.width),
            }
        )
        self.visual_projection = nn.Linear(sizes.width, sizes.projection, bias=False)

    def forward(self, pixels: Tensor) -> VisionStates:
        """Encode pictures (B, 3, S, S), normalised."""
        parts = self.vision_model
        h = parts["pre_layrnorm"](parts["embeddings"](pixels))
        before = h
        for layer in parts["encoder"]["layers"]:  # pyright: ignore[reportIndexIssue, reportGeneralTypeIssues]
            before, h = h, layer(h)
        return VisionStates(h, before, self.visual_projection(parts["post_layernorm"](h[:, 0])))


class Embeddings(nn.Module):
    """Patches to tokens; the first token stands for the picture."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        patches = (sizes.image // sizes.patch) ** 2
        self.class_embedding = nn.Parameter(torch.empty(sizes.width))
        self.patch_embedding = nn.Conv2d(3, sizes.width, sizes.patch, stride=sizes.patch, bias=False)
        self.position_embedding = nn.Embedding(1 + patches, sizes.width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)  # (B, patches, C)
        whole = self.class_embedding.expand(len(pixels), 1, -1).to(patches.dtype)
        return torch.cat((whole, patches), dim=1) + self.position_embedding.weight


class Layer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(sizes.width)
        self.self_attn = Attention(sizes.width, sizes.heads)
        self.layer_norm2 = nn.LayerNorm(sizes.width)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(sizes.width, sizes.hidden), "fc2": nn.Linear(sizes.hidden, sizes.width)}
        )
        self._activation = quick_gelu if sizes.activation == "quick_gelu" else F.gelu

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp["fc2"](self._activation(self.mlp["fc1"](self.layer_norm2(x))))


class Attention(nn.Module):
    """Every token attends to all."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, C/heads)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(out.transpose(1, 2).flatten(2))
