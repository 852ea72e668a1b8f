"""The blocks of the UNet: residual blocks, transformers over the pixels, halving."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from models.layers import Pointwise

HEAD_WIDTH = 64  # of every SDXL attention; SD 1.x has eight heads instead, whatever their width
GROUPS = 32


@dataclass(frozen=True)
class PreparedContext:
    """Keys and values (B, heads, T, head width) of every cross-attention, in the modules' order: constant over a run.

    pictures: the same of each image prompt, its weight already in the values; attended to apart from the words.
    """

    keys_values: tuple[tuple[Tensor, Tensor], ...]
    pictures: tuple[tuple[tuple[Tensor, Tensor], ...], ...] = ()


class ResBlock(nn.Module):
    """Two convolutions with the time embedding added between them."""

    def __init__(self, channels_in: int, channels_out: int, embed: int) -> None:
        super().__init__()
        self.index = 0
        self.channels_out = channels_out
        self.in_layers = nn.ModuleList(
            [nn.GroupNorm(GROUPS, channels_in), nn.SiLU(), nn.Conv2d(channels_in, channels_out, 3, padding=1)]
        )
        self.emb_layers = nn.ModuleList([nn.SiLU(), nn.Linear(embed, channels_out)])
        self.out_layers = nn.ModuleList(
            [
                nn.GroupNorm(GROUPS, channels_out),
                nn.SiLU(),
                nn.Dropout(0.0),
                nn.Conv2d(channels_out, channels_out, 3, padding=1),
            ]
        )
        self.skip_connection = Pointwise(channels_in, channels_out) if channels_in != channels_out else None

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm, _, conv = self.in_layers
        h = conv(F.silu(norm(x), inplace=True))
        h += emb
        norm, _, _, conv = self.out_layers
        h = conv(F.silu(norm(h), inplace=True))
        h += x if self.skip_connection is None else self.skip_connection(x)
        return h


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels as tokens, with a residual connection."""

    def __init__(self, width: int, depth: int, context_dim: int, head_width: int = HEAD_WIDTH) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(width, context_dim, head_width) for _ in range(depth))
        self.proj_out = nn.Linear(width, width)

    def forward(self, x: Tensor, prepared: PreparedContext) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens, prepared)
        out = self.proj_out(tokens).view(batch, height, width, channels).permute(0, 3, 1, 2)
        out += x
        return out


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward; each behind a layer norm and beside a residual connection."""

    def __init__(self, width: int, context_dim: int, head_width: int = HEAD_WIDTH) -> None:
        super().__init__()
        self.attn1 = SelfAttention(width, head_width)
        self.attn2 = CrossAttention(width, context_dim, head_width)
        self.ff = FeedForward(width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x: Tensor, prepared: PreparedContext) -> Tensor:
        x = self.attn1(self.norm1(x)).add_(x)
        x = self.attn2(self.norm2(x), prepared).add_(x)
        return self.ff(self.norm3(x)).add_(x)


class SelfAttention(nn.Module):
    """Attention of the pixels to one another; q, k and v from one product."""

    def __init__(self, width: int, head_width: int = HEAD_WIDTH) -> None:
        super().__init__()
        self.head_width = head_width
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.qkv: Tensor

    def side_by_side(self) -> dict[str, list[str]]:
        """One weight (3·C, C) for q, k and v."""
        return {"qkv": ["to_q.weight", "to_k.weight", "to_v.weight"]}

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = F.linear(x, self.qkv).chunk(3, dim=-1)
        q, k, v = (split_heads(part, self.head_width) for part in (q, k, v))
        return self.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Attention of the pixels to the prompt and to each image prompt, whose keys and values come prepared.

    Image prompts as in IP-Adapter, https://arxiv.org/abs/2308.06721, equation 5: every softmax is its own.
    """

    def __init__(self, width: int, context_dim: int, head_width: int = HEAD_WIDTH) -> None:
        super().__init__()
        self.index = 0
        self.width = width
        self.head_width = head_width
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context_dim, width, bias=False)
        self.to_v = nn.Linear(context_dim, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, prepared: PreparedContext) -> Tensor:
        q = split_heads(self.to_q(x), self.head_width)
        out = F.scaled_dot_product_attention(q, *prepared.keys_values[self.index])
        for picture in prepared.pictures:
            out = out + F.scaled_dot_product_attention(q, *picture[self.index])
        return self.to_out[0](out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """GEGLU and back. Shazeer 2020, https://arxiv.org/abs/2002.05202."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList(
            [nn.ModuleDict({"proj": nn.Linear(width, 8 * width)}), nn.Dropout(0.0), nn.Linear(4 * width, width)]
        )

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.net[0]["proj"](x).chunk(2, dim=-1)  # pyright: ignore[reportIndexIssue]
        return self.net[2](F.gelu(gate).mul_(value))


class Downsample(nn.Module):
    """Halve by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def split_heads(x: Tensor, head_width: int = HEAD_WIDTH) -> Tensor:
    """(B, T, heads·64) → (B, heads, T, 64)."""
    return x.unflatten(-1, (-1, head_width)).transpose(1, 2)
