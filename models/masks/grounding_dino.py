"""GroundingDINO: words and a picture to boxes (Liu et al. 2023, https://arxiv.org/abs/2303.05499).

The checkpoint is its authors' (groundingdino_swint_ogc.pth), the module is transformers'. Sizes are read from the
tensors. Which boxes count, and what the words become, is Fooocus behaviour §5.9.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.errors import BadModelFile, ModelError
from models.files.image import to_uint8
from models.formats.pickled import open_either
from models.formats.plan import Plan, Source
from models.formats.weights import WeightFile
from models.masks.borrowed import borrow, count, transformers
from models.masks.boxes import Boxes
from models.memory import Residency, Resident
from models.text.wordpiece import SEPARATOR, START, WordPiece, read_vocabulary

WRAPPERS = ("model",)
PREFIX = "module."  # of files saved from several GPUs
HEADS = 8  # of the transformer's attention; not to be seen in the tensors
TEXT_HEAD_WIDTH = 64  # BERT's
MAX_TOKENS = 256
SHORT_PX, LONG_PX = 800, 1333  # pictures are scaled to a shorter side of 800, unless the longer one then passes 1333
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
BETWEEN_PHRASES = (".", "?")

SWIN, TRANSFORMER = "model.backbone.conv_encoder.model", "model"
# Names of the authors → names of transformers. `{part}` stands for q, k, v of a fused projection.
RENAMES: tuple[tuple[str, str], ...] = (
    (r"^backbone\.0\.patch_embed\.proj\.", f"{SWIN}.swin.embeddings.patch_embeddings.projection."),
    (r"^backbone\.0\.patch_embed\.norm\.", f"{SWIN}.swin.embeddings.norm."),
    (r"^backbone\.0\.layers\.(\d+)\.downsample\.", rf"{SWIN}.swin.encoder.layers.\1.downsample."),
    (
        r"^backbone\.0\.layers\.(\d+)\.blocks\.(\d+)\.norm1\.",
        rf"{SWIN}.swin.encoder.layers.\1.blocks.\2.layernorm_before.",
    ),
    (
        r"^backbone\.0\.layers\.(\d+)\.blocks\.(\d+)\.norm2\.",
        rf"{SWIN}.swin.encoder.layers.\1.blocks.\2.layernorm_after.",
    ),
    (r"^backbone\.0\.layers\.(\d+)\.blocks\.(\d+)\.mlp\.", rf"{SWIN}.swin.encoder.layers.\1.blocks.\2.mlp."),
    (
        r"^backbone\.0\.layers\.(\d+)\.blocks\.(\d+)\.attn\.proj\.",
        rf"{SWIN}.swin.encoder.layers.\1.blocks.\2.attention.o_proj.",
    ),
    (
        r"^backbone\.0\.layers\.(\d+)\.blocks\.(\d+)\.attn\.qkv\.",
        rf"{SWIN}.swin.encoder.layers.\1.blocks.\2.attention.{{part}}_proj.",
    ),
    (
        r"^backbone\.0\.layers\.(\d+)\.blocks\.(\d+)\.attn\.(relative_position_\w+)$",
        rf"{SWIN}.swin.encoder.layers.\1.blocks.\2.attention.relative_position_bias.\3",
    ),
    (r"^input_proj\.", f"{TRANSFORMER}.input_proj_vision."),
    (r"^feat_map\.", f"{TRANSFORMER}.text_projection."),
    (r"^bert\.", f"{TRANSFORMER}.text_backbone."),
    (r"^transformer\.level_embed$", f"{TRANSFORMER}.level_embed"),
    (r"^transformer\.tgt_embed\.", f"{TRANSFORMER}.query_position_embeddings."),
    (r"^transformer\.enc_output", f"{TRANSFORMER}.enc_output"),
    (r"^transformer\.enc_out_bbox_embed\.", f"{TRANSFORMER}.encoder_output_bbox_embed."),
    (r"^transformer\.encoder\.layers\.(\d+)\.", rf"{TRANSFORMER}.encoder.layers.\1.deformable_layer."),
    (r"^transformer\.encoder\.text_layers\.(\d+)\.", rf"{TRANSFORMER}.encoder.layers.\1.text_enhancer_layer."),
    (r"^transformer\.encoder\.fusion_layers\.(\d+)\.", rf"{TRANSFORMER}.encoder.layers.\1.fusion_layer."),
    (r"^transformer\.decoder\.norm\.", f"{TRANSFORMER}.decoder.layer_norm."),
    (r"^transformer\.decoder\.ref_point_head\.", f"{TRANSFORMER}.decoder.reference_points_head."),
    (r"^transformer\.decoder\.", f"{TRANSFORMER}.decoder."),
    # inside the transformer's layers
    (r"(text_enhancer_layer)\.norm1\.", r"\1.layer_norm_before."),
    (r"(text_enhancer_layer)\.norm2\.", r"\1.layer_norm_after."),
    (r"(deformable_layer)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(deformable_layer)\.norm2\.", r"\1.final_layer_norm."),
    (r"(decoder\.layers\.\d+)\.norm1\.", r"\1.encoder_attn_layer_norm."),
    (r"(decoder\.layers\.\d+)\.catext_norm\.", r"\1.encoder_attn_text_layer_norm."),
    (r"(decoder\.layers\.\d+)\.norm2\.", r"\1.self_attn_layer_norm."),
    (r"(decoder\.layers\.\d+)\.norm3\.", r"\1.final_layer_norm."),
    (r"(decoder\.layers\.\d+)\.cross_attn\.", r"\1.encoder_attn."),
    (r"(decoder\.layers\.\d+)\.ca_text\.", r"\1.encoder_attn_text."),
    (r"(?<=\.)linear([12])\.", r"fc\1."),
    (r"\.in_proj_(weight|bias)$", r".{part}.\1"),
    (r"\.gamma_v$", ".vision_param"),
    (r"\.gamma_l$", ".text_param"),
    (r"\.layer_norm_v\.", ".layer_norm_vision."),
    (r"\.layer_norm_l\.", ".layer_norm_text."),
    (r"\.(values_|out_)?v_proj\.", r".\1vision_proj."),
    (r"\.(values_|out_)?l_proj\.", r".\1text_proj."),
)
SHORT_PARTS, LONG_PARTS = ("q", "k", "v"), ("query", "key", "value")


class TooManyWords(ModelError):
    """More words than the model reads."""

    code = "too_many_words"


@dataclass(frozen=True)
class GroundingDino:
    """An opened checkpoint with its vocabulary."""

    module: Resident
    words: WordPiece

    def boxes(self, image: Tensor, prompt: str, box_threshold: float, text_threshold: float) -> Boxes:
        """Find what a prompt names in a picture (H, W, 3), 0..1. Raises TooManyWords.

        A box counts where its best word is above box_threshold; its phrase is of the words above text_threshold. Boxes
        come in the model's own order.
        """
        pixels = to_uint8(image[..., :3])
        ids = [self.words.id_of(START), *self.words.ids(captioned(prompt)), self.words.id_of(SEPARATOR)]
        if len(ids) > MAX_TOKENS:
            raise TooManyWords("The words to look for are too many.", f"At most {MAX_TOKENS - 2} pieces are read.")
        with self.module.use() as network, torch.inference_mode():
            device = next(network.parameters()).device
            text = torch.tensor([ids], device=device)
            said = network(
                pixel_values=fitted(pixels).to(device),
                input_ids=text,
                token_type_ids=torch.zeros_like(text),
                attention_mask=torch.ones_like(text),
            )
            shares = said.logits[0].float().sigmoid()[:, : len(ids)].cpu()
            found = said.pred_boxes[0].float().cpu()
        chosen = shares.amax(-1) > box_threshold
        height, width = pixels.shape[:2]
        corners = cornered(found[chosen]) * torch.tensor([width, height, width, height])
        phrases = tuple(self._phrase(ids, each > text_threshold) for each in shares[chosen])
        return Boxes(corners, shares[chosen].amax(-1), phrases)

    def _phrase(self, ids: list[int], above: Tensor) -> str:
        return self.words.text(number for number, counts in zip(ids, above.tolist(), strict=True) if counts)


def load_grounding_dino(path: str | Path, vocabulary: str | Path, residency: Residency) -> GroundingDino:
    """Open a checkpoint in its authors' layout; weights are read at the first use. Raises BadModelFile."""
    path = Path(path)
    package = transformers()
    words = read_vocabulary(Path(vocabulary))
    with open_either(path, WRAPPERS) as file:
        shapes = {name.removeprefix(PREFIX): info.shape for name, info in file.tensors.items()}
        config = _config(package, path, shapes)
        if config.text_config.vocab_size != words.size:
            fault = f"knows {config.text_config.vocab_size} words, the vocabulary has {words.size}"
            raise BadModelFile(path, fault, "Use the vocab.txt of bert-base-uncased.")
        plan = planned(file.tensors)
    marks = [words.id_of(mark, 0) for mark in (START, SEPARATOR, *BETWEEN_PHRASES)]

    def buffers(name: str, file: WeightFile) -> Tensor:
        if name.endswith("relative_position_index"):
            return plan[name].read(file)
        if name.endswith("special_tokens"):
            return torch.tensor(marks)
        if name.endswith("position_ids"):
            return torch.arange(config.text_config.max_position_embeddings)
        if name.endswith("token_type_ids"):
            return torch.zeros(config.text_config.max_position_embeddings, dtype=torch.int64)
        raise KeyError(name)

    build = lambda: package.GroundingDinoForObjectDetection(config)  # noqa: E731
    module = borrow(path, "grounding_dino", residency, build, plan, buffers, WRAPPERS, also=tuple(marks))
    return GroundingDino(module, words)


def captioned(prompt: str) -> str:
    """Write a prompt as the model was trained to read it: in small letters, with a full stop at the end."""
    text = prompt.lower().strip()
    return text if text.endswith(".") else f"{text}."


def fitted(pixels: np.ndarray) -> Tensor:
    """Scale a picture (H, W, 3) uint8 to the model's size. Returns (1, 3, h, w)."""
    height, width = pixels.shape[:2]
    short, long = min(height, width), max(height, width)
    side = SHORT_PX if long / short * SHORT_PX <= LONG_PX else round(LONG_PX * short / long)
    size = (side, int(side * height / width)) if width < height else (int(side * width / height), side)
    scaled = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    normal = (np.asarray(scaled, dtype=np.float32) / np.float32(255) - MEAN) / DEVIATION
    return torch.from_numpy(normal).permute(2, 0, 1)[None]


def cornered(boxes: Tensor) -> Tensor:
    """(N, 4) as centre, width, height → left, top, right, bottom."""
    centre, size = boxes[:, :2], boxes[:, 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=1)


def planned(names: Any) -> Plan:
    """Which tensor of a file fills which parameter of transformers' module."""
    plan: Plan = {}
    for name in names:
        ours = name.removeprefix(PREFIX)
        for pattern, replacement in RENAMES:
            ours = re.sub(pattern, replacement, ours)
        if "{part}" not in ours:
            plan[ours] = Source(name)
            continue
        for third, part in enumerate(SHORT_PARTS if "{part}_proj" in ours else LONG_PARTS):
            plan[ours.replace("{part}", part)] = Source(name, third=third)
    last = max(
        (int(found[1]) for name in names if (found := re.match(r"(?:module\.)?backbone\.0\.norm(\d+)\.", name))),
        default=0,
    )
    for name in names:
        if found := re.match(r"(?:module\.)?backbone\.0\.norm(\d+)\.(weight|bias)$", name):
            plan[f"{SWIN}.hidden_states_norms.stage{int(found[1]) + 1}.{found[2]}"] = Source(name)
            if int(found[1]) == last:  # the plain Swin's own last norm; nothing that is used here goes through it
                plan[f"{SWIN}.swin.layernorm.{found[2]}"] = Source(name)
    return plan


def _config(package: Any, path: Path, shapes: dict[str, tuple[int, ...]]) -> Any:
    """The sizes of a file, by its names without prefix."""
    try:
        stages = count(shapes, "backbone.0.layers.")
        tables = [
            shapes[f"backbone.0.layers.{stage}.blocks.0.attn.relative_position_bias_table"] for stage in range(stages)
        ]
        swin = package.SwinConfig(
            embed_dim=shapes["backbone.0.patch_embed.proj.weight"][0],
            patch_size=shapes["backbone.0.patch_embed.proj.weight"][2],
            depths=[count(shapes, f"backbone.0.layers.{stage}.blocks.") for stage in range(stages)],
            num_heads=[heads for _, heads in tables],
            window_size=(int(tables[0][0] ** 0.5) + 1) // 2,
            out_indices=[i + 1 for i in range(stages) if f"backbone.0.norm{i}.weight" in shapes],
        )
        width = shapes["bert.embeddings.word_embeddings.weight"][1]
        text = package.BertConfig(
            vocab_size=shapes["bert.embeddings.word_embeddings.weight"][0],
            hidden_size=width,
            num_hidden_layers=count(shapes, "bert.encoder.layer."),
            num_attention_heads=width // TEXT_HEAD_WIDTH,
            intermediate_size=shapes["bert.encoder.layer.0.intermediate.dense.weight"][0],
            max_position_embeddings=shapes["bert.embeddings.position_embeddings.weight"][0],
        )
        levels, d_model = shapes["transformer.level_embed"]

        def points(layer: str) -> int:
            return shapes[f"transformer.{layer}.attention_weights.weight"][0] // (HEADS * levels)

        return package.GroundingDinoConfig(
            backbone_config=swin,
            text_config=text,
            d_model=d_model,
            num_queries=shapes["transformer.tgt_embed.weight"][0],
            num_feature_levels=levels,
            encoder_layers=count(shapes, "transformer.encoder.layers."),
            encoder_ffn_dim=shapes["transformer.encoder.layers.0.linear1.weight"][0],
            encoder_attention_heads=HEADS,
            encoder_n_points=points("encoder.layers.0.self_attn"),
            decoder_layers=count(shapes, "transformer.decoder.layers."),
            decoder_ffn_dim=shapes["transformer.decoder.layers.0.linear1.weight"][0],
            decoder_attention_heads=HEADS,
            decoder_n_points=points("decoder.layers.0.cross_attn"),
            max_text_len=MAX_TOKENS,
            disable_custom_kernels=True,
        )
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        fault = f"is no GroundingDINO checkpoint in its authors' layout ({error})"
        raise BadModelFile(path, fault, "Use groundingdino_swint_ogc.pth.") from error
