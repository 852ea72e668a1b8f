"""Random ControlNets in the published layouts, and diffusers' ControlNetModel on the same tensors: the oracle.

The names are written out here, not taken from the code under test.
"""

from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from torch import Tensor

from models.unet import UNetSizes
from tests.parity.diffusers_sdxl import unet_config
from tests.parity.random_sdxl import Plan, Shapes, random_state, unet_shapes

HINT_WIDTHS = (16, 32, 96, 256)


def control_shapes(plan: Plan) -> Shapes:
    """LDM names of a ControlNet, without prefix: https://github.com/lllyasviel/ControlNet, `cldm.ControlNet`."""
    encoder = {name: s for name, s in unet_shapes(plan).items() if not name.startswith(("output_blocks.", "out."))}
    return encoder | hint_shapes(plan) | zero_shapes(plan)


def hint_shapes(plan: Plan) -> Shapes:
    a, b, c, d = HINT_WIDTHS
    pairs = [(3, a), (a, a), (a, b), (b, b), (b, c), (c, c), (c, d), (d, plan.width)]
    found: Shapes = {}
    for index, (channels_in, channels_out) in enumerate(pairs):
        found[f"input_hint_block.{2 * index}.weight"] = (channels_out, channels_in, 3, 3)
        found[f"input_hint_block.{2 * index}.bias"] = (channels_out,)
    return found


def zero_shapes(plan: Plan) -> Shapes:
    widths = [plan.width]
    for level, multiple in enumerate(plan.multiples):
        widths += [plan.width * multiple] * (2 if level + 1 == len(plan.multiples) else 3)
    places = [f"zero_convs.{index}.0" for index in range(len(widths))] + ["middle_block_out.0"]
    found: Shapes = {}
    for place, width in zip(places, [*widths, widths[-1]], strict=True):
        found[f"{place}.weight"], found[f"{place}.bias"] = (width, width, 1, 1), (width,)
    return found


def random_control(plan: Plan, seed: int = 3) -> dict[str, Tensor]:
    """A ControlNet in LDM names whose zero convolutions are not zero."""
    return random_state(control_shapes(plan), seed)


def random_control_lora(plan: Plan, seed: int = 4, rank: int = 8) -> dict[str, Tensor]:
    """A Control-LoRA: every matrix and convolution as up and down, with full biases and norms."""
    state: dict[str, Tensor] = {"lora_controlnet": torch.tensor([])}
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in random_state(control_shapes(plan), seed).items():
        own = name.startswith(("input_hint_block", "zero_convs", "middle_block_out"))
        if own or tensor.dim() == 1:
            state[name] = tensor
            continue
        layer = name.removesuffix(".weight")
        rows, columns = tensor.shape[0], tensor[0].numel()
        up = 0.3 * torch.randn(rows, rank, generator=generator) / rank**0.5
        down = torch.randn(rank, columns, generator=generator) / columns**0.5
        kernel = tensor.shape[2:]
        state[f"{layer}.up"] = up.view(rows, rank, *[1] * len(kernel))
        state[f"{layer}.down"] = down.view(rank, tensor.shape[1], *kernel)
    return state


def materialised(base: dict[str, Tensor], lora: dict[str, Tensor], plan: Plan) -> dict[str, Tensor]:
    """The ControlNet that a Control-LoRA stands for, layer by layer by hand. base: a UNet's tensors, LDM names."""
    state: dict[str, Tensor] = {}
    for name in control_shapes(plan):
        if name in lora:
            state[name] = lora[name]
            continue
        layer = name.removesuffix(".weight")
        weight = base[name].clone()
        up, down = lora[f"{layer}.up"], lora[f"{layer}.down"]
        if weight.dim() == 4:
            weight += torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down)
        else:
            weight += torch.einsum("or,ri->oi", up, down)
        state[name] = weight
    return state


def diffusers_control(state: dict[str, Tensor], sizes: UNetSizes, plan: Plan) -> ControlNetModel:
    """Load an LDM-named state strictly, through diffusers' converter."""
    config: dict[str, Any] = unet_config(sizes, plan.text_g[0])
    kept = {k: v for k, v in config.items() if k not in ("up_block_types", "sample_size")}
    model = ControlNetModel(**kept, conditioning_embedding_out_channels=HINT_WIDTHS)
    prefixed = {f"control_model.{name}": tensor for name, tensor in state.items()}
    converted = convert_controlnet_checkpoint(prefixed, dict(model.config))
    for theirs, ldm in (("linear_1", "label_emb.0.0"), ("linear_2", "label_emb.0.2")):  # the converter forgets them
        for leaf in ("weight", "bias"):
            converted[f"add_embedding.{theirs}.{leaf}"] = state[f"{ldm}.{leaf}"]
    model.load_state_dict(converted, strict=True)
    return model.eval()


def random_union(sizes: UNetSizes, plan: Plan, types: int) -> ControlNetUnionModel:
    """diffusers' union ControlNet with random weights, none of them zero; its state dict is the published layout."""
    config: dict[str, Any] = unet_config(sizes, plan.text_g[0])
    kept = {k: v for k, v in config.items() if k not in ("up_block_types", "sample_size")}
    channels = {"num_trans_channel": plan.width, "num_proj_channel": plan.width}
    model = ControlNetUnionModel(
        **kept, **channels, num_control_type=types, conditioning_embedding_out_channels=HINT_WIDTHS
    )
    generator = torch.Generator().manual_seed(8)
    for tensor in model.state_dict().values():
        fan_in = tensor[0].numel() if tensor.dim() > 1 else 4
        tensor.copy_(torch.randn(tensor.shape, generator=generator) / fan_in**0.5)
    return model.eval()
