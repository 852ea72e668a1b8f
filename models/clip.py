"""The two text encoders of SDXL and its relatives, CLIP-L and OpenCLIP-bigG, as one module in Hugging Face's names
without their `text_model.` prefix.

`formats/open_clip.py` gives bigG's tensors these names. Radford et al. 2021, https://arxiv.org/abs/2103.00020.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class TextSizes:
    """What differs between text encoders, as read from the tensors (the activation from the place in the file)."""

    width: int
    layers: int
    hidden: int  # of the feed-forward
    vocabulary: int
    positions: int
    projection: int | None  # width of the pooled output; None: no projection in the file
    activation: Literal["quick_gelu", "gelu"]

    @property
    def heads(self) -> int:
        """64 wide each, as in both published encoders; narrower toy encoders have one."""
        return max(1, self.width // 64)


@dataclass(frozen=True)
class Replacement:
    """A textual-inversion vector in place of a token's embedding."""

    row: int  # of the batch
    position: int  # 0..76
    vector: Tensor  # (C,)


@dataclass(frozen=True)
class TextOutput:
    """hidden (n, 77, C); pooled (n, P), None for an encoder without projection or when it was not asked for."""

    hidden: Tensor
    pooled: Tensor | None


class Linear(nn.Linear):
    """Computes in the precision of its input, whatever that of its weights."""

    def forward(self, input: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return F.linear(input, self.weight.to(input.dtype), bias)


class LayerNorm(nn.LayerNorm):
    """The same of a layer norm."""

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
        return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps)


class TextEncoder(nn.Module):
    """Causal transformer over token ids. Computes in float32 whatever its weights are in (Fooocus behaviour §1.9)."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embeddings = nn.ModuleDict(
            {
                "token_embedding": nn.Embedding(sizes.vocabulary, sizes.width),
                "position_embedding": nn.Embedding(sizes.positions, sizes.width),
            }
        )
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))})
        self.final_layer_norm = LayerNorm(sizes.width)
        self.text_projection = Linear(sizes.width, sizes.projection, bias=False) if sizes.projection else None

    def forward(
        self,
        ids: Tensor,
        skip: int = 2,
        pooled: bool = True,
        replacements: Sequence[Replacement] = (),
        normed: bool = False,
    ) -> TextOutput:
        """Encode ids (n, 77).

        hidden is state -skip of the embedding and all layers' outputs, without the final norm; with more skipped than
        there are layers, the normed last state (Fooocus' rule). pooled is the projected final state at the highest id
        of each row, the first end token. Layers that neither needs are not run. normed: hidden behind the final norm.
        """
        layers = list(self.encoder["layers"])  # pyright: ignore[reportArgumentType]
        wanted = len(layers) + 1 - skip  # layers below the hidden state
        pooled = pooled and self.text_projection is not None
        h = self._embed(ids, replacements)
        hidden = h
        for number, layer in enumerate(layers, start=1):
            if number > wanted >= 0 and not pooled:
                break
            h = layer(h)
            if number == wanted:
                hidden = h
        last = self.final_layer_norm(h) if pooled or wanted < 0 else h
        if normed:
            hidden = self.final_layer_norm(hidden)
        return TextOutput(last if wanted < 0 else hidden, self._pool(last, ids) if pooled else None)

    def _embed(self, ids: Tensor, replacements: Sequence[Replacement]) -> Tensor:
        h = self.embeddings["token_embedding"](ids).float()
        for r in replacements:
            h[r.row, r.position] = r.vector.to(h)
        return h + self.embeddings["position_embedding"].weight[: ids.shape[1]].float()  # pyright: ignore[reportIndexIssue]

    def _pool(self, last: Tensor, ids: Tensor) -> Tensor:
        assert self.text_projection is not None
        ends = ids.argmax(dim=-1)  # 49407, the end token, is the highest id; argmax finds the first
        return self.text_projection(last[torch.arange(len(ids), device=ids.device), ends])


class Layer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.layer_norm1 = LayerNorm(sizes.width)
        self.self_attn = CausalAttention(sizes.width, sizes.heads)
        self.layer_norm2 = LayerNorm(sizes.width)
        self.mlp = nn.ModuleDict({"fc1": Linear(sizes.width, sizes.hidden), "fc2": Linear(sizes.hidden, sizes.width)})
        self._activation = quick_gelu if sizes.activation == "quick_gelu" else F.gelu

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp["fc2"](self._activation(self.mlp["fc1"](self.layer_norm2(x))))


class CausalAttention(nn.Module):
    """Each token attends to itself and those before it; q, k and v from one product."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(width, width)
        self.v_proj = Linear(width, width)
        self.out_proj = Linear(width, width)
        self.qkv_weight: Tensor
        self.qkv_bias: Tensor

    def side_by_side(self) -> dict[str, list[str]]:
        """One weight (3·C, C) and bias for q, k and v."""
        parts = ("q_proj", "k_proj", "v_proj")
        return {"qkv_weight": [f"{p}.weight" for p in parts], "qkv_bias": [f"{p}.bias" for p in parts]}

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.qkv_weight.to(x.dtype), self.qkv_bias.to(x.dtype)
        parts = F.linear(x, weight, bias).unflatten(-1, (3, self.heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, T, C/heads)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(out.transpose(1, 2).flatten(2))


def quick_gelu(x: Tensor) -> Tensor:
    """x · sigmoid(1.702 x), CLIP-L's activation."""
    return x * torch.sigmoid(1.702 * x)
