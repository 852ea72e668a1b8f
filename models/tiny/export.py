"""Write the trained modules as one SDXL checkpoint: `python -m models.tiny.export`.

The layout is that of the published SDXL files (Stability's generative-models): LDM names for UNet and VAE,
transformers names for CLIP-L, open_clip names for CLIP-G. `load_modules` and `load_vae` read it back into diffusers
modules.
"""

import argparse
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from models.files.preview import write_preview
from models.tiny import CHECKPOINT, WORK
from models.tiny.architecture import VAE_NORM_GROUPS, new_vae
from models.tiny.train import Modules, fresh_modules

log = logging.getLogger("tiny.export")
Tensors = dict[str, torch.Tensor]
UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT_L = "conditioner.embedders.0.transformer.text_model."
TEXT_G = "conditioner.embedders.1.model."

UNET_ENDS = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
VAE_RENAMES = (  # applied in order
    (r"\.down_blocks\.(\d)\.resnets\.", r".down.\1.block."),
    (r"\.down_blocks\.(\d)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.up_blocks\.(\d)\.resnets\.", lambda m: f".up.{3 - int(m[1])}.block."),
    (r"\.up_blocks\.(\d)\.upsamplers\.0\.", lambda m: f".up.{3 - int(m[1])}.upsample."),
    (r"\.mid_block\.resnets\.(\d)\.", lambda m: f".mid.block_{int(m[1]) + 1}."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"attn_1\.group_norm\.", "attn_1.norm."),
    (r"attn_1\.to_([qkv])\.", r"attn_1.\1."),
    (r"attn_1\.to_out\.0\.", "attn_1.proj_out."),
    (r"\.conv_norm_out\.", ".norm_out."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
)
OPEN_CLIP_RENAMES = (
    (r"^embeddings\.token_embedding\.", "token_embedding."),
    (r"^embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"^final_layer_norm\.", "ln_final."),
    (r"^encoder\.layers\.(\d+)\.", r"transformer.resblocks.\1."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"\.self_attn\.", ".attn."),
)


def unet_name(name: str, layers: int = 2, attended: Sequence[int] = (0, 1)) -> str:
    """Translate a diffusers UNet parameter name into the LDM one.

    layers: residual blocks per level. attended: up blocks with attention, which an upsampler follows.
    """
    for ours, theirs in UNET_ENDS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    block, rest = name.split(".", 1)
    if block == "mid_block":
        kind, index, rest = rest.split(".", 2)
        place = f"middle_block.{1 if kind == 'attentions' else 2 * int(index)}"
    else:
        level, kind, index, rest = rest.split(".", 3)
        place = _block_place(block, int(level), kind, int(index), layers + 1, int(level) in attended)
    if kind == "resnets":
        layer, rest = rest.split(".", 1)
        rest = f"{RESNET[layer]}.{rest}"
    elif kind == "downsamplers":
        rest = rest.replace("conv.", "op.")
    return f"{place}.{rest}"


def _block_place(block: str, level: int, kind: str, index: int, per_level: int, attended: bool) -> str:
    if block == "down_blocks":
        return (
            f"input_blocks.{per_level * (level + 1)}.0"
            if kind == "downsamplers"
            else f"input_blocks.{per_level * level + index + 1}.{kind == 'attentions':d}"
        )
    if kind == "upsamplers":  # behind the attention, where there is one
        return f"output_blocks.{per_level * (level + 1) - 1}.{1 + attended}"
    return f"output_blocks.{per_level * level + index}.{kind == 'attentions':d}"


def _renamed(name: str, renames: tuple) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def vae_name(name: str) -> str:
    """Translate a diffusers VAE parameter name (4 levels) into the LDM one."""
    return _renamed(name, VAE_RENAMES)


def _flat(name: str) -> str:
    """Drop the `text_model.` level that transformers has in some versions and classes."""
    return name.removeprefix("text_model.")


def single_file(unet: Tensors, vae: Tensors, text_l: Tensors, text_g: Tensors) -> Tensors:
    """Lay the four modules' tensors out as one checkpoint."""
    out = {UNET + unet_name(k): v for k, v in unet.items()}
    for k, v in vae.items():
        attention = ".attentions." in k and v.ndim == 2
        out[VAE + vae_name(k)] = (
            v[:, :, None, None] if attention else v
        )  # LDM's VAE attention is made of 1x1 convolutions
    out |= {TEXT_L + _flat(k): v for k, v in text_l.items()}
    return out | {TEXT_G + k: v for k, v in _open_clip({_flat(k): v for k, v in text_g.items()}).items()}


def _open_clip(tensors: Tensors) -> Tensors:
    out: Tensors = {"logit_scale": torch.tensor(4.6052)}  # ln 100, what CLIP training ends with; nothing here reads it
    for name, value in tensors.items():
        if name == "text_projection.weight":
            out["text_projection"] = value.T.contiguous()  # open_clip multiplies from the right: x @ P
        elif ".q_proj." in name:
            parts = [tensors[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
            out[_renamed(name, OPEN_CLIP_RENAMES).replace("q_proj.", "in_proj_")] = torch.cat(parts)
        elif ".k_proj." not in name and ".v_proj." not in name:
            out[_renamed(name, OPEN_CLIP_RENAMES)] = value
    return out


def write(path: Path, tensors: Tensors) -> None:
    """Write fp16 safetensors atomically, with the VAE's group count and its preview matrix in the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    halves = {k: v.detach().to(torch.float16).contiguous().clone() for k, v in sorted(tensors.items())}
    save_file(halves, part, metadata={"format": "pt", "focal.vae_norm_groups": str(VAE_NORM_GROUPS)})
    part.rename(path)
    write_preview(path)


# ------------------------------------------------------------------------------------------------ reading back


def read(path: Path) -> Tensors:
    """Read all tensors of a checkpoint as float32."""
    with safe_open(path, "pt") as file:
        return {k: file.get_tensor(k).float() for k in file.keys()}  # noqa: SIM118, safe_open is no dict


def load_modules(path: Path, modules: Modules) -> None:
    """Load UNet and text encoders from a single file."""
    tensors = read(path)
    _fill(modules.unet, lambda k: tensors[UNET + unet_name(k)])
    _fill(modules.text_l, lambda k: tensors[TEXT_L + _flat(k)])
    _fill(modules.text_g, lambda k: _from_open_clip(tensors, _flat(k)))


def load_vae(path: Path) -> AutoencoderKL:
    """Build the VAE of a single file."""
    tensors, vae = read(path), new_vae()
    _fill(vae, lambda k: tensors[VAE + vae_name(k)])
    return vae.eval()


def _from_open_clip(tensors: Tensors, name: str) -> torch.Tensor:
    if name == "text_projection.weight":
        return tensors[TEXT_G + "text_projection"].T
    if found := re.search(r"\.([qkv])_proj\.", name):
        packed = _renamed(name.replace(found[0], ".in_proj_"), OPEN_CLIP_RENAMES)
        return tensors[TEXT_G + packed].chunk(3)["qkv".index(found[1])]
    return tensors[TEXT_G + _renamed(name, OPEN_CLIP_RENAMES)]


def _fill(module: nn.Module, tensor_of: Callable[[str], torch.Tensor]) -> None:
    state = {k: tensor_of(k).reshape(v.shape) if v.is_floating_point() else v for k, v in module.state_dict().items()}
    module.load_state_dict(state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, default=WORK / "state.pt")
    parser.add_argument("--vae", type=Path, default=WORK / "vae")
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    state = torch.load(args.state, weights_only=True)
    ema = state["ema"]
    vae = AutoencoderKL.from_pretrained(args.vae).state_dict()
    write(args.out, single_file(ema["unet"], vae, ema["text_l"], ema["text_g"]))
    again = fresh_modules()
    load_modules(args.out, again)
    worst = max(
        (p - ema[name][k]).abs().max().item()
        for name, module in again.named().items()
        for k, p in module.named_parameters()
    )
    log.info(
        "step %d: %s, %.1f MB, largest rounding %.4f", state["step"], args.out, args.out.stat().st_size / 1e6, worst
    )


if __name__ == "__main__":
    main()
