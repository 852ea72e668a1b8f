"""Every kind of LoRA layer: random tensors, and its change added to the weight by hand, by the papers' formulas."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

RANK = 4
FLAT = "input_blocks.4.1.transformer_blocks.0.ff.net.0.proj.weight"  # 512 × 64
CONV = "input_blocks.1.0.in_layers.2.weight"  # 64 × 64 × 3 × 3
NORM = "input_blocks.4.1.transformer_blocks.0.norm2"
GROUP_NORM = "input_blocks.1.0.in_layers.0"
TEXT = "encoder.layers.1.mlp.fc1.weight"  # 192 × 48 in clip_g
MATRICES = (FLAT, CONV)
Change = Callable[[Tensor, dict[str, Tensor]], Tensor]  # weight, tensors of the layer → changed weight, float64


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(sum((i + 1) * side for i, side in enumerate(shape)) + seed)
    return torch.randn(*shape, generator=generator) * 0.2


def kohya(parameter: str) -> str:
    return "lora_unet_" + parameter.removesuffix(".weight").replace(".", "_")


def product(a: Tensor, b: Tensor) -> Tensor:
    return a.double().flatten(1) @ b.double().flatten(1)


def tucker(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Sum over both ranks, written out: Σ_pq core[p, q] a[p, o] b[q, i]."""
    out = torch.zeros(a.shape[1], b.shape[1], *core.shape[2:], dtype=torch.float64)
    for p in range(core.shape[0]):
        for q in range(core.shape[1]):
            outer = a[p].double()[:, None] * b[q].double()[None, :]
            out += outer[:, :, None, None] * core[p, q].double()
    return out


def kron(one: Tensor, other: Tensor) -> Tensor:
    """Blocks one[i, j] · other, for matrices and kernels."""
    rows = [torch.cat([value * other.double() for value in row.double()], dim=1) for row in one]
    return torch.cat(rows, dim=0)


def rotation(block: Tensor) -> Tensor:
    q = block.double() - block.double().T
    identity = torch.eye(len(q), dtype=torch.float64)
    return (identity + q) @ (identity - q).inverse()


def limited(blocks: Tensor, limit: float) -> Tensor:
    """Blocks whose skew-symmetric parts have at most this norm, all together."""
    length = (blocks - blocks.transpose(-1, -2)).double().norm()
    return blocks.double() * min(1.0, limit / float(length))


def block_diagonal(blocks: Tensor) -> Tensor:
    return torch.block_diag(*(rotation(block).T for block in blocks))


def butterfly(blocks: Tensor) -> Tensor:
    """BOFT's product of m sparse orthogonal matrices (Liu et al. 2023, section 4): factor i mixes what lies apart.

    The halves of a block of factor i lie 2^i half blocks apart; the permutation is written out place by place.
    """
    levels, count, side, _ = blocks.shape
    size, half = count * side, side // 2
    total = torch.eye(size, dtype=torch.float64)
    for level in range(levels):
        stride = 2**level * half
        order = [group * 2 * stride + which * stride + place
                 for group in range(size // (2 * stride)) for place in range(stride) for which in range(2)]  # fmt: skip
        gather = torch.eye(size, dtype=torch.float64)[order]
        total = gather.T @ torch.block_diag(*(rotation(block) for block in blocks[level])) @ gather @ total
    return total


def dora(weight: Tensor, scale: Tensor) -> Tensor:
    """Every output of the sum gets the learned length."""
    lengths = torch.stack([row.norm() for row in weight.flatten(1)])
    return weight * (scale.double().flatten() / lengths).view(-1, *[1] * (weight.ndim - 1))


@dataclass(frozen=True)
class Kind:
    """tensors: of a layer for a weight of this shape, by what follows the layer's name."""

    tensors: Callable[[tuple[int, ...]], dict[str, Tensor]]
    expected: Change
    weights: tuple[str, ...] = MATRICES


def loha(shape: tuple[int, ...]) -> dict[str, Tensor]:
    out, into = shape[0], shape[1:].numel() if isinstance(shape, torch.Size) else 0
    a, b = (noise(out, RANK, seed=n) for n in (1, 2)), (noise(RANK, into, seed=n) for n in (3, 4))
    (a1, a2), (b1, b2) = a, b
    return {".hada_w1_a": a1, ".hada_w1_b": b1, ".hada_w2_a": a2, ".hada_w2_b": b2, ".alpha": torch.tensor(3.0)}


def loha_expected(weight: Tensor, t: dict[str, Tensor]) -> Tensor:
    both = product(t[".hada_w1_a"], t[".hada_w1_b"]) * product(t[".hada_w2_a"], t[".hada_w2_b"])
    return weight + both.reshape(weight.shape) * 3.0 / RANK


def loha_tucker(shape: tuple[int, ...]) -> dict[str, Tensor]:
    out, into, *kernel = shape
    names = {".hada_w1_a": (RANK, out), ".hada_w1_b": (RANK, into), ".hada_t1": (RANK, RANK, *kernel)}
    names |= {".hada_w2_a": (RANK, out), ".hada_w2_b": (RANK, into), ".hada_t2": (RANK, RANK, *kernel)}
    return {name: noise(*sides, seed=i) for i, (name, sides) in enumerate(names.items())}


def loha_tucker_expected(weight: Tensor, t: dict[str, Tensor]) -> Tensor:
    one, other = (tucker(t[f".hada_t{n}"], t[f".hada_w{n}_a"], t[f".hada_w{n}_b"]) for n in (1, 2))
    return weight + one * other


def lokr(shape: tuple[int, ...]) -> dict[str, Tensor]:
    out, into, *kernel = shape
    tensors = {".lokr_w1": noise(8, 4), ".lokr_w2": noise(out // 8, into // 4, *kernel)}
    return tensors | {".alpha": torch.tensor(99.0)}  # counts for nothing where nothing is factored


def lokr_factored(shape: tuple[int, ...]) -> dict[str, Tensor]:
    out, into, *kernel = shape
    return {
        ".lokr_w1_a": noise(8, RANK),
        ".lokr_w1_b": noise(RANK, 4),
        ".lokr_w2_a": noise(out // 8, RANK),
        ".lokr_w2_b": noise(RANK, into // 4 * torch.Size(kernel).numel()),
        ".alpha": torch.tensor(2.0),
    }


def lokr_factored_expected(weight: Tensor, t: dict[str, Tensor]) -> Tensor:
    one = product(t[".lokr_w1_a"], t[".lokr_w1_b"])
    other = product(t[".lokr_w2_a"], t[".lokr_w2_b"])
    other = other.reshape(len(other), weight.shape[1] // 4, *weight.shape[2:])
    return weight + kron(one, other) * 2.0 / RANK


def lokr_tucker(shape: tuple[int, ...]) -> dict[str, Tensor]:
    out, into, *kernel = shape
    factors = {".lokr_w2_a": noise(RANK, out // 8), ".lokr_w2_b": noise(RANK, into // 4)}
    return {".lokr_w1": noise(8, 4), **factors, ".lokr_t2": noise(RANK, RANK, *kernel), ".alpha": torch.tensor(2.0)}


def lokr_tucker_expected(weight: Tensor, t: dict[str, Tensor]) -> Tensor:
    other = tucker(t[".lokr_t2"], t[".lokr_w2_a"], t[".lokr_w2_b"])
    return weight + kron(t[".lokr_w1"], other) * 2.0 / RANK


def glora(shape: tuple[int, ...]) -> dict[str, Tensor]:
    out, into, *kernel = shape
    ones = [1 for _ in kernel]
    return {
        ".a1.weight": noise(into, RANK, *ones),
        ".a2.weight": noise(RANK, into, *ones),
        ".b1.weight": noise(out, RANK, *ones),
        ".b2.weight": noise(RANK, into, *kernel),
        ".alpha": torch.tensor(2.0),
    }


def glora_old(shape: tuple[int, ...]) -> dict[str, Tensor]:
    new = glora(shape)
    swap = {
        ".a1.weight": ".a2.weight",
        ".a2.weight": ".a1.weight",
        ".b1.weight": ".b2.weight",
        ".b2.weight": ".b1.weight",
    }
    return {swap.get(name, name): tensor for name, tensor in new.items()}


def glora_expected(weight: Tensor, t: dict[str, Tensor]) -> Tensor:
    a1, a2, b1, b2 = (t[f".{name}.weight"] for name in ("a1", "a2", "b1", "b2"))
    if a1.shape[0] < a1.shape[1]:
        a1, a2, b1, b2 = a2, a1, b2, b1
    inner = product(a1, a2)  # mixes input channels
    mixed = torch.tensordot(weight.movedim(1, -1), inner, dims=1).movedim(-1, 1)
    return weight + (mixed + product(b1, b2).reshape(weight.shape)) * 2.0 / RANK


def turned(matrix: Tensor, weight: Tensor) -> Tensor:
    return (matrix @ weight.flatten(1)).reshape(weight.shape)


KINDS: dict[str, Kind] = {
    "LoRA": Kind(
        lambda s: {
            ".lora_up.weight": noise(s[0], RANK, *[1 for _ in s[2:]]),
            ".lora_down.weight": noise(RANK, *s[1:]),
            ".alpha": torch.tensor(2.0),
        },
        lambda w, t: w + product(t[".lora_up.weight"], t[".lora_down.weight"]).reshape(w.shape) * 2.0 / RANK,
    ),
    "LoCon with a middle": Kind(
        lambda s: {
            ".lora_up.weight": noise(s[0], RANK, 1, 1),
            ".lora_mid.weight": noise(RANK, RANK, *s[2:]),
            ".lora_down.weight": noise(RANK, s[1], 1, 1),
        },
        lambda w, t: (
            w + tucker(t[".lora_mid.weight"], t[".lora_up.weight"].flatten(1).T, t[".lora_down.weight"].flatten(1))
        ),
        (CONV,),
    ),
    "DoRA": Kind(
        lambda s: {
            ".lora_up.weight": noise(s[0], RANK, *[1 for _ in s[2:]]),
            ".lora_down.weight": noise(RANK, *s[1:]),
            ".dora_scale": noise(s[0], *[1 for _ in s[1:]]).abs() + 0.5,
        },
        lambda w, t: dora(w + product(t[".lora_up.weight"], t[".lora_down.weight"]).reshape(w.shape), t[".dora_scale"]),
    ),
    "LoHa": Kind(lambda s: loha(torch.Size(s)), loha_expected),
    "LoHa, Tucker": Kind(loha_tucker, loha_tucker_expected, (CONV,)),
    "LoHa with DoRA": Kind(
        lambda s: loha(torch.Size(s)) | {".dora_scale": noise(s[0], *[1 for _ in s[1:]]).abs() + 0.5},
        lambda w, t: dora(loha_expected(w, t), t[".dora_scale"]),
    ),
    "LoKr, whole": Kind(lokr, lambda w, t: w + kron(t[".lokr_w1"], t[".lokr_w2"]).reshape(w.shape)),
    "LoKr, factored": Kind(lokr_factored, lokr_factored_expected),
    "LoKr, Tucker": Kind(lokr_tucker, lokr_tucker_expected, (CONV,)),
    "GLoRA": Kind(glora, glora_expected),
    "GLoRA, other order": Kind(glora_old, glora_expected),
    "OFT": Kind(
        lambda s: {".oft_blocks": noise(s[0] // 8, 8, 8), ".alpha": torch.tensor(0.0)},
        lambda w, t: turned(block_diagonal(t[".oft_blocks"]), w),
    ),
    "OFT with a limit and rescaled": Kind(
        lambda s: {
            ".oft_blocks": noise(s[0] // 8, 8, 8),
            ".rescale": 1 + noise(s[0], *[1 for _ in s[1:]]),
            ".alpha": torch.tensor(0.001),
        },
        lambda w, t: turned(block_diagonal(limited(t[".oft_blocks"], 0.001 * len(w))), w) * t[".rescale"].double(),
    ),
    "BOFT": Kind(
        lambda s: {".oft_blocks": noise(3, s[0] // 8, 8, 8)}, lambda w, t: turned(butterfly(t[".oft_blocks"]), w)
    ),
    "IA³ on outputs": Kind(
        lambda s: {".weight": noise(s[0], *[1 for _ in s[1:]]), ".on_input": torch.tensor(False)},
        lambda w, t: w * (1 + t[".weight"].double()),
    ),
    "IA³ on inputs": Kind(
        lambda s: {".weight": noise(1, s[1], *[1 for _ in s[2:]]), ".on_input": torch.tensor(True)},
        lambda w, t: w * (1 + t[".weight"].double()),
    ),
    "whole difference": Kind(lambda s: {".diff": noise(*s)}, lambda w, t: w + t[".diff"].double()),
    "norm": Kind(
        lambda s: {".w_norm": noise(*s)}, lambda w, t: w + t[".w_norm"], (f"{NORM}.weight", f"{GROUP_NORM}.weight")
    ),
    "new weight": Kind(
        lambda s: {".set_weight": noise(*s)}, lambda w, t: t[".set_weight"].double(), (FLAT, NORM + ".weight")
    ),
}
