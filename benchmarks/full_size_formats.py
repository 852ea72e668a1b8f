"""Full-size files of many formats, with random weights, through the real loaders:
`python -m benchmarks.full_size_formats sdxl lora`.

Keys and shapes come from diffusers' and transformers' full-size modules on the meta device (SDXL base 1.0, CLIP-L,
OpenCLIP bigG, the KL autoencoder, CLIP ViT-H, the safety checker), or from the authors' published layout (RRDB, the
IP-Adapter's resampler). Each is written below --folder, loaded the way the server loads it, and run once at a small
size. Needs 12 GB of disk and 14 GiB of memory; a few minutes each on two cores.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from models.control.apply import Control, controlled
from models.control.formats import MARKER, ldm_name
from models.control.model import load_control
from models.lora import load_lora
from models.memory import DtypePolicy, Residency
from models.safety import load_safety_checker
from models.sampling.run import sample
from models.sdxl import add_lora, encode_tokens, load_checkpoint
from models.tiny.export import single_file
from models.upscale.upscaler import load_upscaler
from models.vision.clip_vision import load_clip_vision
from models.vision.image_prompt import load_adapter

Shapes = dict[str, tuple[int, ...]]
LATENT = 16  # 128 x 128 pixels
LORA_RANK, CONTROL_RANK = 64, 128
DRAWN = 1 << 20  # random numbers of a tensor; larger ones repeat them


def sdxl_unet() -> UNet2DConditionModel:
    """The published configuration of SDXL base 1.0."""
    return UNet2DConditionModel(
        sample_size=128,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(320, 640, 1280),
        layers_per_block=2,
        cross_attention_dim=2048,
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def text_encoder(width: int, layers: int, heads: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=77,
        hidden_act=activation,
        projection_dim=width,
    )


def autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        scaling_factor=0.13025,
    )


def checkpoint_shapes() -> Shapes:
    """Names of the published single file, shapes of the full-size modules."""
    with torch.device("meta"):
        unet, vae = sdxl_unet(), autoencoder()
        text_l = CLIPTextModel(text_encoder(768, 12, 12, "quick_gelu"))
        text_g = CLIPTextModelWithProjection(text_encoder(1280, 32, 20, "gelu"))
        tensors = single_file(*(module.state_dict() for module in (unet, vae, text_l, text_g)))
    return named(tensors)


def lora_shapes() -> Shapes:
    """Kohya's names with diffusers' blocks, every matrix and convolution of the transformers and residual blocks."""
    with torch.device("meta"):
        unet = sdxl_unet()
    shapes: Shapes = {}
    for name, layer in unet.named_modules():
        inner = name.startswith(("down_blocks", "mid_block", "up_blocks"))
        if inner and isinstance(layer, nn.Linear | nn.Conv2d):
            out, into, *kernel = layer.weight.shape
            key = "lora_unet_" + name.replace(".", "_")
            shapes[f"{key}.lora_up.weight"] = (out, LORA_RANK, *[1 for _ in kernel])
            shapes[f"{key}.lora_down.weight"] = (LORA_RANK, into, *kernel)
            shapes[f"{key}.alpha"] = ()
    return shapes


def control_shapes() -> Shapes:
    """A Control-LoRA of rank 128: low-rank matrices, everything else whole."""
    with torch.device("meta"):
        network = ControlNetModel.from_unet(sdxl_unet(), conditioning_embedding_out_channels=(16, 32, 96, 256))
    shapes: Shapes = {MARKER: (0,)}
    for name, value in network.named_parameters():
        key, shape = ldm_name(name, 2, 6), tuple(value.shape)
        if len(shape) == 1 or name.startswith("controlnet_"):
            shapes[key] = shape
        else:
            layer = key.removesuffix(".weight")
            shapes[f"{layer}.up"] = (shape[0], CONTROL_RANK, *[1 for _ in shape[2:]])
            shapes[f"{layer}.down"] = (CONTROL_RANK, *shape[1:])
    return shapes


def rrdb_shapes() -> Shapes:
    """ESRGAN x4 as published by its authors: 64 channels, 23 blocks, growth 32 (xinntao/ESRGAN, new layout)."""
    shapes: Shapes = {}

    def convolution(name: str, out: int, into: int) -> None:
        shapes.update({f"{name}.weight": (out, into, 3, 3), f"{name}.bias": (out,)})

    convolution("conv_first", 64, 3)
    for block in range(23):
        for dense in (1, 2, 3):
            for layer in range(1, 6):
                name = f"RRDB_trunk.{block}.RDB{dense}.conv{layer}"
                convolution(name, 64 if layer == 5 else 32, 64 + 32 * (layer - 1))
    for name in ("trunk_conv", "upconv1", "upconv2", "HRconv"):
        convolution(name, 64, 64)
    convolution("conv_last", 3, 64)
    return shapes


def vision_config() -> CLIPVisionConfig:
    """OpenCLIP ViT-H/14, laion2b: the encoder of the published IP-Adapters."""
    return CLIPVisionConfig(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, image_size=224,
        patch_size=14, projection_dim=1024, hidden_act="gelu",
    )  # fmt: skip


def vision_shapes() -> Shapes:
    with torch.device("meta"):
        return named(CLIPVisionModelWithProjection(vision_config()).state_dict())


def safety_shapes() -> Shapes:
    """CompVis' stable-diffusion-safety-checker: CLIP ViT-L/14, 17 concepts and 3 of special care."""
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    vision |= {"image_size": 224, "patch_size": 14, "projection_dim": 768}
    with torch.device("meta"):
        config = CLIPConfig(vision_config=vision, projection_dim=768)
        return named(StableDiffusionSafetyChecker(config).state_dict())


def adapter_shapes() -> Shapes:
    """IP-Adapter plus for SDXL with ViT-H, as tencent-ailab publishes it: a resampler of depth 4, 70 attentions."""
    shapes: Shapes = {"image_proj.latents": (1, 16, 1280)}

    def linear(name: str, out: int, into: int, bias: bool = False) -> None:
        shapes[f"{name}.weight"] = (out, into)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    linear("image_proj.proj_in", 1280, 1280, bias=True)
    linear("image_proj.proj_out", 2048, 1280, bias=True)
    norm("image_proj.norm_out", 2048)
    for depth in range(4):
        attention, forward = f"image_proj.layers.{depth}.0", f"image_proj.layers.{depth}.1"
        norm(f"{attention}.norm1", 1280)
        norm(f"{attention}.norm2", 1280)
        linear(f"{attention}.to_q", 1280, 1280)
        linear(f"{attention}.to_kv", 2560, 1280)
        linear(f"{attention}.to_out", 1280, 1280)
        norm(f"{forward}.0", 1280)
        linear(f"{forward}.1", 5120, 1280)
        linear(f"{forward}.3", 1280, 5120)
    widths = [640] * 4 + [1280] * 20 + [1280] * 30 + [640] * 6 + [1280] * 10  # down, up, middle
    for place, width in enumerate(widths):
        linear(f"ip_adapter.{2 * place + 1}.to_k_ip", width, 2048)
        linear(f"ip_adapter.{2 * place + 1}.to_v_ip", width, 2048)
    return shapes


def named(tensors: dict[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if "position_ids" not in name}


def write(path: Path, shapes: Shapes) -> None:
    """Write random bfloat16 tensors one by one; never more than one in memory."""
    offset, header = 0, {}
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + 2 * count]}
        offset += 2 * count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = torch.Generator().manual_seed(1)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            file.write(_values(name, shape, generator).view(torch.int16).numpy().tobytes())


def _values(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Weights at which activations keep their size; changes are small."""
    if name.endswith("alpha"):
        return torch.full(shape, float(LORA_RANK), dtype=torch.bfloat16)
    if len(shape) < 2:
        return torch.full(shape, 1.0 if name.endswith("weight") else 0.0, dtype=torch.bfloat16)
    block = torch.randn(min(int(np.prod(shape)), DRAWN), generator=generator)
    scale = 0.02 / shape[1] ** 0.5 if "lora_up" in name or name.endswith(".up") else np.prod(shape[1:]) ** -0.5
    values = block.repeat(-(-int(np.prod(shape)) // len(block)))[: int(np.prod(shape))]
    return (values * scale).reshape(shape).bfloat16()


class Bench:
    """Where the files lie, and the checkpoint that others need beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.residency = Residency("cpu", dtypes=DtypePolicy(*[torch.bfloat16] * 3))

    def file(self, name: str, shapes: Callable[[], Shapes]) -> Path:
        path = self.folder / name
        if not path.exists():
            write(path, shapes())
        return path

    def base(self) -> tuple[Any, Any, Any]:
        return load_checkpoint(self.file("sdxl.safetensors", checkpoint_shapes), self.residency)


def conditioning(clip: Any, extra: dict[str, Any] | None = None) -> list[list[Any]]:
    ids = [[49406, 320, 2368, *[49407] * 74]]
    l, g = encode_tokens(clip, ids, "l"), encode_tokens(clip, ids, "g")  # noqa: E741
    return [[torch.cat([l.hidden, g.hidden], dim=-1), {"pooled_output": g.pooled, **(extra or {})}]]


def one_step(model: Any, positive: list, negative: list) -> Tensor:
    latent = {"samples": torch.zeros(1, 4, LATENT, LATENT)}
    options = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal"}
    return sample(model, positive, negative, latent, **options)["samples"]


def run_sdxl(bench: Bench) -> Tensor:
    model, clip, vae = bench.base()
    words = conditioning(clip)
    return vae.decode(one_step(model, words, words))


def run_lora(bench: Bench) -> Tensor:
    model, clip, _ = bench.base()
    words = conditioning(clip)
    plain = one_step(model, words, words)
    lora = load_lora(bench.file("lora.safetensors", lora_shapes))
    model, clip, warnings = add_lora(model, clip, lora, 1.0, 1.0)
    if warnings:
        raise SystemExit(f"LoRA: {warnings}")
    changed = one_step(model, words, words)
    if torch.equal(plain, changed):
        raise SystemExit("LoRA: it changes nothing")
    return changed


def run_control(bench: Bench) -> Tensor:
    model, clip, _ = bench.base()
    words = conditioning(clip)
    network = load_control(bench.file("control-lora.safetensors", control_shapes), bench.residency)
    steered = controlled(words, Control(network, torch.rand(1, 128, 128, 3), 1.0), True)
    return one_step(model, steered, steered)


def run_upscaler(bench: Bench) -> Tensor:
    upscaler = load_upscaler(bench.file("rrdb.safetensors", rrdb_shapes), bench.residency)
    return upscaler.upscale(torch.rand(1, 32, 32, 3))


def run_image_prompt(bench: Bench) -> Tensor:
    model, clip, _ = bench.base()
    words = conditioning(clip)
    vision = load_clip_vision(bench.file("vit-h.safetensors", vision_shapes), bench.residency)
    seen = vision.encode(torch.rand(1, vision.side, vision.side, 3))
    adapter = load_adapter(bench.file("ip-adapter-plus.safetensors", adapter_shapes), bench.residency)
    prompt = adapter.prompt(seen, model, 1.0, 1.0)
    return one_step(model.patched(image_prompts=(prompt,)), words, words)


def run_safety(bench: Bench) -> Tensor:
    checker = load_safety_checker(bench.file("safety.safetensors", safety_shapes), bench.residency)
    return checker.blacked_out(torch.rand(1, 256, 256, 3))[0]


RUNS: dict[str, Callable[[Bench], Tensor]] = {
    "sdxl": run_sdxl,
    "lora": run_lora,
    "control-lora": run_control,
    "upscaler": run_upscaler,
    "image-prompt": run_image_prompt,
    "safety": run_safety,
}


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(RUNS)}; all without")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/full-size"))
    args = parser.parse_args(arguments)
    args.folder.mkdir(parents=True, exist_ok=True)
    torch.set_grad_enabled(False)
    for name in args.formats or RUNS:
        begun = time.monotonic()
        result = RUNS[name](Bench(args.folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        finite = bool(torch.isfinite(result).all())
        took_s = time.monotonic() - begun
        sys.stdout.write(f"{name}: {tuple(result.shape)}, finite {finite}, {took_s:.0f} s, {peak:.1f} GiB\n")
        sys.stdout.flush()
        if not finite:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
