"""OpenCLIP's names (bigG in SDXL files) → the names of `models.clip`."""

import re
from collections.abc import Iterable

from models.formats.plan import Plan, Source

_FIXED = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_IN_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)$")


def plan_open_clip(names: Iterable[str], prefix: str) -> Plan:
    """Return where each parameter of a text encoder is found among a file's OpenCLIP names.

    in_proj is split into q, k and v; the projection, stored as x·P, is transposed into a matrix. logit_scale is not
    needed.
    """
    plan: Plan = {}
    for name in names:
        if name.startswith(prefix):
            plan.update(_sources(name, name[len(prefix) :]))
    return plan


def _sources(name: str, bare: str) -> Plan:
    if bare == "text_projection":
        return {"text_projection.weight": Source(name, transpose=True)}
    if bare == "text_projection.weight":
        return {bare: Source(name)}
    if bare in _FIXED:
        return {_FIXED[bare]: Source(name)}
    match = _LAYER.match(bare)
    if not match:
        return {}
    layer, place, leaf = match.groups()
    if place == "attn.in_proj":
        parts = enumerate(("q_proj", "k_proj", "v_proj"))
        return {f"encoder.layers.{layer}.self_attn.{part}.{leaf}": Source(name, third=i) for i, part in parts}
    if place not in _IN_LAYER:
        return {}
    return {f"encoder.layers.{layer}.{_IN_LAYER[place]}.{leaf}": Source(name)}
