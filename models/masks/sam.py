"""Segment Anything: boxes in a picture to what fills them (Kirillov et al. 2023, https://arxiv.org/abs/2304.02643).

The checkpoints are its authors' (sam_vit_b, _l, _h), the module is transformers'. Sizes are read from the tensors.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from models.errors import BadModelFile
from models.files.image import to_uint8
from models.formats.pickled import open_either
from models.formats.plan import Source
from models.formats.weights import WeightFile
from models.masks.borrowed import borrow, count, transformers
from models.memory import Residency, Resident

HEADS = 8  # of the mask decoder's attention; not to be seen in the tensors
MEAN = np.array([123.675, 116.28, 103.53], np.float32)  # of ImageNet, in 8-bit values
DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)
BOXES_AT_ONCE = 16
SMALLEST_HOLE_PX = 400

POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
# Names of the authors → names of transformers, one after the other.
RENAMES: tuple[tuple[str, str], ...] = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"\.norm(\d|_final_attn)\.", r".layer_norm\1."),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.1\.", r"\1.layers.0."),
    (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.2\.", r"\1.proj_out."),
)


@dataclass(frozen=True)
class Sam:
    """An opened checkpoint. side_px: of the square that the picture encoder sees."""

    module: Resident
    side_px: int

    def masks(self, image: Tensor, boxes: Tensor, report: Callable[[float, float], None] | None = None) -> np.ndarray:
        """What fills each box of a picture (H, W, 3), 0..1. boxes: (N, 4), left, top, right, bottom in pixels.

        Returns (N, H, W) bool, holes of fewer than 400 pixels filled.
        """
        pixels = to_uint8(image[..., :3])
        height, width = pixels.shape[:2]
        square, scale = fitted(pixels, self.side_px)
        found = []
        with self.module.use() as network, torch.inference_mode():
            device = next(network.parameters()).device
            seen = network.get_image_embeddings(square.to(device))
            for batch in boxes.split(BOXES_AT_ONCE):
                asked = (batch * scale)[None].to(device)
                said = network(image_embeddings=seen, input_boxes=asked, multimask_output=False).pred_masks[0]
                found.append(_full_size(said.float().cpu(), self.side_px, scale, height, width) > 0)
                if report is not None:
                    report(sum(map(len, found)), len(boxes))
        return np.stack([without_holes(mask.numpy()) for mask in torch.cat(found)])


def load_sam(path: str | Path, residency: Residency) -> Sam:
    """Open a checkpoint in its authors' layout; weights are read at the first use. Raises BadModelFile."""
    path = Path(path)
    package = transformers()
    with open_either(path) as file:
        config, side_px = _config(package, file)
        plan = {renamed(name): Source(name) for name in file.tensors}
    for place in ("shared_image_embedding", "prompt_encoder.shared_embedding"):
        plan[f"{place}.positional_embedding"] = Source(POSITIONS)
    return Sam(borrow(path, "sam", residency, lambda: package.SamModel(config), plan), side_px)


def renamed(name: str) -> str:
    """The name that a tensor of the authors' layout has in transformers."""
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def fitted(pixels: np.ndarray, side_px: int) -> tuple[Tensor, float]:
    """Scale a picture (H, W, 3) uint8 so that its longer side fits; pad it. Gives (1, 3, side, side) and the scale."""
    height, width = pixels.shape[:2]
    scale = side_px / max(height, width)
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    normal = torch.from_numpy((small - MEAN) / DEVIATION).permute(2, 0, 1)
    return F.pad(normal, (0, side_px - size[0], 0, side_px - size[1]))[None], scale


def without_holes(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of a mask (H, W) bool that have fewer than 400 pixels, corners joined."""
    labels, _ = ndimage.label(~mask, structure=np.ones((3, 3)))  # type: ignore[misc]
    sizes = np.bincount(labels.ravel())
    small = np.flatnonzero(sizes < SMALLEST_HOLE_PX)
    return mask | np.isin(labels, small[small > 0])


def _full_size(logits: Tensor, side_px: int, scale: float, height: int, width: int) -> Tensor:
    """(N, 1, h, w) of the padded square → (N, H, W) of the picture."""
    square = F.interpolate(logits, (side_px, side_px), mode="bilinear", align_corners=False)
    inner = square[..., : int(height * scale + 0.5), : int(width * scale + 0.5)]
    return F.interpolate(inner, (height, width), mode="bilinear", align_corners=False)[:, 0]


def _config(package: Any, file: WeightFile) -> tuple[Any, int]:
    """The sizes of a file, and the side of the square."""
    shapes = {name: info.shape for name, info in file.tensors.items()}
    try:
        width, _, _, patch = shapes["image_encoder.patch_embed.proj.weight"]
        grid = shapes["image_encoder.pos_embed"][1]
        depth = count(shapes, "image_encoder.blocks.")
        reach = [shapes[f"image_encoder.blocks.{i}.attn.rel_pos_h"] for i in range(depth)]
        decoder = shapes["mask_decoder.iou_token.weight"][1]
        vision = {
            "hidden_size": width,
            "output_channels": shapes["image_encoder.neck.0.weight"][0],
            "num_hidden_layers": depth,
            "num_attention_heads": width // reach[0][1],
            "image_size": grid * patch,
            "patch_size": patch,
            "window_size": (min(length for length, _ in reach) + 1) // 2,
            "global_attn_indexes": [i for i, (length, _) in enumerate(reach) if length == 2 * grid - 1],
            "num_pos_feats": shapes[POSITIONS][1],
            "mlp_dim": shapes["image_encoder.blocks.0.mlp.lin1.weight"][0],
        }
        prompt = {
            "hidden_size": decoder,
            "image_size": grid * patch,
            "patch_size": patch,
            "mask_input_channels": shapes["prompt_encoder.mask_downscaling.3.weight"][0],
        }
        attention = "mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight"
        mask = {
            "hidden_size": decoder,
            "mlp_dim": shapes["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0],
            "num_hidden_layers": count(shapes, "mask_decoder.transformer.layers."),
            "num_attention_heads": HEADS,
            "layer_norm_eps": 1e-5,
            "attention_downsample_rate": decoder // shapes[attention][0],
            "num_multimask_outputs": shapes["mask_decoder.mask_tokens.weight"][0] - 1,
            "iou_head_hidden_dim": shapes["mask_decoder.iou_prediction_head.layers.0.weight"][0],
        }
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        fault = f"is no Segment Anything checkpoint in its authors' layout ({error})"
        raise BadModelFile(file.path, fault, "Use sam_vit_b_01ec64.pth, or the files of vit_l or vit_h.") from error
    config = package.SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=mask)
    return config, grid * patch
