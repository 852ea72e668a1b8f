"""A full-size UNet with cheap random weights, filled in place."""

import torch
from torch import Tensor

from models.arena import Arena
from models.unet import UNet, UNetSizes


def arena_filled_unet(sizes: UNetSizes) -> tuple[UNet, dict[str, Tensor]]:
    """Return a float32 UNet and its parameters by name, the same memory."""
    with torch.device("meta"):
        unet = UNet(sizes).eval()
    arena = Arena(unet, torch.float32)
    arena.allocate(torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    state = dict(unet.named_parameters())
    for name, parameter in state.items():
        values = parameter.data.normal_(generator=generator)
        if parameter.ndim == 1:
            values.mul_(0.1).add_(1.0 if name.endswith("weight") else 0.0)
        else:
            values.div_(values[0].numel() ** 0.5)
    return unet, state
