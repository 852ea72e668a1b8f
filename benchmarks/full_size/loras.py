"""LoRAs for SDXL's UNet and both text encoders, in each dialect: every matrix and convolution of them all.

Names are made of diffusers' and transformers' modules, for the LDM names of the published checkpoint's; the shapes of
factors are LyCORIS' (https://arxiv.org/abs/2309.14859) and PEFT's.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from benchmarks.full_size.checkpoints import SDXL, meta_unet, prompted, text_config, write_base
from benchmarks.full_size.proof import Bench, Failure, Proof, bring, conditioning, one_step
from benchmarks.full_size.writing import Shapes, safetensors
from models.lora import LoraPatch, load_lora
from models.sdxl import add_lora
from tests.parity.random_sdxl import FULL, unet_shapes

RANK, FACTOR = 16, 8  # FACTOR: the side of LoKr's first matrix
SAMPLED = 8
Layers = dict[str, tuple[int, ...]]  # a layer's name → the shape of its weight
INNER = ("down_blocks", "mid_block", "up_blocks", "input_blocks.", "middle_block.", "output_blocks.")


def diffusers_layers() -> Layers:
    return {name: shape for name, shape in _matrices(meta_unet()) if name.startswith(INNER)}


def ldm_layers() -> Layers:
    weights = {name.removesuffix(".weight"): s for name, s in unet_shapes(FULL).items() if len(s) > 1}
    return {name: shape for name, shape in weights.items() if name.startswith(INNER[3:]) and name != "input_blocks.0.0"}


def text_layers() -> tuple[Layers, Layers]:
    """Of both encoders, as transformers calls them, below `text_model.`."""
    with torch.device("meta"):
        first = CLIPTextModel(text_config(768, 12, 12, "quick_gelu"))
        second = CLIPTextModelWithProjection(text_config(1280, 32, 20, "gelu"))
    found = []
    for module in (first, second):
        names = ((name.removeprefix("text_model."), shape) for name, shape in _matrices(module))
        found.append({f"text_model.{name}": shape for name, shape in names if name.startswith("encoder.")})
    return found[0], found[1]


def _matrices(module: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            yield name, tuple(layer.weight.shape)


def kohya_layers(unet: Layers) -> Layers:
    """Names with underscores: `lora_unet_…`, `lora_te1_…`, `lora_te2_…`."""
    parts = zip(("lora_unet_", "lora_te1_", "lora_te2_"), (unet, *text_layers()), strict=True)
    return {prefix + name.replace(".", "_"): s for prefix, layers in parts for name, s in layers.items()}


def dotted_layers() -> Layers:
    """diffusers' own names: `unet.…`, `text_encoder.…`, `text_encoder_2.…`."""
    parts = zip(("unet.", "text_encoder.", "text_encoder_2."), (diffusers_layers(), *text_layers()), strict=True)
    return {prefix + name: shape for prefix, layers in parts for name, shape in layers.items()}


# ------------------------------------------------------------------------------------- tensors of one layer


def plain(name: str, shape: tuple[int, ...]) -> Shapes:
    out, into, *kernel = shape
    ones = [1 for _ in kernel]
    return {
        f"{name}.lora_up.weight": (out, RANK, *ones),
        f"{name}.lora_down.weight": (RANK, into, *kernel),
        f"{name}.alpha": (),
    }


def dora(name: str, shape: tuple[int, ...]) -> Shapes:
    return plain(name, shape) | {f"{name}.dora_scale": (1, *shape[1:2], *[1 for _ in shape[2:]])}


def peft(name: str, shape: tuple[int, ...]) -> Shapes:
    out, into, *kernel = shape
    return {
        f"{name}.lora_A.weight": (RANK, into, *kernel),
        f"{name}.lora_B.weight": (out, RANK, *[1 for _ in kernel]),
    }


def loha(name: str, shape: tuple[int, ...]) -> Shapes:
    out, columns = shape[0], torch.Size(shape[1:]).numel()
    both = {f"{name}.hada_w{n}_{side}": s for n in (1, 2) for side, s in (("a", (out, RANK)), ("b", (RANK, columns)))}
    return both | {f"{name}.alpha": ()}


def lokr(name: str, shape: tuple[int, ...]) -> Shapes:
    columns = torch.Size(shape[1:]).numel() // FACTOR
    return {
        f"{name}.lokr_w1": (FACTOR, FACTOR),
        f"{name}.lokr_w2_a": (shape[0] // FACTOR, RANK),
        f"{name}.lokr_w2_b": (RANK, columns),
        f"{name}.alpha": (),
    }


Dialect = tuple[Callable[[], Layers], Callable[[str, tuple[int, ...]], Shapes]]
DIALECTS: dict[str, Dialect] = {
    "kohya-ldm": (lambda: kohya_layers(ldm_layers()), plain),
    "kohya-diffusers": (lambda: kohya_layers(diffusers_layers()), plain),
    "peft": (dotted_layers, peft),
    "dora": (lambda: kohya_layers(ldm_layers()), dora),
    "loha": (lambda: kohya_layers(ldm_layers()), loha),
    "lokr": (lambda: kohya_layers(ldm_layers()), lokr),
}


def write_lora(dialect: str, path: Path) -> None:
    layers, factors = DIALECTS[dialect]
    safetensors(path, {key: s for name, shape in layers().items() for key, s in factors(name, shape).items()})


def run_loras(bench: Bench) -> Tensor:
    """One dialect after the other on one checkpoint; every layer must change a weight, and each file the answer.

    All layers are read and fitted. Of the first dialect all are merged, of the others every eighth: merging all of one
    takes longer than all else together.
    """
    model, clip, _, plain_words = prompted(bench)
    words = {"": plain_words}
    loras = {dialect: load_lora(bench / file(dialect)) for dialect in DIALECTS}
    changed = {}
    for dialect, lora in loras.items():
        changed[dialect], changed_clip, warnings = add_lora(model, clip, lora, 1.0, 1.0)
        wanted = len(DIALECTS[dialect][0]())
        reached = sum(len(patch.deltas(part)) for patch in changed_clip.loras for part in ("unet", "clip_l", "clip_g"))
        if warnings or reached != wanted:
            raise Failure(f"{dialect}: {reached} of {wanted} layers change a weight; {warnings}")
        share = 1 if dialect == next(iter(DIALECTS)) else SAMPLED
        changed[dialect] = changed[dialect].patched(loras=thinned(changed[dialect].loras, share))
        words[dialect] = conditioning(changed_clip.patched(loras=thinned(changed_clip.loras, share)))
        if torch.equal(words[dialect][0][0], words[""][0][0]):
            raise Failure(f"{dialect} does not change the text encoders")
        bench.notes.append(f"{dialect} {reached} layers")
    results = [one_step(model, words[""])]
    for dialect in DIALECTS:
        with bench.loading():
            bring(changed[dialect])
        results.append(one_step(changed[dialect], words[dialect]))
        if any(torch.equal(results[-1], earlier) for earlier in results[:-1]):
            raise Failure(f"{dialect} changes nothing")
    return torch.cat(results)


def thinned(patches: tuple[LoraPatch, ...], share: int) -> tuple[LoraPatch, ...]:
    """Patches with one in `share` of their changes."""
    (patch,) = patches
    parts = {part: dict(list(deltas.items())[::share]) for part, deltas in patch.match.parts.items()}
    return (replace(patch, match=replace(patch.match, parts=parts)),)


def file(dialect: str) -> str:
    return f"lora-{dialect}.safetensors"


PROOFS = {
    "loras": Proof(
        {file(dialect): partial(write_lora, dialect) for dialect in DIALECTS}, run_loras, needs={SDXL: write_base}
    )
}
