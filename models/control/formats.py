"""ControlNet files: diffusers' layout, LDM's (`control_model.…`), and Control-LoRAs, which change a UNet's encoder.

All are read as LDM names (feasibility §8). Published SDXL ControlNets have diffusers' names, Control-LoRAs the others.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from models.control.controlnet import ControlNetSizes, UnionSizes
from models.errors import BadModelFile
from models.formats.family import kind_of
from models.formats.pickled import open_either
from models.formats.plan import Plan, Source, plan_prefix, plan_shapes
from models.formats.sizes import Shapes, unet_sizes
from models.formats.weights import WeightFile
from models.unet import UNetSizes

MARKER = "lora_controlnet"
DIFFERENCE = "difference"  # marks ControlNets for ControlNet's web extension that are to be added to a checkpoint
LDM_PREFIX = "control_model."

_TASKS = "task_embedding"  # of a union ControlNet
_FIXED = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OTHER = "Use an SDXL ControlNet or Control-LoRA."


@dataclass(frozen=True)
class ControlFile:
    """What a file is. sizes: None for a Control-LoRA, whose encoder is the checkpoint's; hints: see ControlNetSizes."""

    path: Path
    plan: Plan
    hints: tuple[tuple[int, int], ...]
    sizes: ControlNetSizes | None


def read_control_file(path: str | Path) -> ControlFile:
    """Read names and shapes of a ControlNet or Control-LoRA. Raises BadModelFile."""
    path = Path(path)
    with open_either(path, wrappers=("state_dict",)) as file:
        try:
            if MARKER in file.tensors:
                plan = plan_prefix(file, "")
                return ControlFile(path, plan, _hints(plan_shapes(file, plan)), None)
            plan = _plan(file)
            shapes = plan_shapes(file, plan)
            hints = _hints(shapes)
            return ControlFile(path, plan, hints, ControlNetSizes(_encoder_sizes(shapes), hints, _union(shapes)))
        except KeyError as error:
            fault = f"lacks the tensor {error.args[0]}"
            raise BadModelFile(path, fault, "The file is damaged or another architecture.") from error


def _plan(file: WeightFile) -> Plan:
    names = file.tensors
    if DIFFERENCE in names:
        raise BadModelFile(file.path, "holds differences to an SD 1.x model", _OTHER)
    if "controlnet_cond_embedding.conv_in.weight" in names:
        plan = _plan_diffusers(file)
    else:
        prefix = LDM_PREFIX if any(name.startswith(LDM_PREFIX) for name in names) else ""
        plan = plan_prefix(file, prefix)
    if "input_hint_block.0.weight" not in plan:
        kind = kind_of(names)
        fault = f"is {kind.name if kind else 'something unknown'}, not a ControlNet"
        raise BadModelFile(file.path, fault, kind.remedy if kind else _OTHER)
    if "label_emb.0.0.weight" not in plan:
        raise BadModelFile(file.path, "is a ControlNet for SD 1.x or 2.x, not for SDXL", _OTHER)
    return plan


def _plan_diffusers(file: WeightFile) -> Plan:
    per_level = _count(file, r"down_blocks\.0\.resnets\.(\d+)\.")
    hint_blocks = _count(file, r"controlnet_cond_embedding\.blocks\.(\d+)\.")
    return {ldm_name(name, per_level, hint_blocks): Source(name) for name in file.tensors}


def _count(file: WeightFile, pattern: str) -> int:
    found = (re.match(pattern, name) for name in file.tensors)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def ldm_name(name: str, per_level: int, hint_blocks: int) -> str:
    """Translate a parameter's name.

    per_level: residual blocks per level, after which LDM counts the halving as one more. hint_blocks: convolutions on
    the picture between the first and the last.
    """
    module, _, leaf = name.rpartition(".")
    for theirs, ours in _FIXED.items():
        if module == theirs or module.startswith(f"{theirs}."):
            return f"{_inside(ours, module[len(theirs) + 1 :])}.{leaf}"
    if match := re.fullmatch(r"controlnet_cond_embedding\.blocks\.(\d+)", module):
        return f"input_hint_block.{2 * int(match[1]) + 2}.{leaf}"
    if module == "controlnet_cond_embedding.conv_out":
        return f"input_hint_block.{2 * hint_blocks + 2}.{leaf}"
    if match := re.fullmatch(r"controlnet_down_blocks\.(\d+)", module):
        return f"zero_convs.{match[1]}.0.{leaf}"
    if match := re.match(r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.", f"{module}."):
        number = 1 + int(match[1]) * (per_level + 1) + int(match[3])
        stage = 0 if match[2] == "resnets" else 1
        return f"{_inside(f'input_blocks.{number}.{stage}', module[match.end() :])}.{leaf}"
    if match := re.fullmatch(r"down_blocks\.(\d+)\.downsamplers\.0\.conv", module):
        return f"input_blocks.{(int(match[1]) + 1) * (per_level + 1)}.0.op.{leaf}"
    return name


def _inside(block: str, inner: str) -> str:
    return f"{block}.{_RESIDUAL.get(inner, inner)}" if inner else block


def _encoder_sizes(shapes: Shapes) -> UNetSizes:
    stem = shapes["input_blocks.0.0.weight"]
    return unet_sizes({**shapes, "out.2.weight": stem})  # a ControlNet has no decoder to read sizes of


def _hints(shapes: Shapes) -> tuple[tuple[int, int], ...]:
    """Channels of the convolutions on the picture; every second module is an activation."""
    found: list[tuple[int, int]] = []
    while shape := shapes.get(f"input_hint_block.{2 * len(found)}.weight"):
        found.append((shape[1], shape[0]))
    if not found:
        raise KeyError("input_hint_block.0.weight")
    return tuple(found)


def _union(shapes: Shapes) -> UnionSizes | None:
    """The sizes of what a union ControlNet has besides; None for another one."""
    if _TASKS not in shapes:
        return None
    types = shapes[_TASKS][0]
    layers = 0
    while f"transformer_layes.{layers}.ln_1.weight" in shapes:
        layers += 1
    hidden = shapes["transformer_layes.0.mlp.c_fc.weight"][0]
    return UnionSizes(types, layers, hidden, shapes["control_add_embedding.linear_1.weight"][1] // types)
