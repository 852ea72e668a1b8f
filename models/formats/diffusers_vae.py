"""diffusers' names of a VAE → LDM's."""

import re

from models.formats.plan import Plan, Source, plan_prefix
from models.formats.weights import WeightFile

_PREFIXES = ("first_stage_model.", "vae.", "")
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OLD_ATTENTION = {"query": "q", "key": "k", "value": "v", "proj_attn": "proj_out"}  # diffusers < 0.18


def plan_vae(file: WeightFile) -> Plan:
    """Return where a VAE's parameters are in its own file or a checkpoint; an empty plan when there is no VAE."""
    for prefix in _PREFIXES:
        if f"{prefix}decoder.conv_in.weight" not in file.tensors:
            continue
        plan = plan_prefix(file, prefix)
        if any(name.startswith("decoder.up_blocks.") for name in plan):
            levels = sum(
                bool(re.fullmatch(r"decoder\.up_blocks\.\d+\.resnets\.0\.conv1\.weight", name)) for name in plan
            )
            return {ldm_name(name, levels): Source(source.name) for name, source in plan.items()}
        return plan
    return {}


def ldm_name(name: str, levels: int) -> str:
    """Translate one parameter's name. LDM counts the decoder's levels from the finest, diffusers from the coarsest."""
    name = name.replace("conv_norm_out", "norm_out")
    name = re.sub(r"mid_block\.attentions\.0\.(.+)\.", lambda m: f"mid.attn_1.{_attention(m[1])}.", name)
    name = re.sub(r"mid_block\.resnets\.(\d)\.", lambda m: f"mid.block_{int(m[1]) + 1}.", name)
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{levels - 1 - int(m[1])}.block.", name)
    name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"up.{levels - 1 - int(m[1])}.upsample.", name)
    return name.replace("conv_shortcut", "nin_shortcut")


def _attention(place: str) -> str:
    return _ATTENTION.get(place) or _OLD_ATTENTION.get(place) or place
