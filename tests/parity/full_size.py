"""A full-size UNet with cheap random weights, filled in place."""

import torch
from torch import Tensor

from models.arena import Arena
from models.unet import UNet, UNetSizes


def arena_filled_unet(sizes: UNetSizes) -> tuple[UNet, dict[str, Tensor]]:
    """Return a float32 UNet and its parameters by name and in the shapes of files, the same memory."""
    with torch.device("meta"):
        unet = UNet(sizes).eval()
    arena = Arena(unet, torch.float32)
    arena.allocate(torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in unet.named_parameters():
        values = parameter.data.normal_(generator=generator)
        if parameter.ndim == 1:
            values.mul_(0.1).add_(1.0 if name.endswith("weight") else 0.0)
        else:
            values.div_(values[0].numel() ** 0.5)
    state = dict[str, Tensor](unet.named_parameters())
    return unet, {
        name: t[..., None, None] if name.endswith("skip_connection.weight") else t for name, t in state.items()
    }
