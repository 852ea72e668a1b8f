"""Networks that make masks: u2net at its published width, Segment Anything in three sizes, GroundingDINO.

Names of the last two are those that the authors' packages gave at a small size (tests/parity/masks_recorded.json),
brought to the published sizes; the number of their parameters must be that of transformers' published configuration.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection, SamConfig, SamModel

from benchmarks.full_size.describe import vocabulary
from benchmarks.full_size.proof import Bench, Failure, Proof, bring
from benchmarks.full_size.writing import Shapes, tensors
from models.masks.grounding_dino import load_grounding_dino
from models.masks.sam import load_sam
from models.masks.u2net import open_mask_network
from tests.parity.original_masks import RECORDED, relative_positions

U2NET, DINO = "u2net.onnx", "groundingdino_swint_ogc.pth"

# ------------------------------------------------------------------------------------------------ u2net

# U²-Net's blocks, Qin et al. 2020, table 1: levels, channels in, inside, out. Level 0: dilated, without pooling.
ENCODER = ((7, 3, 32, 64), (6, 64, 32, 128), (5, 128, 64, 256), (4, 256, 128, 512), (0, 512, 256, 512))
DEEPEST = (0, 512, 256, 512)
DECODER = ((0, 1024, 256, 512), (4, 1024, 128, 256), (5, 512, 64, 128), (6, 256, 32, 64), (7, 128, 16, 64))


def conv(into: int, out: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 3, padding=dilation, dilation=dilation), nn.BatchNorm2d(out), nn.ReLU())


def enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=(int(like.shape[-2]), int(like.shape[-1])), mode="bilinear")


class Block(nn.Module):
    """The paper's RSU, figure 2 (e); with 0 levels RSU-4F, which dilates in place of pooling."""

    def __init__(self, levels: int, into: int, inside: int, out: int) -> None:
        super().__init__()
        self.pools = levels > 0
        levels = levels or 4
        dilations = [1] * (levels - 1) if self.pools else [1, 2, 4]
        self.entry = conv(into, out)
        self.down = nn.ModuleList(conv(out if n == 0 else inside, inside, d) for n, d in enumerate(dilations))
        self.bottom = conv(inside, inside, 2 if self.pools else 8)
        self.up = nn.ModuleList(conv(2 * inside, out if n == 0 else inside, d) for n, d in enumerate(dilations))

    def forward(self, x: Tensor) -> Tensor:
        level = entered = self.entry(x)
        kept: list[Tensor] = []
        for layer in self.down:
            level = layer(F.max_pool2d(level, 2, ceil_mode=True) if kept and self.pools else level)
            kept.append(level)
        level = self.bottom(level)
        for layer in reversed(self.up):
            level = layer(torch.cat([enlarged(level, kept[-1]), kept.pop()], dim=1))
        return level + entered


class U2Net(nn.Module):
    """(B, 3, 320, 320) → seven masks of that size, the joined one first."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(Block(*sizes) for sizes in (*ENCODER, DEEPEST))
        self.up = nn.ModuleList(Block(*sizes) for sizes in DECODER)
        outs = [DEEPEST[-1], *(sizes[-1] for sizes in DECODER)]
        self.sides = nn.ModuleList(nn.Conv2d(out, 1, 3, padding=1) for out in outs)
        self.joined = nn.Conv2d(6, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        kept: list[Tensor] = []
        level = x
        for block in self.down:
            level = block(F.max_pool2d(level, 2, ceil_mode=True) if kept else level)
            kept.append(level)
        levels = [kept.pop()]
        for block in self.up:
            levels.append(block(torch.cat([enlarged(levels[-1], kept[-1]), kept.pop()], dim=1)))
        masks = [enlarged(side(found), x) for side, found in zip(self.sides, levels, strict=True)][::-1]
        return tuple(mask.sigmoid() for mask in (self.joined(torch.cat(masks, dim=1)), *masks))


def write_u2net(path: Path) -> None:
    """176 MB, as the published file has."""
    torch.manual_seed(1)
    names = [f"d{number}" for number in range(7)]
    torch.onnx.export(
        U2Net().eval(), (torch.zeros(1, 3, 320, 320),), path, input_names=["input.1"], output_names=names,
        opset_version=17, dynamo=False,
    )  # fmt: skip


def run_u2net(bench: Bench) -> Tensor:
    with bench.loading():
        network = open_mask_network(bench / U2NET)
    return network.mask(torch.rand(1, 120, 160, 3))


# ------------------------------------------------------------------------------------------------ Segment Anything

# Width, layers, heads, layers that see everything: sam_vit_b_01ec64.pth, sam_vit_l_0b3195.pth, sam_vit_h_4b8939.pth
SAMS = {
    "b": ("sam_vit_b_01ec64.pth", 768, 12, 12, (2, 5, 8, 11)),
    "l": ("sam_vit_l_0b3195.pth", 1024, 24, 16, (5, 11, 17, 23)),
    "h": ("sam_vit_h_4b8939.pth", 1280, 32, 16, (7, 15, 23, 31)),
}
WINDOW, GRID, NECK = 14, 64, 256
# What the recorded decoder's sides of 32, 16, 48, 24, 8 and 4 are at full size, where they are widths of its own.
DECODER_SIDES = {32: 256, 16: 128, 48: 2048, 24: 256}
PROMPT_SIDES = {32: 256, 16: 16}


def sam_shapes(kind: str) -> Shapes:
    """Raises Failure unless transformers' published configuration has as many parameters."""
    _, width, layers, heads, seeing = SAMS[kind]
    recorded: Mapping[str, list[int]] = RECORDED["sam"]["shapes"]
    found: Shapes = {}
    for name, shape in recorded.items():
        if name.startswith("image_encoder.blocks.1."):
            continue
        if name.startswith("image_encoder.blocks.0."):
            sides = [{32: width, 96: 3 * width, 128: 4 * width, 16: width // heads}.get(n, n) for n in shape]
            for layer in range(layers):
                reach = 2 * (GRID if layer in seeing else WINDOW) - 1
                own = (reach, sides[1]) if "rel_pos" in name else tuple(sides)
                found[name.replace("blocks.0.", f"blocks.{layer}.")] = own
        elif name.startswith("image_encoder.neck"):
            into = width if ".0." in name else NECK
            found[name] = (NECK,) if len(shape) == 1 else (NECK, into, *shape[2:])
        elif name.startswith("image_encoder"):
            found[name] = tuple({32: width, 8: GRID}.get(n, n) for n in shape)
        elif name.startswith("prompt_encoder.pe_layer"):
            found[name] = (2, 128)
        elif name.startswith("prompt_encoder"):
            found[name] = tuple(PROMPT_SIDES.get(n, n) for n in shape)
        elif "output_upscaling" in name or "hypernetworks" in name:
            last = {32: 256, 8: 64, 4: 32}
            found[name] = tuple(last.get(n, n) for n in shape)
        else:
            found[name] = tuple(DECODER_SIDES.get(n, n) for n in shape)
    vision = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "mlp_dim": 4 * width}
    with torch.device("meta"):
        module = SamModel(SamConfig(vision_config=vision | {"global_attn_indexes": list(seeing)}))
    compare(found, module, spare=0)
    return found


def compare(found: Shapes, module: nn.Module, spare: int) -> None:
    """Hold the number of a layout's values against a module's, each counted once."""
    own = {id(parameter): parameter.numel() for parameter in module.parameters()}
    ours, theirs = sum(torch.Size(shape).numel() for shape in found.values()) - spare, sum(own.values())
    if ours != theirs:
        raise Failure(f"the layout has {ours} values, transformers' module {theirs}")


def write_sam(kind: str, path: Path) -> None:
    torch.save(tensors(sam_shapes(kind)), path)


def run_sam(kind: str, bench: Bench) -> Tensor:
    """The encoder always sees 1024 x 1024 pixels; the larger two are loaded and asked for one layer only."""
    with bench.loading():
        sam = load_sam(bench / SAMS[kind][0], bench.float32)
        bring(sam.module)
    if kind == "b":
        masks = sam.masks(torch.rand(48, 64, 3), torch.tensor([[8.0, 8.0, 40.0, 40.0]]))
        return torch.from_numpy(masks.astype(np.float32))
    bench.notes.append("one layer of the encoder, then the decoder")
    with sam.module.use() as network:
        encoder = network.vision_encoder
        states = encoder.layers[0](encoder.patch_embed(torch.rand(1, 3, 1024, 1024)) + encoder.pos_embed)
        seen = encoder.neck(states[0] if isinstance(states, tuple) else states)
        boxes = torch.tensor([[[100.0, 100.0, 400.0, 400.0]]])
        return network(image_embeddings=seen, input_boxes=boxes, multimask_output=False).pred_masks


# ------------------------------------------------------------------------------------------------ GroundingDINO

DEPTHS = {"encoder": 6, "decoder": 6, "bert": 12, "swin": (2, 2, 6, 2)}
# By the beginning of a name: what the recorded sides are at full size.
DINO_SIDES: tuple[tuple[str, Mapping[int, int]], ...] = (
    ("transformer.encoder.layers.", {64: 2048}),
    ("transformer.encoder.", {32: 1024}),
    ("transformer.decoder.layers.", {64: 2048}),
    ("transformer.tgt_embed.", {20: 900}),
    ("bert.", {12: 30522, 260: 512, 64: 768, 48: 3072}),
    ("feat_map.", {64: 768}),
    ("input_proj.", {32: 192, 64: 384, 128: 768}),
)


def dino_shapes() -> Shapes:
    """Raises Failure unless transformers' published configuration has as many parameters."""
    recorded: Mapping[str, list[int]] = RECORDED["dino"]["shapes"]
    found: Shapes = {}
    for name, shape in recorded.items():
        sides = next((sides for start, sides in DINO_SIDES if name.startswith(start)), {})
        full = tuple(sides.get(n, n) for n in shape)
        if name.startswith("backbone.0."):
            full = _swin(name, shape)
        for again in _repeated(name):
            found[again] = full
    with torch.device("meta"):
        module = GroundingDinoForObjectDetection(GroundingDinoConfig())  # the defaults are swint-ogc
    twice = ("bbox_embed.", "transformer.decoder.bbox_embed.")  # one head under twelve names
    shared = sum(torch.Size(s).numel() for name, s in found.items() if name.startswith(twice))
    head = sum(torch.Size(s).numel() for name, s in found.items() if name.startswith("bbox_embed.0."))
    indices = sum(torch.Size(s).numel() for name, s in found.items() if name.endswith("relative_position_index"))
    pooler = 768 * 768 + 768  # of BERT; nothing needs it
    # Swin has a last norm of its own, which nothing needs either and norm3 fills.
    compare(found, module, spare=shared - head + indices + pooler - 2 * 768)
    return found


def _swin(name: str, shape: list[int]) -> tuple[int, ...]:
    """Six times the recorded width; tables of 169 places have a column per head, 3 on the first stage."""
    if name.endswith("relative_position_index"):
        return tuple(shape)
    if name.endswith("bias_table"):
        return 169, 3 * 2 ** int(name.split(".")[3])
    return tuple(n if n in (3, 4) else 6 * n for n in shape)


def _repeated(name: str) -> list[str]:
    """A recorded layer's names at full size: the first of a stack stands for all."""
    patterns = (
        (r"(transformer\.encoder\.\w+\.)(\d+)\.", DEPTHS["encoder"]),
        (r"(transformer\.decoder\.(?:layers|bbox_embed)\.)(\d+)\.", DEPTHS["decoder"]),
        (r"(bbox_embed\.)(\d+)\.", DEPTHS["decoder"]),
        (r"(bert\.encoder\.layer\.)(\d+)\.", DEPTHS["bert"]),
        *((rf"(backbone\.0\.layers\.{s}\.blocks\.)(\d+)\.", depth) for s, depth in enumerate(DEPTHS["swin"])),
    )
    for pattern, depth in patterns:
        if match := re.match(pattern, name):
            rest = name[match.end() :]
            return [f"{match[1]}{number}.{rest}" for number in range(depth)] if match[2] == "0" else []
    return [name]


def write_dino(path: Path) -> None:
    shapes = dino_shapes()
    given = {name: relative_positions() for name in shapes if name.endswith("relative_position_index")}
    state = tensors({name: shape for name, shape in shapes.items() if name not in given}, given=given)
    for name in shapes:
        if name.startswith(("bbox_embed.", "transformer.decoder.bbox_embed.")):
            state[name] = state[re.sub(r"^(transformer\.decoder\.)?bbox_embed\.\d+", "bbox_embed.0", name)]
    state["bert.embeddings.position_ids"] = torch.arange(512)[None]
    torch.save({"model": {f"module.{name}": tensor for name, tensor in state.items()}}, path)


def run_dino(bench: Bench) -> Tensor:
    words = vocabulary(bench.folder)
    with bench.loading():
        dino = load_grounding_dino(bench / DINO, words, bench.float32)
        bring(dino.module)
    config = dino.module._module.config
    published = GroundingDinoConfig()
    for name in ("d_model", "num_queries", "encoder_ffn_dim", "decoder_ffn_dim", "encoder_layers", "decoder_layers"):
        if getattr(config, name) != getattr(published, name):
            raise Failure(f"{name} is read as {getattr(config, name)}")
    ids = torch.tensor([[101, 1037, 1012, 102]])
    with dino.module.use() as network:
        said = network(
            pixel_values=torch.rand(1, 3, 256, 256), input_ids=ids, token_type_ids=torch.zeros_like(ids),
            attention_mask=torch.ones_like(ids),
        )  # fmt: skip
    return said.pred_boxes


DINO_SPARE = (r"position_ids$", r"bert\.pooler\.", r"bbox_embed\.\d+\.")  # one head, of whose twelve names one is read
PROOFS = {
    "u2net": Proof({U2NET: write_u2net}, run_u2net),
    **{
        f"sam-vit-{kind}": Proof({file: partial(write_sam, kind)}, partial(run_sam, kind))
        for kind, (file, *_) in SAMS.items()
    },
    "grounding-dino": Proof({DINO: write_dino}, run_dino, DINO_SPARE),
}
