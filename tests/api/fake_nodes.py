"""The node classes of the REST graphs without torch: same names and inputs, pictures of one colour.

Words in a prompt steer them: "slow" takes 50 ms per step, "deaf" too and reports none, "boom" raises, "die" ends the
worker process.
"""

import hashlib
import os
import time
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from engine.context import Context
from engine.node import node
from engine.types import Socket, Ui

Model = Annotated[Any, Socket("MODEL")]
Clip = Annotated[Any, Socket("CLIP")]
Vae = Annotated[Any, Socket("VAE")]
Conditioning = Annotated[Any, Socket("CONDITIONING")]
Latent = Annotated[dict, Socket("LATENT")]
Picture = Annotated[Any, Socket("IMAGE")]


@node("CheckpointLoaderSimple", category="loaders", outputs=("MODEL", "CLIP", "VAE"))
def load_checkpoint(ckpt_name: str) -> tuple[Model, Clip, Vae]:
    """Pretend to load a checkpoint."""
    return ckpt_name, ckpt_name, ckpt_name


@node("LoraLoader", category="loaders", outputs=("MODEL", "CLIP"))
def load_lora(
    model: Model, clip: Clip, lora_name: str, strength_model: float, strength_clip: float
) -> tuple[Model, Clip]:
    """Pretend to patch."""
    return f"{model}+{lora_name}:{strength_model}", f"{clip}+{lora_name}:{strength_clip}"


@node("CLIPSetLastLayer", category="conditioning")
def set_last_layer(clip: Clip, stop_at_clip_layer: int) -> Clip:
    """Pretend to skip layers."""
    return f"{clip}@{stop_at_clip_layer}"


@node("ScaleSizeConditioning", category="model")
def scale_size(model: Model, positive: float = 1.5, negative: float = 0.8, end: float = 0.3) -> Model:
    """Pretend to scale."""
    return f"{model}/{positive},{negative},{end}"


@node("AdaptiveGuidance", category="model")
def adaptive_guidance(model: Model, adaptive_cfg: float = 7.0, sharpness: float = 2.0) -> Model:
    """Pretend to guide."""
    return f"{model}/{adaptive_cfg},{sharpness}"


@node("FreeU_V2", category="model")
def free_u(model: Model, b1: float, b2: float, s1: float, s2: float) -> Model:
    """Pretend to patch."""
    return f"{model}/{b1},{b2},{s1},{s2}"


@node("EncodePrompts", category="conditioning")
def encode_prompts(clip: Clip, texts: list[str], pooled_top_k: int = 1) -> Conditioning:
    """Keep the words."""
    return list(texts)


@node("EmptyLatentImage", category="latent")
def empty_latent(
    width: Annotated[int, Meta(ge=16, le=16384)],
    height: Annotated[int, Meta(ge=16, le=16384)],
    batch_size: Annotated[int, Meta(ge=1, le=64)] = 1,
) -> Latent:
    """Keep the size."""
    return {"width": width, "height": height}


@node("SampleLatent", category="sampling")
def sample(
    context: Context,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    seed: int,
    steps: Annotated[int, Meta(ge=1, le=10000)],
    cfg: float,
    sampler_name: str,
    scheduler: str,
    denoise: float = 1.0,
) -> Latent:
    """Count the steps."""
    words = " ".join(positive)
    if "boom" in words:
        raise RuntimeError("the sampler exploded")
    _die_as_told(context, words)
    for step in range(steps):
        if "deaf" not in words:
            context.progress(step + 1, steps)
            context.preview(_png((step % 256, 0, 0)), width=8, height=8)
        time.sleep(0.05 if "slow" in words or "deaf" in words else 0)
    key = f"{model}|{words}|{' '.join(negative)}|{seed}|{steps}|{cfg}|{sampler_name}|{scheduler}"
    return {**latent_image, "colour": tuple(hashlib.sha256(key.encode()).digest()[:3])}


def _die_as_told(context: Context, words: str) -> None:
    """ "die" ends the process at every attempt, "die once" only at the first."""
    mark = Path(context.temp_dir) / f"{context.job_id}.died"
    if "die" not in words.split() or ("once" in words.split() and mark.exists()):
        return
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    os._exit(9)


@node("VAEDecode", category="latent")
def decode_latent(samples: Latent, vae: Vae) -> Picture:
    """Give the colour."""
    return samples


@node("SaveGeneration", category="image", output=True, cacheable=False)
def save_generation(
    context: Context,
    images: Picture,
    name: str = "",
    index: int = 0,
    extension: str = "png",
    metadata: str = "",
    scheme: str = "",
    folder: str = "",
    by_time: bool = False,
) -> Ui:
    """Write the colour to a file."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    place = Path(context.output_dir) / (folder or time.strftime("%Y-%m-%d"))
    place.mkdir(parents=True, exist_ok=True)
    filename = f"{name or context.job_id}-{index}.{extension}"
    if by_time and not name:
        filename = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{1000 + time.time_ns() // 1000 % 9000}.{extension}"
    if isinstance(images, Image.Image):
        image = images
    else:
        image = Image.new("RGB", (images["width"] // 8, images["height"] // 8), images["colour"])
    options: dict[str, Any] = {}
    if extension == "png" and scheme:
        info = PngInfo()
        info.add_text("parameters", metadata)
        info.add_text("fooocus_scheme", scheme)
        options["pnginfo"] = info
    image.save(place / filename, "JPEG" if extension == "jpg" else extension.upper(), **options)
    return Ui({"images": [{"filename": filename, "subfolder": place.name, "type": "output"}]})


def _png(colour: tuple[int, int, int]) -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "PNG")
    return out.getvalue()
