"""The files of BLIP's captioner: its authors' names and transformers', brought to those of `blip.py`; sizes.

| layout | the first attention of the picture's encoder | where |
|---|---|---|
| original (`model_base_caption_capfilt…`) | `visual_encoder.blocks.0.attn.qkv.weight` | under the key `model` |
| transformers (`BlipForConditionalGeneration`) | `vision_model.encoder.layers.0.self_attn.qkv.weight` | at the top |

The text decoder has the same names in both.
"""

import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path

from models.describe.blip import BlipSizes
from models.errors import BadModelFile
from models.formats.pickled import open_either
from models.formats.plan import Plan, Source, plan_shapes
from models.formats.weights import WeightFile

WRAPPERS = ("model",)
ORIGINAL_EPS, TRANSFORMERS_EPS = 1e-6, 1e-5  # of the picture's norms; not in the tensors
_HINT = "BLIP's captioner can be used, base or large: model_base_caption_capfilt_large.pth, blip-image-captioning-base."

Shapes = Mapping[str, tuple[int, ...]]

_NUMBER = re.compile(r"\.(\d+)\.")
_LEAVES = (".weight", ".bias")
# A file's name → ours, without `.weight` and `.bias`; {} is the number of a layer.
_TEXT = {
    "text_decoder.bert.embeddings.word_embeddings": "text.words",
    "text_decoder.bert.embeddings.position_embeddings": "text.positions",
    "text_decoder.bert.embeddings.LayerNorm": "text.norm",
    **{
        f"text_decoder.bert.encoder.layer.{{}}.{theirs}": f"text.layers.{{}}.{ours}"
        for attention, ours_too in (("attention", "attention"), ("crossattention", "cross"))
        for theirs, ours in (
            *((f"{attention}.self.{part}", f"{ours_too}.{part}") for part in ("query", "key", "value")),
            (f"{attention}.output.dense", f"{ours_too}.out"),
            (f"{attention}.output.LayerNorm", f"{ours_too}.norm"),
        )
    },
    "text_decoder.bert.encoder.layer.{}.intermediate.dense": "text.layers.{}.grow",
    "text_decoder.bert.encoder.layer.{}.output.dense": "text.layers.{}.shrink",
    "text_decoder.bert.encoder.layer.{}.output.LayerNorm": "text.layers.{}.norm",
    "text_decoder.cls.predictions.transform.dense": "text.transform",
    "text_decoder.cls.predictions.transform.LayerNorm": "text.transform_norm",
    "text_decoder.cls.predictions.decoder": "text.decoder",
}
ORIGINAL = _TEXT | {
    "visual_encoder.cls_token": "vision.cls",
    "visual_encoder.pos_embed": "vision.positions",
    "visual_encoder.patch_embed.proj": "vision.patches",
    "visual_encoder.blocks.{}.norm1": "vision.blocks.{}.norm1",
    "visual_encoder.blocks.{}.attn.qkv": "vision.blocks.{}.qkv",
    "visual_encoder.blocks.{}.attn.proj": "vision.blocks.{}.proj",
    "visual_encoder.blocks.{}.norm2": "vision.blocks.{}.norm2",
    "visual_encoder.blocks.{}.mlp.fc1": "vision.blocks.{}.fc1",
    "visual_encoder.blocks.{}.mlp.fc2": "vision.blocks.{}.fc2",
    "visual_encoder.norm": "vision.norm",
}
TRANSFORMERS = _TEXT | {
    "vision_model.embeddings.class_embedding": "vision.cls",
    "vision_model.embeddings.position_embedding": "vision.positions",
    "vision_model.embeddings.patch_embedding": "vision.patches",
    "vision_model.encoder.layers.{}.layer_norm1": "vision.blocks.{}.norm1",
    "vision_model.encoder.layers.{}.self_attn.qkv": "vision.blocks.{}.qkv",
    "vision_model.encoder.layers.{}.self_attn.projection": "vision.blocks.{}.proj",
    "vision_model.encoder.layers.{}.layer_norm2": "vision.blocks.{}.norm2",
    "vision_model.encoder.layers.{}.mlp.fc1": "vision.blocks.{}.fc1",
    "vision_model.encoder.layers.{}.mlp.fc2": "vision.blocks.{}.fc2",
    "vision_model.post_layernorm": "vision.norm",
}
_HEAD_BIAS = "text_decoder.cls.predictions.bias"  # one tensor with decoder.bias; some files have only this name


def open_captioner(path: str | Path) -> WeightFile:
    """Open a captioner's file of either layout. Raises BadModelFile."""
    return open_either(path, WRAPPERS)


def plan_blip(file: WeightFile) -> tuple[BlipSizes, Plan]:
    """Say which tensor fills which parameter of a Blip, and how large that is.

    Raises BadModelFile for another architecture or missing parts.
    """
    original = "visual_encoder.cls_token" in file.tensors
    names = ORIGINAL if original else TRANSFORMERS
    renamed = {renamed_by(names, name): name for name in file.tensors}
    plan: Plan = {target: Source(name) for target, name in renamed.items() if target is not None}
    if _HEAD_BIAS in file.tensors:
        plan.setdefault("text.decoder.bias", Source(_HEAD_BIAS))
    if "vision.patches.weight" not in plan or "text.words.weight" not in plan:
        raise BadModelFile(file.path, "is no captioner that Focal knows", _HINT)
    plan.setdefault("text.decoder.weight", plan["text.words.weight"])  # tied: transformers writes it once
    try:
        return _sizes(plan_shapes(file, plan), ORIGINAL_EPS if original else TRANSFORMERS_EPS), plan
    except (KeyError, ValueError, IndexError) as error:
        raise BadModelFile(
            file.path, "lacks parts of a captioner", "The file is damaged; download it again."
        ) from error


def renamed_by(names: Mapping[str, str], name: str) -> str | None:
    """One tensor's name by a table like `ORIGINAL`, None for a name that is not in it."""
    number = _NUMBER.search(name)
    template = _NUMBER.sub(".{}.", name, count=1)
    stem, leaf = next(((template.removesuffix(end), end) for end in _LEAVES if template.endswith(end)), (template, ""))
    target = names.get(stem)
    return None if target is None else target.format(number[1] if number else "") + leaf


def _sizes(shapes: Shapes, eps: float) -> BlipSizes:
    vision_width, _, patch, _ = shapes["vision.patches.weight"]
    vocabulary, text_width = shapes["text.words.weight"]
    return BlipSizes(
        vision_width=vision_width,
        vision_layers=_count(shapes, "vision.blocks."),
        vision_hidden=shapes["vision.blocks.0.fc1.weight"][0],
        patch=patch,
        grid=isqrt(shapes["vision.positions"][1] - 1),
        text_width=text_width,
        text_layers=_count(shapes, "text.layers."),
        text_hidden=shapes["text.layers.0.grow.weight"][0],
        vocabulary=vocabulary,
        positions=shapes["text.positions.weight"][0],
        vision_eps=eps,
    )


def _count(shapes: Shapes, prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)})
