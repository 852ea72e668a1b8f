"""Every kind of LoRA layer equals the same change added to the weight by hand, in float64, by the papers' formulas."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.lora import load_lora
from models.memory import Residency
from models.sdxl import Clip, Model, add_lora, load_checkpoint
from tests.parity.random_sdxl import write_checkpoint

TOLERANCE = 1e-5
RANK = 4
FLAT = "input_blocks.4.1.transformer_blocks.0.ff.net.0.proj.weight"  # 512 × 64
CONV = "input_blocks.1.0.in_layers.2.weight"  # 64 × 64 × 3 × 3
NORM = "input_blocks.4.1.transformer_blocks.0.norm2"
GROUP_NORM = "input_blocks.1.0.in_layers.0"
TEXT = "encoder.layers.1.mlp.fc1.weight"  # 192 × 48 in clip_g
MATRICES = (FLAT, CONV)
Change = Callable[[Tensor, dict[str, Tensor]], Tensor]  # weight, tensors of the layer → changed weight, float64


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Clip]:
    path = tmp_path_factory.mktemp("sdxl") / "a.safetensors"
    write_checkpoint(path)
    return load_checkpoint(path, Residency())[:2]


def weight_of(loaded: tuple[Model, Clip], part: str, parameter: str, *, patched: bool) -> Tensor:
    model, clip = loaded
    resident = {"unet": model.unet, "clip_l": clip.l, "clip_g": clip.g}[part]
    loras = (model.loras if part == "unet" else clip.loras) if patched else ()
    with resident.use(loras) as module:
        return module.get_parameter(parameter).clone()


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


@pytest.mark.parametrize("strength", [1.0, 0.3, -0.5])
@pytest.mark.parametrize(("kind", "parameter"), [(name, weight) for name, k in KINDS.items() for weight in k.weights])
def test_equals_the_same_change_added_by_hand(
    loaded: tuple[Model, Clip], tmp_path: Path, kind: str, parameter: str, strength: float
) -> None:
    before = weight_of(loaded, "unet", parameter, patched=False)
    tensors = KINDS[kind].tensors(tuple(before.shape))
    save_file({kohya(parameter) + name: tensor for name, tensor in tensors.items()}, tmp_path / "l.safetensors")
    *patched, warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), strength, strength)
    assert warnings == ()
    changed = KINDS[kind].expected(before.double(), tensors)
    expected = before.double() + strength * (changed - before.double())
    assert (expected - before).abs().max() > 1e-3
    got = weight_of((patched[0], patched[1]), "unet", parameter, patched=True)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=TOLERANCE)
    assert torch.equal(weight_of(loaded, "unet", parameter, patched=False), before)


PREFIXES = {
    "kohya, LDM blocks": "lora_unet_input_blocks_4_1_transformer_blocks_0_ff_net_0_proj",
    "kohya, diffusers blocks": "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_0_proj",
    "generic": "diffusion_model.input_blocks.4.1.transformer_blocks.0.ff.net.0.proj",
    "diffusers": "unet.down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj",
}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("kind", ["LoHa", "LoKr, factored", "GLoRA", "OFT", "whole difference"])
def test_every_kind_is_found_under_every_name(
    loaded: tuple[Model, Clip], tmp_path: Path, kind: str, prefix: str
) -> None:
    before = weight_of(loaded, "unet", FLAT, patched=False)
    tensors = KINDS[kind].tensors(tuple(before.shape))
    save_file({PREFIXES[prefix] + name: tensor for name, tensor in tensors.items()}, tmp_path / "l.safetensors")
    *patched, warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)
    assert warnings == ()
    got = weight_of((patched[0], patched[1]), "unet", FLAT, patched=True)
    expected = KINDS[kind].expected(before.double(), tensors)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["LoHa", "LoKr, factored", "GLoRA", "OFT", "BOFT", "DoRA", "IA³ on inputs"])
@pytest.mark.parametrize(("part", "prefix"), [("clip_l", "lora_te1_"), ("clip_g", "lora_te2_")])
def test_every_kind_changes_both_text_encoders(
    loaded: tuple[Model, Clip], tmp_path: Path, kind: str, part: str, prefix: str
) -> None:
    before = weight_of(loaded, part, TEXT, patched=False)
    tensors = KINDS[kind].tensors(tuple(before.shape))
    name = prefix + "text_model_encoder_layers_1_mlp_fc1"
    save_file({name + ending: tensor for ending, tensor in tensors.items()}, tmp_path / "l.safetensors")
    *patched, warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)
    assert warnings == ()
    got = weight_of((patched[0], patched[1]), part, TEXT, patched=True)
    expected = KINDS[kind].expected(before.double(), tensors)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=TOLERANCE)


def test_biases_of_layers_and_norms_are_changed_beside_a_low_rank_weight(
    loaded: tuple[Model, Clip], tmp_path: Path
) -> None:
    low_rank = KINDS["LoRA"].tensors((512, 64))
    layer, norm = kohya(FLAT), "lora_unet_" + NORM.replace(".", "_")
    tensors = {layer + name: tensor for name, tensor in low_rank.items()}
    tensors |= {f"{layer}.diff_b": noise(512), f"{norm}.w_norm": noise(64), f"{norm}.b_norm": noise(64, seed=9)}
    save_file(tensors, tmp_path / "l.safetensors")
    *patched, warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 0.5, 0.5)
    assert warnings == ()
    for parameter, change in {
        FLAT.replace("weight", "bias"): tensors[f"{layer}.diff_b"],
        f"{NORM}.weight": tensors[f"{norm}.w_norm"],
        f"{NORM}.bias": tensors[f"{norm}.b_norm"],
        FLAT: product(low_rank[".lora_up.weight"], low_rank[".lora_down.weight"]) * 2.0 / RANK,
    }.items():
        before = weight_of(loaded, "unet", parameter, patched=False)
        after = weight_of((patched[0], patched[1]), "unet", parameter, patched=True)
        torch.testing.assert_close((after - before).double(), 0.5 * change.double(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 6.0 / RANK), (True, 6.0 / RANK**0.5)])
def test_alphas_in_the_header_of_a_diffusers_file_count(
    loaded: tuple[Model, Clip], tmp_path: Path, rslora: bool, scale: float
) -> None:
    up, down = noise(512, RANK), noise(RANK, 64)
    name = PREFIXES["diffusers"]
    header = {"unet.r": RANK, "unet.lora_alpha": 6, "unet.use_rslora": rslora, "unet.alpha_pattern": {"to_q": 1}}
    save_file(
        {f"{name}.lora_B.weight": up, f"{name}.lora_A.weight": down},
        tmp_path / "l.safetensors",
        metadata={"format": "pt", "lora_adapter_metadata": json.dumps(header)},
    )
    model, clip, _ = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)
    before = weight_of(loaded, "unet", FLAT, patched=False)
    after = weight_of((model, clip), "unet", FLAT, patched=True)
    torch.testing.assert_close((after - before).double(), product(up, down) * scale, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in ("norm", "new weight")])
def test_layer_for_another_width_is_left_out(loaded: tuple[Model, Clip], tmp_path: Path, kind: str) -> None:
    shape = (320, 640, 3, 3) if KINDS[kind].weights == (CONV,) else (320, 640)
    name = kohya(CONV if len(shape) == 4 else FLAT)
    tensors = KINDS[kind].tensors(shape)
    save_file({name + ending: tensor for ending, tensor in tensors.items()}, tmp_path / "l.safetensors")
    model, _, warnings = add_lora(*loaded, load_lora(tmp_path / "l.safetensors"), 1.0, 1.0)
    assert "do not fit" in warnings[0]
    assert model.loras[0].deltas("unet") == {}


def test_two_kinds_in_a_row_add_up_and_leave_no_trace(loaded: tuple[Model, Clip], tmp_path: Path) -> None:
    before = weight_of(loaded, "unet", CONV, patched=False)
    expected, patched = before.double(), loaded
    for number, kind in enumerate(("LoKr, factored", "whole difference")):
        tensors = KINDS[kind].tensors(tuple(before.shape))
        path = tmp_path / f"{number}.safetensors"
        save_file({kohya(CONV) + ending: tensor for ending, tensor in tensors.items()}, path)
        model, clip, _ = add_lora(*patched, load_lora(path), 0.5, 0.5)
        assert clip is not None
        patched = (model, clip)
        expected = expected + 0.5 * (KINDS[kind].expected(before.double(), tensors) - before.double())
    got = weight_of(patched, "unet", CONV, patched=True)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=TOLERANCE)
    assert torch.equal(weight_of(loaded, "unet", CONV, patched=False), before)
