"""The model of a request: checkpoint, VAE, LoRAs and the patches that guide sampling."""

from math import isclose

from msgspec import Struct

from graphs.builder import GraphBuilder, Link, Node
from graphs.resolve import Generation


class Base(Struct, frozen=True):
    """What all images of a request share: the model as patched, the text encoders, the VAE."""

    model: Node | Link
    clip: Node | Link
    vae: Node | Link


def base_model(g: GraphBuilder, generation: Generation) -> Base:
    """Load the checkpoint (and a VAE of its own), add LoRAs, clip skip and the patches that guide sampling."""
    loader = g.CheckpointLoaderSimple(ckpt_name=generation.checkpoint)
    model, clip, vae = loader["MODEL"], loader["CLIP"], loader["VAE"]
    if generation.vae is not None:
        vae = g.VAELoader(vae_name=generation.vae)
    for lora in generation.loras:
        patched = g.LoraLoader(
            model=model, clip=clip, lora_name=lora.name, strength_model=lora.weight, strength_clip=lora.weight
        )
        model, clip = patched["MODEL"], patched["CLIP"]
    if generation.clip_skip != 2:  # 2 is what SDXL text encoders do anyway.
        clip = g.CLIPSetLastLayer(clip=clip, stop_at_clip_layer=-generation.clip_skip)
    positive, negative, end = generation.adm_scaler
    model = g.ScaleSizeConditioning(model=model, positive=positive, negative=negative, end=end)
    if guided(generation):
        model = g.AdaptiveGuidance(model=model, adaptive_cfg=generation.adaptive_cfg, sharpness=generation.sharpness)
    if freeu := generation.freeu:
        model = g.FreeU_V2(model=model, b1=freeu.b1, b2=freeu.b2, s1=freeu.s1, s2=freeu.s2)
    return Base(model, clip, vae)


def guided(generation: Generation) -> bool:
    """Whether the negative prompt counts: at guidance 1 the negative is never evaluated."""
    return not isclose(generation.guidance_scale, 1.0, abs_tol=1e-4)
