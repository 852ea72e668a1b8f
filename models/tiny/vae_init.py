"""A starting point from which a small KL autoencoder trains in minutes.

GroupNorm hides flat colours, and flat colours are all our scenes have: a plain random start stays at a grey blur.
This start is already an autoencoder, "average-pool 8x, then repeat 8x", written exactly in the layout of the Stable
Diffusion VAE. Two tricks carry a signed value unchanged through `conv(silu(norm(x)))`: silu(x) - silu(-x) = x, so
every colour travels as a +/- pair; and two constant channels of +/-K dominate the group's variance, so the norm
divides by (almost) a constant.
"""

import torch
from diffusers import AutoencoderKL
from torch import nn

CONSTANT = 3.0  # K: large against the -1..1 of the colours
CARRIED = 8  # r g b K -r -g -b -K
KEEP = [(1, 1, 1.0)]
AVERAGE = [(0, 0, 0.25), (0, 1, 0.25), (1, 0, 0.25), (1, 1, 0.25)]
POINT = [(0, 0, 1.0)]
Taps = list[tuple[int, int, float]]


@torch.no_grad()
def start_as_pooling(vae: AutoencoderKL) -> None:
    """Overwrite part of a fresh VAE (first width 32, 8 norm groups): it pools and repeats, the rest stays random."""
    for module in vae.modules():
        name = type(module).__name__
        if name == "ResnetBlock2D":
            _zero(module.conv2)
        elif name == "Attention":
            _zero(module.to_out[0])
    _start_encoder(vae.encoder)
    _start_latent_projections(vae)
    _start_decoder(vae.decoder)


def _start_encoder(encoder: nn.Module) -> None:
    _lift(encoder.conv_in)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            if resnet.conv_shortcut is not None:
                _carry(resnet.conv_shortcut, POINT)
        for downsampler in block.downsamplers or []:
            _carry(downsampler.conv, AVERAGE)
    encoder.conv_norm_out.weight[:CARRIED] = CONSTANT / 2
    out = encoder.conv_out
    out.weight[:3].zero_()
    out.bias.zero_()
    for i in range(3):
        out.weight[i, i, 1, 1], out.weight[i, 4 + i, 1, 1] = 1, -1
    out.weight[4:].mul_(0.05)


def _start_latent_projections(vae: AutoencoderKL) -> None:
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.weight[:4].zero_()
    quant.bias.zero_()
    quant.weight[4:].mul_(0.1)
    quant.bias[4:] = -7  # log variance: hardly any noise at first
    _zero(post)
    for i in range(4):
        quant.weight[i, i, 0, 0] = post.weight[i, i, 0, 0] = 1


def _start_decoder(decoder: nn.Module) -> None:
    _lift(decoder.conv_in)
    for block in decoder.up_blocks:
        last = block is decoder.up_blocks[-1]
        for resnet in block.resnets:
            if resnet.conv_shortcut is None:
                continue
            if last:
                _spread(resnet.conv_shortcut)
            else:
                _carry(resnet.conv_shortcut, POINT)
        for upsampler in block.upsamplers or []:
            _carry(upsampler.conv, KEEP)
    # The last level has groups of four channels: each colour sits in a group of its own, {+c, -c, +K, -K}.
    decoder.conv_norm_out.weight[:12] = CONSTANT / 2**0.5
    out = decoder.conv_out
    out.weight.mul_(0.1)
    out.bias.zero_()
    for i in range(3):
        out.weight[:, 4 * i : 4 * i + 4] = 0
        out.weight[i, 4 * i, 1, 1], out.weight[i, 4 * i + 1, 1, 1] = 1, -1


def _zero(layer: nn.Module) -> None:
    layer.weight.zero_()
    layer.bias.zero_()


def _lift(conv: nn.Conv2d) -> None:
    """Make the first convolution put its three inputs into the eight carried channels."""
    conv.weight[:CARRIED].zero_()
    conv.bias[:CARRIED].zero_()
    for i in range(3):
        conv.weight[i, i, 1, 1], conv.weight[4 + i, i, 1, 1] = 1, -1
    conv.bias[3], conv.bias[7] = CONSTANT, -CONSTANT


def _carry(conv: nn.Conv2d, taps: Taps) -> None:
    """Hand the carried channels on, each through the same few taps."""
    conv.weight[:CARRIED].zero_()
    conv.bias[:CARRIED].zero_()
    for y, x, weight in taps:
        for i in range(CARRIED):
            conv.weight[i, i, y, x] = weight


def _spread(conv: nn.Conv2d) -> None:
    conv.weight[:12].zero_()
    conv.bias[:12].zero_()
    for i in range(3):
        for j, source in enumerate((i, 4 + i, 3, 7)):
            conv.weight[4 * i + j, source, 0, 0] = 1
