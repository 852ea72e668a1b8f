"""Changes of a weight that are no low-rank product: LoHa, LoKr, GLoRA, OFT, BOFT, IA³, whole differences.

LyCORIS (Yeh et al. 2023, https://arxiv.org/abs/2309.14859) names the tensors. LoHa: FedPara, Hyeon-Woo et al. 2021,
https://arxiv.org/abs/2108.06098. LoKr: KronA, Edalati et al. 2022, https://arxiv.org/abs/2212.10650. GLoRA: Chavan et
al. 2023, https://arxiv.org/abs/2306.07967. OFT: Qiu et al. 2023, https://arxiv.org/abs/2306.07280. BOFT: Liu et al.
2023, https://arxiv.org/abs/2311.06243. IA³: Liu et al. 2022, https://arxiv.org/abs/2205.05638.
"""

from dataclasses import dataclass
from math import prod
from typing import Self

import torch
from torch import Tensor

from models.lora_delta import Rescaling, Shape, same_shape


@dataclass(frozen=True)
class Factors:
    """A matrix or kernel: whole, or a·b, or (Tucker) core (R, R, k, k) with a (R, out) and b (R, in)."""

    whole: Tensor | None = None
    a: Tensor | None = None
    b: Tensor | None = None
    core: Tensor | None = None

    @property
    def rank(self) -> int | None:
        """None for a whole one."""
        return None if self.b is None else self.b.shape[0]

    def __call__(self, device: torch.device) -> Tensor:
        """The product in float32, (out, in[, k, k])."""
        if self.whole is not None:
            return self.whole.to(device, torch.float32)
        assert self.a is not None
        assert self.b is not None
        a, b = (factor.to(device, torch.float32) for factor in (self.a, self.b))
        if self.core is not None:
            return torch.einsum("abkl,ao,bi->oikl", self.core.to(device, torch.float32), a, b)
        return (a.flatten(1) @ b.flatten(1)).reshape(a.shape[0], *b.shape[1:])

    def shape(self) -> Shape | None:
        """The product's shape, None when the factors do not meet."""
        if self.whole is not None:
            return tuple(self.whole.shape)
        if self.a is None or self.b is None:
            return None
        if self.core is not None:
            meet = self.core.ndim == 4 and self.core.shape[:2] == (self.a.shape[0], self.b.shape[0])
            return (self.a.shape[1], self.b.shape[1], *self.core.shape[2:]) if meet else None
        return (self.a.shape[0], *self.b.shape[1:]) if self.a[0].numel() == self.b.shape[0] else None


@dataclass(frozen=True)
class LohaDelta(Rescaling):
    """alpha/R · (w1 ∘ w2), a product element by element. Kernels may be flattened: (out, in·k·k)."""

    one: Factors
    other: Factors
    alpha: float | None = None
    dora_scale: Tensor | None = None

    def difference(self, weight: Tensor) -> Tensor:
        scale = 1.0 if self.alpha is None or not self.one.rank else self.alpha / self.one.rank
        return (self.one(weight.device) * self.other(weight.device)).reshape(weight.shape) * scale

    def fits(self, shape: Shape) -> bool:
        own = self.one.shape()
        return own is not None and own == self.other.shape() and (own == _flat(shape) or same_shape(own, shape))


@dataclass(frozen=True)
class LokrDelta(Rescaling):
    """alpha/R · w1 ⊗ w2; the scale is 1 when neither is factored. A kernel belongs to w2 alone."""

    one: Factors
    other: Factors
    alpha: float | None = None
    dora_scale: Tensor | None = None

    def difference(self, weight: Tensor) -> Tensor:
        one, other = self.one(weight.device), self.other(weight.device)
        rank = self.other.rank or self.one.rank
        scale = 1.0 if self.alpha is None or rank is None else self.alpha / rank
        kernels = other.reshape(*other.shape[:2], -1).contiguous()
        return torch.kron(one[:, :, None], kernels).reshape(weight.shape) * scale

    def fits(self, shape: Shape) -> bool:
        one, other = self.one.shape(), self.other.shape()
        if one is None or other is None or len(one) != 2:
            return False
        own = (one[0] * other[0], one[1] * other[1], *other[2:])
        return own == _flat(shape) or same_shape(own, shape)


@dataclass(frozen=True)
class GloraDelta(Rescaling):
    """alpha/R · (W·A + B) with A (in, in) and B (out, in) of rank R, both acting on the kernel's input channels."""

    a_left: Tensor  # (in, R)
    a_right: Tensor  # (R, in)
    b_left: Tensor  # (out, R)
    b_right: Tensor  # (R, in[, k, k])
    alpha: float | None = None
    dora_scale: Tensor | None = None

    @classmethod
    def of(cls, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], alpha: float | None, dora: Tensor | None) -> Self:
        """Read both orders of the factors: A = a1·a2 and B = b1·b2 as in the paper, or A = a2·a1 and B = b2·b1."""
        inner, outer = a[0].shape[:2]
        if inner < outer or (inner == outer == b[0].shape[0]):
            a, b = (a[1], a[0]), (b[1], b[0])
        return cls(*a, *b, alpha, dora)

    def difference(self, weight: Tensor) -> Tensor:
        left, right, b_left, b_right = (
            factor.to(weight.device, torch.float32).flatten(1)
            for factor in (self.a_left, self.a_right, self.b_left, self.b_right)
        )
        matrix = weight.flatten(1) if left.shape[0] != weight.shape[1] else weight
        product = torch.einsum("oi...,ir,rj->oj...", matrix, left, right).reshape(weight.shape)
        scale = 1.0 if self.alpha is None else self.alpha / left.shape[1]
        return (product + (b_left @ b_right).reshape(weight.shape)) * scale

    def fits(self, shape: Shape) -> bool:
        if len(shape) < 2:
            return False
        left, right = self.a_left.flatten(1).shape, self.a_right.flatten(1).shape
        b_left, b_right = self.b_left.flatten(1).shape, self.b_right.flatten(1).shape
        inner = (shape[1], prod(shape[1:]))
        return (
            left[0] in inner
            and right == (left[1], left[0])
            and (b_left[0], b_right[1]) == _flat(shape)
            and b_left[1] == b_right[0]
        )


@dataclass(frozen=True)
class OftDelta(Rescaling):
    """Rotate the output channels: W' = rescale · R·W, R orthogonal by Cayley's transform of skew-symmetric blocks.

    blocks: (n, b, b) for OFT, block-diagonal; (m, n, b, b) for BOFT, m butterfly factors. limit: of the blocks' norm,
    alpha · out as LyCORIS writes it; 0: none.
    """

    blocks: Tensor
    rescale: Tensor | None = None
    limit: float = 0.0
    dora_scale: Tensor | None = None

    def difference(self, weight: Tensor) -> Tensor:
        rotations = cayley(self.blocks.to(weight.device, torch.float32), self.limit * weight.shape[0])
        rotated = _rotated(weight, rotations) if self.blocks.ndim == 3 else _butterfly(weight, rotations)
        if self.rescale is not None:
            scale = self.rescale.to(weight.device, torch.float32)
            rotated = rotated * scale.reshape(-1, *[1] * (weight.ndim - 1))
        return rotated - weight

    def fits(self, shape: Shape) -> bool:
        blocks, side = self.blocks.shape[-3], self.blocks.shape[-1]
        square = self.blocks.ndim in (3, 4) and self.blocks.shape[-2] == side and blocks * side == shape[0]
        return square and (self.rescale is None or self.rescale.numel() == shape[0])


def cayley(blocks: Tensor, limit: float) -> Tensor:
    """(I + Q)(I − Q)⁻¹ of Q = blocks − blocksᵀ, its norm over all blocks held to the limit (0: not)."""
    q = blocks - blocks.transpose(-1, -2)
    length = float(q.norm()) + 1e-8
    if 0 < limit < length:
        q = q * (limit / length)
    identity = torch.eye(q.shape[-1], device=q.device)
    return (identity + q) @ torch.linalg.inv(identity - q)


def _rotated(weight: Tensor, rotations: Tensor) -> Tensor:
    """Apply the transposed rotation of each block to its output channels."""
    count, side, _ = rotations.shape
    return torch.einsum("bij,bi...->bj...", rotations, weight.unflatten(0, (count, side))).flatten(0, 1)


def _butterfly(weight: Tensor, rotations: Tensor) -> Tensor:
    """Multiply by m factors; the i-th pairs half blocks that lie 2ⁱ half blocks apart."""
    half = rotations.shape[-1] // 2
    out = weight
    for level, blocks in enumerate(rotations):
        stride = 2**level * half
        apart = out.unflatten(0, (-1, 2, stride)).transpose(1, 2)
        paired = apart.flatten(0, 2).unflatten(0, (-1, 2 * half))
        turned = torch.einsum("bij,bj...->bi...", blocks, paired).flatten(0, 1)
        out = turned.unflatten(0, (-1, stride, 2)).transpose(1, 2).flatten(0, 2)
    return out


@dataclass(frozen=True)
class Ia3Delta(Rescaling):
    """Learned factors of the inputs (1, in) or the outputs (out, 1): W' = W · (1 + factor)."""

    factor: Tensor
    on_input: bool

    def difference(self, weight: Tensor) -> Tensor:
        factor = self.factor.to(weight.device, torch.float32).flatten()
        place = (1, -1) if self.on_input else (-1, 1)
        return weight * factor.reshape(*place, *[1] * (weight.ndim - 2))

    def fits(self, shape: Shape) -> bool:
        return len(shape) >= 2 and self.factor.numel() == shape[1 if self.on_input else 0]


@dataclass(frozen=True)
class FullDelta(Rescaling):
    """A whole difference, of weights, biases and norms."""

    values: Tensor

    def difference(self, weight: Tensor) -> Tensor:
        return self.values.to(weight.device, torch.float32).reshape(weight.shape)

    def fits(self, shape: Shape) -> bool:
        own = tuple(self.values.shape)
        return own == shape or same_shape(own, shape)


@dataclass(frozen=True)
class Replacement(Rescaling):
    """A new weight; a strength below 1 stops on the way there."""

    values: Tensor

    def difference(self, weight: Tensor) -> Tensor:
        return self.values.to(weight.device, torch.float32).reshape(weight.shape) - weight

    def fits(self, shape: Shape) -> bool:
        return tuple(self.values.shape) == shape or same_shape(tuple(self.values.shape), shape)


def _flat(shape: Shape) -> Shape:
    return (shape[0], prod(shape[1:]))
