"""ESRGAN written a second time, straight from the paper, in float64, as functions of a table of random tensors; and the
names that each family of files gives to these tensors."""

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, tuple[Tensor, Tensor]]  # part → weight, bias


def random_weights(features: int, growth: int, blocks: int, doublings: int, channels_in: int = 3) -> Weights:
    """Tensors of a size at which the output neither dies nor explodes: first, i.j.k, trunk, up0 …, hr, last."""
    random = torch.Generator().manual_seed(11)

    def conv(width_in: int, width_out: int) -> tuple[Tensor, Tensor]:
        weight = torch.randn(width_out, width_in, 3, 3, generator=random) / (3 * width_in**0.5)
        return weight, torch.randn(width_out, generator=random) * 0.1

    weights = {"first": conv(channels_in, features)}
    for i in range(blocks):
        for j in range(3):
            for k in range(5):
                weights[f"{i}.{j}.{k}"] = conv(features + k * growth, features if k == 4 else growth)
    weights["trunk"] = conv(features, features)
    weights |= {f"up{n}": conv(features, features) for n in range(doublings)}
    return weights | {"hr": conv(features, features), "last": conv(features, 3)}


def reference(weights: Weights, x: Tensor, unshuffle: int = 1) -> Tensor:
    """Run the network in float64. unshuffle folds blocks of pixels into channels first, channel-major."""

    def conv(part: str, x: Tensor) -> Tensor:
        weight, bias = weights[part]
        return F.conv2d(x, weight.double(), bias.double(), padding=1)

    def act(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    def dense(block: str, x: Tensor) -> Tensor:
        outputs = [x]
        for k in range(4):
            outputs.append(act(conv(f"{block}.{k}", torch.cat(outputs, 1))))
        return x + 0.2 * conv(f"{block}.4", torch.cat(outputs, 1))

    x = x.double()
    if unshuffle > 1:
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // unshuffle, unshuffle, w // unshuffle, unshuffle).permute(0, 1, 3, 5, 2, 4)
        x = x.reshape(b, c * unshuffle**2, h // unshuffle, w // unshuffle)
    first = conv("first", x)
    h = first
    for i in range(block_count(weights)):
        inner = h
        for j in range(3):
            inner = dense(f"{i}.{j}", inner)
        h = h + 0.2 * inner
    h = first + conv("trunk", h)
    for n in range(sum(part.startswith("up") for part in weights)):
        h = act(conv(f"up{n}", h.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    return conv("last", act(conv("hr", h)))


def block_count(weights: Weights) -> int:
    return 1 + max(int(part.split(".")[0]) for part in weights if "." in part)


def real_esrgan(part: str, doublings: int, blocks: int) -> str:
    """basicsr's RRDBNet, as Real-ESRGAN's files."""
    if "." in part:
        i, j, k = part.split(".")
        return f"body.{i}.rdb{int(j) + 1}.conv{int(k) + 1}"
    if part.startswith("up"):
        return f"conv_up{int(part[2:]) + 1}"
    return {"first": "conv_first", "trunk": "conv_body", "hr": "conv_hr", "last": "conv_last"}[part]


def old_esrgan(part: str, doublings: int, blocks: int, dense: str = "RDB") -> str:
    """One nn.Sequential: first conv, shortcut around the trunk, then resize-conv-act per doubling, conv, act, conv."""
    if "." in part:
        i, j, k = part.split(".")
        return f"model.1.sub.{i}.{dense}{int(j) + 1}.conv{int(k) + 1}.0"
    if part.startswith("up"):
        return f"model.{3 + 3 * int(part[2:])}"
    after = 2 + 3 * doublings
    places = {"first": "0", "trunk": f"1.sub.{blocks}", "hr": str(after), "last": str(after + 2)}
    return f"model.{places[part]}"


def fooocus(part: str, doublings: int, blocks: int) -> str:
    return old_esrgan(part, doublings, blocks, dense="residual_block_")


def first_release(part: str, doublings: int, blocks: int) -> str:
    """ESRGAN's own RRDBNet_arch.py, which BSRGAN kept."""
    if "." in part:
        i, j, k = part.split(".")
        return f"RRDB_trunk.{i}.RDB{int(j) + 1}.conv{int(k) + 1}"
    if part.startswith("up"):
        return f"upconv{int(part[2:]) + 1}"
    return {"first": "conv_first", "trunk": "trunk_conv", "hr": "HRconv", "last": "conv_last"}[part]


LAYOUTS = {"real-esrgan": real_esrgan, "old": old_esrgan, "fooocus": fooocus, "first release": first_release}


def named(weights: Weights, layout: str) -> dict[str, Tensor]:
    """The tensors under the names of a layout."""
    doublings = sum(part.startswith("up") for part in weights)
    blocks = block_count(weights)
    tensors = {}
    for part, (weight, bias) in weights.items():
        name = LAYOUTS[layout](part, doublings, blocks)
        tensors |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return tensors
