"""CLIP image encoders, in transformers' names or OpenCLIP's `visual.…`, and IP-Adapters: names and sizes.

| file | how it is known |
|---|---|
| image encoder, transformers | `vision_model.embeddings.patch_embedding.weight` |
| image encoder, OpenCLIP | `visual.conv1.weight` |
| IP-Adapter plus, plus-face | `image_proj.latents`, `ip_adapter.1.to_k_ip.weight` |
| IP-Adapter | `image_proj.proj.weight`, `ip_adapter.1.to_k_ip.weight` |
"""

import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path

from models.errors import BadModelFile
from models.formats.open_clip import plan_open_clip
from models.formats.pickled import SAFETENSORS, open_either, open_pickled_groups
from models.formats.plan import Plan, Source, plan_shapes
from models.formats.sizes import Shapes
from models.formats.weights import WeightFile
from models.vision.adapter import AdapterSizes, ProjectionSizes, ResamplerSizes
from models.vision.encoder import VisionSizes

HEADS_KEY, ACTIVATION_KEY = "focal.vision_heads", "focal.vision_activation"
PUBLISHED_HEADS = {1280: 16, 1408: 16, 1664: 16}  # ViT-H, -g and -bigG; all others' heads are 64 wide
GELU_LAYERS = 32  # ViT-H and larger were trained with GELU, OpenAI's with its quick approximation

_OPEN_CLIP = "visual."
_OPEN_CLIP_FIXED = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight",
    "ln_post.bias": "vision_model.post_layernorm.bias",
}
_OTHER_ENCODER = "Use a CLIP image encoder such as clip_vision_vit_h.safetensors."
_OTHER_ADAPTER = "Use ip-adapter-plus_sdxl_vit-h or ip-adapter-plus-face_sdxl_vit-h."
_DAMAGED = "The file is damaged or another architecture."


def open_vision(path: str | Path) -> WeightFile:
    """Open an image encoder's file. Raises BadModelFile."""
    return open_either(path, wrappers=("state_dict",))


def plan_vision(file: WeightFile) -> tuple[VisionSizes, Plan]:
    """Say which tensor fills which parameter of a VisionEncoder, and how large that is. Raises BadModelFile."""
    if "vision_model.embeddings.patch_embedding.weight" in file.tensors:
        plan: Plan = {name: Source(name) for name in file.tensors}
    elif "visual.conv1.weight" in file.tensors:
        plan = _plan_open_clip(file)
    else:
        raise BadModelFile(file.path, "is no CLIP image encoder", _OTHER_ENCODER)
    try:
        return _vision_sizes(plan_shapes(file, plan), file.metadata), plan
    except KeyError as error:
        raise BadModelFile(file.path, f"lacks the tensor {error.args[0]}", _DAMAGED) from error


def _plan_open_clip(file: WeightFile) -> Plan:
    layers = plan_open_clip(file.tensors, _OPEN_CLIP)
    plan: Plan = {f"vision_model.{name}": source for name, source in layers.items() if name.startswith("encoder.")}
    for theirs, ours in _OPEN_CLIP_FIXED.items():
        if _OPEN_CLIP + theirs in file.tensors:
            plan[ours] = Source(_OPEN_CLIP + theirs)
    if "visual.proj" in file.tensors:
        plan["visual_projection.weight"] = Source("visual.proj", transpose=True)
    return plan


def _vision_sizes(shapes: Shapes, metadata: Mapping[str, str]) -> VisionSizes:
    width, _, patch, _ = shapes["vision_model.embeddings.patch_embedding.weight"]
    layers = count(shapes, r"vision_model\.encoder\.layers\.(\d+)\.")
    positions = shapes["vision_model.embeddings.position_embedding.weight"][0]
    heads = int(metadata.get(HEADS_KEY, 0)) or PUBLISHED_HEADS.get(width) or max(1, width // 64)
    gelu = layers >= GELU_LAYERS
    if ACTIVATION_KEY in metadata:
        gelu = metadata[ACTIVATION_KEY] == "gelu"
    return VisionSizes(
        width=width,
        layers=layers,
        hidden=shapes["vision_model.encoder.layers.0.mlp.fc1.weight"][0],
        patch=patch,
        image=isqrt(positions - 1) * patch,
        projection=shapes["visual_projection.weight"][0],
        heads=heads,
        activation="gelu" if gelu else "quick_gelu",
    )


def open_adapter(path: str | Path) -> WeightFile:
    """Open an IP-Adapter: flat safetensors, or a pickled dict of the groups `image_proj` and `ip_adapter`."""
    path = Path(path)
    if path.suffix.lower() in SAFETENSORS:
        return open_either(path)
    return open_pickled_groups(path, ("image_proj", "ip_adapter"))


def plan_adapter(file: WeightFile) -> tuple[AdapterSizes, Plan]:
    """Say which tensor fills which parameter of an Adapter, and how large that is. Raises BadModelFile."""
    numbers = sorted({int(match[1]) for name in file.tensors if (match := _KEY_VALUE.fullmatch(name))})
    _refuse_others(file, bool(numbers))
    plan: Plan = {name: Source(name) for name in file.tensors if name.startswith("image_proj.")}
    for place, number in enumerate(numbers):  # 1, 3, 5, …: every second attention of the UNet is a cross-attention
        for leaf in ("to_k_ip.weight", "to_v_ip.weight"):
            plan[f"ip_adapter.{place}.{leaf}"] = Source(f"ip_adapter.{number}.{leaf}")
    try:
        return _adapter_sizes(plan_shapes(file, plan), len(numbers)), plan
    except KeyError as error:
        raise BadModelFile(file.path, f"lacks the tensor {error.args[0]}", _DAMAGED) from error


_KEY_VALUE = re.compile(r"ip_adapter\.(\d+)\.to_[kv]_ip\.weight")


def _refuse_others(file: WeightFile, has_attention: bool) -> None:
    names = file.tensors
    if any("to_q_lora" in name or name.startswith("image_proj.perceiver_resampler.") for name in names):
        raise BadModelFile(file.path, "is a FaceID adapter, which needs a face-recognition model", _OTHER_ADAPTER)
    if not has_attention:
        raise BadModelFile(file.path, "is no IP-Adapter", _OTHER_ADAPTER)
    if "image_proj.latents" not in names and "image_proj.proj.weight" not in names:
        raise BadModelFile(file.path, "is a kind of IP-Adapter that Focal does not know", _OTHER_ADAPTER)


def _adapter_sizes(shapes: Shapes, layers: int) -> AdapterSizes:
    keys = [shapes[f"ip_adapter.{place}.to_k_ip.weight"] for place in range(layers)]
    image = _resampler_sizes(shapes) if "image_proj.latents" in shapes else _projection_sizes(shapes)
    return AdapterSizes(image=image, context=keys[0][1], widths=tuple(shape[0] for shape in keys))


def _projection_sizes(shapes: Shapes) -> ProjectionSizes:
    rows, features = shapes["image_proj.proj.weight"]
    output = shapes["image_proj.norm.weight"][0]
    return ProjectionSizes(features=features, tokens=rows // output, output=output)


def _resampler_sizes(shapes: Shapes) -> ResamplerSizes:
    _, tokens, width = shapes["image_proj.latents"]
    return ResamplerSizes(
        features=shapes["image_proj.proj_in.weight"][1],
        width=width,
        tokens=tokens,
        depth=count(shapes, r"image_proj\.layers\.(\d+)\."),
        inner=shapes["image_proj.layers.0.0.to_q.weight"][0],
        hidden=shapes["image_proj.layers.0.1.1.weight"][0],
        output=shapes["image_proj.proj_out.weight"][0],
    )


def count(shapes: Shapes, pattern: str) -> int:
    """Return one more than the highest number that the pattern finds in a name."""
    found = (re.match(pattern, name) for name in shapes)
    return max((int(match[1]) + 1 for match in found if match), default=0)
