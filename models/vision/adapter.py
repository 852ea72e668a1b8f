"""IP-Adapters: a picture's features become tokens, and keys and values of their own for every cross-attention.

Ye et al. 2023, "IP-Adapter", https://arxiv.org/abs/2308.06721, in the names of the published files. The resampler of
the "plus" kinds is Flamingo's perceiver (Alayrac et al. 2022, https://arxiv.org/abs/2204.14198).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.unet_blocks import split_heads

HEAD_WIDTH = 64  # of the resampler's attention, in all published files


@dataclass(frozen=True)
class ProjectionSizes:
    """Of a plain adapter: one linear layer. tokens: how many a picture becomes."""

    features: int
    tokens: int
    output: int


@dataclass(frozen=True)
class ResamplerSizes:
    """Of a "plus" adapter. features: width of the encoder's states. inner: heads · 64."""

    features: int
    width: int
    tokens: int
    depth: int
    inner: int
    hidden: int
    output: int


@dataclass(frozen=True)
class AdapterSizes:
    """image: how features become tokens. widths: of the cross-attentions, in the file's order: down, up, middle."""

    image: ProjectionSizes | ResamplerSizes
    context: int  # what keys and values are made of
    widths: tuple[int, ...]

    @property
    def is_plus(self) -> bool:
        """Whether it reads the states of all patches, not the picture's one embedding."""
        return isinstance(self.image, ResamplerSizes)


class Adapter(nn.Module):
    """`image_proj` makes tokens, `ip_adapter.N` keys and values of the N-th cross-attention."""

    def __init__(self, sizes: AdapterSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.image_proj = Resampler(sizes.image) if isinstance(sizes.image, ResamplerSizes) else Projection(sizes.image)
        self.ip_adapter = nn.ModuleList(KeyValue(sizes.context, width) for width in sizes.widths)

    def tokens(self, features: Tensor) -> Tensor:
        """Turn features, (B, T, F) of a plus adapter or (B, F) of a plain one, into tokens (B, N, C)."""
        return self.image_proj(features.to(self.dtype))

    def keys_values(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return keys and values (B, heads, N, 64) of every cross-attention, in the file's order."""
        tokens = tokens.to(self.dtype)
        return [(split_heads(part.to_k_ip(tokens)), split_heads(part.to_v_ip(tokens))) for part in self.ip_adapter]  # pyright: ignore[reportCallIssue]

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


class KeyValue(nn.Module):
    """One cross-attention's own projections of the picture's tokens."""

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.to_k_ip = nn.Linear(context, width, bias=False)
        self.to_v_ip = nn.Linear(context, width, bias=False)


class Projection(nn.Module):
    """The picture's embedding to a few tokens."""

    def __init__(self, sizes: ProjectionSizes) -> None:
        super().__init__()
        self._tokens = sizes.tokens
        self.proj = nn.Linear(sizes.features, sizes.tokens * sizes.output)
        self.norm = nn.LayerNorm(sizes.output)

    def forward(self, embeds: Tensor) -> Tensor:
        """(B, F) → (B, N, C)."""
        return self.norm(self.proj(embeds).unflatten(-1, (self._tokens, -1)))


class Resampler(nn.Module):
    """Learned queries that gather what they need from the states of all patches."""

    def __init__(self, sizes: ResamplerSizes) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.empty(1, sizes.tokens, sizes.width))
        self.proj_in = nn.Linear(sizes.features, sizes.width)
        self.layers = nn.ModuleList(
            nn.ModuleList([Gather(sizes.width, sizes.inner), FeedForward(sizes.width, sizes.hidden)])
            for _ in range(sizes.depth)
        )
        self.proj_out = nn.Linear(sizes.width, sizes.output)
        self.norm_out = nn.LayerNorm(sizes.output)

    def forward(self, states: Tensor) -> Tensor:
        """(B, T, F) → (B, N, C)."""
        latents = self.latents.expand(len(states), -1, -1)
        states = self.proj_in(states)
        for gather, feed_forward in self.layers:  # pyright: ignore[reportGeneralTypeIssues]
            latents = latents + gather(states, latents)
            latents = latents + feed_forward(latents)
        return self.norm_out(self.proj_out(latents))


class Gather(nn.Module):
    """Attention of the queries to the states and to one another."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, states: Tensor, latents: Tensor) -> Tensor:
        states, latents = self.norm1(states), self.norm2(latents)
        q = _heads(self.to_q(latents))
        k, v = (_heads(part) for part in self.to_kv(torch.cat((states, latents), dim=1)).chunk(2, dim=-1))
        out = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Sequential):
    """Norm, widen, GELU, narrow."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(
            nn.LayerNorm(width), nn.Linear(width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, width, bias=False)
        )


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2)
