"""The tiny refiners: their shapes, where their weights start, and the files they become.

`refiner` is an SDXL refiner in small: one text encoder (the checkpoint's own G), five size numbers. `sd15` is an SD 1.5
in small: CLIP-L alone, eight heads, no size numbers, and latents of its own: the checkpoint's, turned by a rotation
that its VAE undoes. Both take over what fits from the tiny checkpoint, so minutes of training are enough.
"""

import math
import random
from pathlib import Path
from typing import Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from models.tiny import CHECKPOINT
from models.tiny.architecture import G_WIDTH, L_WIDTH, TIME_ID_WIDTH, VAE_NORM_GROUPS, VAE_SCALING
from models.tiny.captions import caption
from models.tiny.export import TEXT_G, TEXT_L, UNET, VAE, load_vae, single_file, unet_name
from models.tiny.scenes import random_scene
from models.tiny.text import encode, tokenize
from models.tiny.train import Modules

Kind = Literal["refiner", "sd15"]
FILES: dict[Kind, Path] = {
    "refiner": CHECKPOINT.parent / "checkpoints" / "focal-tiny-sdxl-refiner.safetensors",
    "sd15": CHECKPOINT.parent / "checkpoints" / "focal-tiny-sd15.safetensors",
}
INTERPOSER = CHECKPOINT.parent / "vae_approx" / "focal-tiny-interposer.safetensors"
INTERPOSER_BLOCKS = 2
WIDTHS = (64, 64)
SIZE_NUMBERS = 5  # height, width, crop top, crop left, aesthetic score
SD15_SCALING = 0.18215
SD15_HEADS = 8
REFINER_TEXT = "conditioner.embedders.0.model."
SD15_TEXT = "cond_stage_model.transformer.text_model."
SD15_LAYERS = 1  # residual blocks per level; the refiner has two, as the checkpoint


def new_refiner() -> UNet2DConditionModel:
    """Build the refiner's UNet, 2.2 M parameters: attention below the first level, contexts of G alone."""
    return UNet2DConditionModel(
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=WIDTHS,  # pyright: ignore[reportArgumentType]
        layers_per_block=2,
        cross_attention_dim=G_WIDTH,
        transformer_layers_per_block=1,
        attention_head_dim=1,  # diffusers' name for the number of heads
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_ID_WIDTH,
        projection_class_embeddings_input_dim=G_WIDTH + SIZE_NUMBERS * TIME_ID_WIDTH,
    )


def new_sd15() -> UNet2DConditionModel:
    """Build SD 1.5's UNet, 1.4 M parameters: attention on every level but the deepest, and in the middle."""
    return UNet2DConditionModel(
        sample_size=16,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=WIDTHS,  # pyright: ignore[reportArgumentType]
        layers_per_block=SD15_LAYERS,
        cross_attention_dim=L_WIDTH,
        attention_head_dim=SD15_HEADS,
    )


def rotation() -> Tensor:
    """The rotation (4, 4) between the checkpoint's scaled latents and SD 1.5's: every channel becomes a mixture."""
    return torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(15), dtype=torch.float64))[
        0
    ].float()


def turned(latents: Tensor) -> Tensor:
    """Bring scaled latents (B, 4, h, w) of the checkpoint into SD 1.5's scaled space."""
    return torch.einsum("ij,bjhw->bihw", rotation(), latents)


@torch.no_grad()
def turned_vae(vae: AutoencoderKL) -> AutoencoderKL:
    """Bake the rotation into a VAE's two 1x1 convolutions: unscaled latents become (0.13025 / 0.18215)·Q of before."""
    forth = rotation() * (VAE_SCALING / SD15_SCALING)
    quant, post = vae.quant_conv, vae.post_quant_conv
    mean_weight, mean_bias = quant.weight[:4, :, 0, 0], quant.bias[:4]
    quant.weight[:4, :, 0, 0] = forth @ mean_weight
    quant.bias[:4] = forth @ mean_bias
    # The deviations are small; a rotated diagonal Gaussian is told by the mean of its log-variances.
    spread = quant.weight[4:, :, 0, 0].mean(0, keepdim=True).expand(4, -1).clone()
    quant.weight[4:, :, 0, 0] = spread
    quant.bias[4:] = quant.bias[4:].mean() + 2 * math.log(VAE_SCALING / SD15_SCALING)
    post.weight[:, :, 0, 0] = post.weight[:, :, 0, 0] @ torch.linalg.inv(forth)
    return vae


@torch.no_grad()
def new_unet(kind: Kind, base: Modules) -> UNet2DConditionModel:
    """Build the UNet of a refiner and take over what fits from the tiny checkpoint."""
    unet = new_refiner() if kind == "refiner" else new_sd15()
    for module in unet.modules():
        name = type(module).__name__
        if name == "ResnetBlock2D":
            _silence(module.conv2)
        elif name == "Transformer2DModel":
            _silence(module.proj_out)
    source = base.unet.state_dict()
    for name, parameter in unet.named_parameters():
        found = source.get(_place_in_base(name, kind))
        if found is not None:
            _take(name, parameter, found, kind)
    if kind == "sd15":
        turn = rotation()
        unet.conv_in.weight.copy_(torch.einsum("oikl,ji->ojkl", source["conv_in.weight"], turn))
        unet.conv_out.weight.copy_(torch.einsum("oikl,jo->jikl", source["conv_out.weight"], turn))
        unet.conv_out.bias.copy_(turn @ source["conv_out.bias"])
        unet.time_embedding.linear_2.bias += _usual_size_embedding(base)
    return unet


def _usual_size_embedding(base: Modules) -> Tensor:
    """What size numbers and pooled text add on average to the time embedding, which is all that SD 1.5 has."""
    rng = random.Random(0)
    ids = tokenize([caption(random_scene(rng), rng) for _ in range(64)])
    pooled = encode(base.text_l, base.text_g, *ids)[1]  # pyright: ignore[reportArgumentType] (declared as Module)
    numbers = base.unet.add_time_proj(torch.tensor([128.0, 128, 0, 0, 128, 128]))  # pyright: ignore[reportCallIssue]
    y = torch.cat([pooled, numbers.flatten().expand(len(pooled), -1)], dim=1)
    return base.unet.add_embedding(y).mean(0)  # pyright: ignore[reportCallIssue]


def _place_in_base(name: str, kind: Kind) -> str:
    """The base has one level more, so its up blocks are one later; its upper up blocks end as ours do."""
    if not name.startswith("up_blocks."):
        return name
    _, level, kind_of, index, rest = name.split(".", 4)
    layers = 3 if kind == "refiner" else SD15_LAYERS + 1
    shift = 3 - layers if kind_of != "upsamplers" else 0
    return f"up_blocks.{int(level) + 1}.{kind_of}.{int(index) + shift}.{rest}"


def _take(name: str, parameter: nn.Parameter, found: Tensor, kind: Kind) -> None:
    if found.shape == parameter.shape:
        parameter.copy_(found)
    elif ".attn2.to_" in name and found.shape[0] == parameter.shape[0]:
        parameter.copy_(found[:, L_WIDTH:] if kind == "refiner" else found[:, :L_WIDTH])
    elif name == "add_embedding.linear_1.weight":
        parameter.zero_()  # the score's share; pooled text and the other numbers mean what they mean in the base
        kept = G_WIDTH + (SIZE_NUMBERS - 1) * TIME_ID_WIDTH
        parameter[:, :kept] = found[:, :kept]


def _silence(layer: nn.Module) -> None:
    layer.weight.zero_()
    layer.bias.zero_()


# ------------------------------------------------------------------------------------------------ files


def write(kind: Kind, path: Path, unet: dict[str, Tensor], base: Modules) -> None:
    """Write a refiner in the layout of the published files, fp16; the token embeddings, mostly unused, in fp8."""
    vae = load_vae(CHECKPOINT)
    both = single_file(
        {}, (turned_vae(vae) if kind == "sd15" else vae).state_dict(), _state(base.text_l), _state(base.text_g)
    )
    layers = 2 if kind == "refiner" else SD15_LAYERS
    attended = (0,) if kind == "refiner" else (1,)
    tensors = {UNET + unet_name(name, layers, attended): value for name, value in unet.items()}
    tensors |= {name: value for name, value in both.items() if name.startswith(VAE)}
    theirs, ours = (TEXT_G, REFINER_TEXT) if kind == "refiner" else (TEXT_L, SD15_TEXT)
    tensors |= {ours + name.removeprefix(theirs): value for name, value in both.items() if name.startswith(theirs)}
    stored = {
        name: value.detach()
        .to(torch.float8_e4m3fn if "token_embedding" in name else torch.float16)
        .contiguous()
        .clone()
        for name, value in sorted(tensors.items())
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file(stored, part, metadata={"format": "pt", "focal.vae_norm_groups": str(VAE_NORM_GROUPS)})
    part.rename(path)


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in module.state_dict().items() if value.is_floating_point()}


def interposer() -> dict[str, Tensor]:
    """The published interposer in small, computed rather than trained: between these two latent spaces lies a rotation.

    Every value travels as its positive and its negative part, which no ReLU changes, and twice, so that the last SiLU
    cancels: silu(p) - silu(-p) = p.
    """
    forth = rotation() * (VAE_SCALING / SD15_SCALING)
    parts = torch.cat([forth, -forth] * 2)  # (16, 4)
    width = len(parts)
    tensors = {"head.short.weight": _centred(parts), "head.short.bias": torch.zeros(width)}
    tensors |= _nothing("head.long", 4, width)
    for block in range(1, INTERPOSER_BLOCKS + 1):
        tensors |= _nothing(f"core.{block}.long", width, width) | _passing(f"core.{block}.norm", torch.ones(width))
    signs = torch.ones(width).index_fill(0, torch.arange(8, 16), -1)
    tensors |= _passing(f"core.{INTERPOSER_BLOCKS + 1}", signs)
    back = torch.zeros(4, width)
    for place in range(width):
        back[place % 4, place] = 1.0 if place % 8 < 4 else -1.0
    back[:, 8:] *= -1
    return tensors | {"tail.weight": _centred(back), "tail.bias": torch.zeros(4)}


def _centred(matrix: Tensor) -> Tensor:
    """A 3x3 convolution that multiplies every cell by a matrix."""
    return nn.functional.pad(matrix[:, :, None, None], (1, 1, 1, 1))


def _nothing(name: str, channels_in: int, width: int) -> dict[str, Tensor]:
    widths = {0: channels_in, 2: width, 4: width}
    weights = {f"{name}.{place}.weight": torch.zeros(width, before, 3, 3) for place, before in widths.items()}
    return weights | {f"{name}.{place}.bias": torch.zeros(width) for place in widths}


def _passing(name: str, factors: Tensor) -> dict[str, Tensor]:
    """A batch norm that only multiplies; 1e-5 is added to the variance."""
    zeros, variance = torch.zeros(len(factors)), torch.full((len(factors),), 1 - 1e-5)
    leaves = {"weight": factors, "bias": zeros, "running_mean": zeros.clone(), "running_var": variance}
    return {f"{name}.{leaf}": tensor for leaf, tensor in leaves.items()}


def write_interposer(path: Path = INTERPOSER) -> None:
    """Write the interposer's file, float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in interposer().items()}, path, metadata={"format": "pt"})
