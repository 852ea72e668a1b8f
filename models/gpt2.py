"""GPT-2, small enough to read at a glance: token ids in, logits of the next token out.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3. Parameters carry the names of
the released files (`h.0.attn.c_attn.weight`); their matrices are stored as (in, out).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Gpt2Sizes:
    """What differs between files. heads cannot be seen in the tensors."""

    vocabulary: int
    positions: int
    width: int
    layers: int
    heads: int
    hidden: int
    eps: float = 1e-5


Past = list[tuple[Tensor, Tensor] | None]  # keys and values (B, heads, T, C / heads) of each layer


class Gpt2(nn.Module):
    """Decoder-only transformer; the output matrix is the embedding's."""

    def __init__(self, sizes: Gpt2Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.wte = nn.Embedding(sizes.vocabulary, sizes.width)
        self.wpe = nn.Embedding(sizes.positions, sizes.width)
        self.h = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.ln_f = nn.LayerNorm(sizes.width, eps=sizes.eps)

    def forward(self, ids: Tensor, past: Past | None = None, start: int = 0) -> Tensor:
        """ids (B, T) → logits (B, T, vocabulary). past: filled on the way; with it, ids are the new ones only."""
        x = self.wte(ids) + self.wpe(torch.arange(start, start + ids.shape[1], device=ids.device))
        for number, block in enumerate(self.h):
            x, kept = block(x, past[number] if past else None)
            if past is not None:
                past[number] = kept
        return F.linear(self.ln_f(x), self.wte.weight)


class Block(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, sizes: Gpt2Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.heads = sizes.heads
        self.ln_1 = nn.LayerNorm(width, eps=sizes.eps)
        self.attn = nn.ModuleDict({"c_attn": Matrix(width, 3 * width), "c_proj": Matrix(width, width)})
        self.ln_2 = nn.LayerNorm(width, eps=sizes.eps)
        self.mlp = nn.ModuleDict({"c_fc": Matrix(width, sizes.hidden), "c_proj": Matrix(sizes.hidden, width)})

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.attn["c_attn"](self.ln_1(x)).chunk(3, dim=-1)
        )
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)
        x = x + self.attn["c_proj"](mixed.transpose(1, 2).flatten(2))
        grown = F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh")
        return x + self.mlp["c_proj"](grown), (k, v)


class Matrix(nn.Module):
    """A linear layer whose weight is stored as (in, out)."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_in, width_out))
        self.bias = nn.Parameter(torch.empty(width_out))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias
