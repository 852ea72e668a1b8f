"""LDM's names of an SDXL-shaped UNet → diffusers'."""

from functools import lru_cache

from models.unet import UNetSizes

_FIXED = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}


def diffusers_name(module: str, sizes: UNetSizes) -> str:
    """Translate a module's name: `input_blocks.4.0.in_layers.2` → `down_blocks.1.resnets.0.conv1`."""
    if module in _FIXED:
        return _FIXED[module]
    places = _places(sizes)
    block = next(b for b in (module, *_parents(module)) if b in places)
    inner = module[len(block) + 1 :]
    place = places[block]
    return f"{place}.{_RESIDUAL.get(inner, inner)}" if inner else place


@lru_cache(maxsize=16)
def _places(sizes: UNetSizes) -> dict[str, str]:
    """Where each residual block, transformer and resampling convolution stands in diffusers' nesting."""
    places = {
        "middle_block.0": "mid_block.resnets.0",
        "middle_block.1": "mid_block.attentions.0",
        "middle_block.2": "mid_block.resnets.1",
    }
    if not sizes.middle.depth:
        places["middle_block.1"] = "mid_block.resnets.1"
    level = index = 0
    for number, block in enumerate(sizes.inputs, start=1):
        if block.resample:
            places[f"input_blocks.{number}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
            level, index = level + 1, 0
            continue
        places[f"input_blocks.{number}.0"] = f"down_blocks.{level}.resnets.{index}"
        places[f"input_blocks.{number}.1"] = f"down_blocks.{level}.attentions.{index}"
        index += 1
    level = index = 0
    for number, block in enumerate(sizes.outputs):
        places[f"output_blocks.{number}.0"] = f"up_blocks.{level}.resnets.{index}"
        if block.depth:
            places[f"output_blocks.{number}.1"] = f"up_blocks.{level}.attentions.{index}"
        index += 1
        if block.resample:
            stage = 2 if block.depth else 1
            places[f"output_blocks.{number}.{stage}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
            level, index = level + 1, 0
    return places


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]
