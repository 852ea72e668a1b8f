"""The model of a request: checkpoint, refiner, VAE, LoRAs and the patches that guide sampling."""

from math import isclose

from msgspec import Struct

from graphs.builder import GraphBuilder, Link, Node
from graphs.refiner import BASE_ONLY, REFINER_ONLY, Refining, load_refiner, share_of
from graphs.resolve import Generation


class Base(Struct, frozen=True):
    """What all images of a request share: the model as patched, the text encoders, the VAE.

    refiner: what goes on where the model stops. alone: model and VAE are the refiner's, which works by itself; the text
    encoders are the checkpoint's all the same.
    """

    model: Node | Link
    clip: Node | Link
    vae: Node | Link
    refiner: Refining | None = None
    alone: bool = False

    @property
    def decoder(self) -> Node | Link:
        """The VAE for what is sampled; `vae` is the one for what sampling starts from."""
        return self.refiner.vae if self.refiner is not None and self.refiner.vae is not None else self.vae


def base_model(g: GraphBuilder, generation: Generation, denoise: float = 1.0) -> Base:
    """Load the checkpoint (a VAE of its own, a refiner), add LoRAs, clip skip and the patches that guide sampling.

    denoise: the share of noise that sampling will start from; it may leave all the work to the model or the refiner.
    """
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
    share = share_of(generation.refiner, generation.steps, denoise)
    refiner = None
    if share != BASE_ONLY and generation.refiner is not None:
        refiner = load_refiner(g, generation.refiner, generation.loras, lambda loaded: _guided(g, loaded, generation))
    if share == REFINER_ONLY and refiner is not None and refiner.vae is not None:
        return Base(refiner.model, clip, refiner.vae, alone=True)
    model = _guided(g, model, generation)
    if freeu := generation.freeu:
        model = g.FreeU_V2(model=model, b1=freeu.b1, b2=freeu.b2, s1=freeu.s1, s2=freeu.s2)
    return Base(model, clip, vae, refiner)


def _guided(g: GraphBuilder, model: Node | Link, generation: Generation) -> Node:
    positive, negative, end = generation.adm_scaler
    patched = g.ScaleSizeConditioning(model=model, positive=positive, negative=negative, end=end)
    if not guided(generation):
        return patched
    return g.AdaptiveGuidance(model=patched, adaptive_cfg=generation.adaptive_cfg, sharpness=generation.sharpness)


def guided(generation: Generation) -> bool:
    """Whether the negative prompt counts: at guidance 1 the negative is never evaluated."""
    return not isclose(generation.guidance_scale, 1.0, abs_tol=1e-4)
