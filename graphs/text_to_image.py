"""Text to image: a request becomes a graph with one branch per image."""

from collections.abc import Sequence
from math import isclose

from msgspec import Struct

from engine.graph import Graph
from graphs.builder import GraphBuilder, Link, Node
from graphs.catalog import Catalog
from graphs.images import ImageText, image_text
from graphs.metadata import payload
from graphs.request import GenerationRequest
from graphs.resolve import Generation, resolve


class ImagePlan(Struct, frozen=True):
    """One image of the answer: which node saves it, its seed and its words."""

    index: int
    node_id: str
    seed: int
    prompt: str
    negative_prompt: str
    styles: Sequence[str]


class Compiled(Struct, frozen=True):
    """A request as a graph. `preview`: the caller wants to see steps. `warnings`: what differs from the request."""

    graph: Graph
    images: Sequence[ImagePlan]
    warnings: Sequence[str]
    preview: bool
    generation: Generation

    @property
    def outputs(self) -> list[str]:
        """Ids of the nodes to run the graph for."""
        return [image.node_id for image in self.images]


class Base(Struct, frozen=True):
    """What all images of a request share: the model as patched, the text encoders, the VAE."""

    model: Node | Link
    clip: Node | Link
    vae: Node | Link


def text_to_image(request: GenerationRequest, catalog: Catalog) -> Compiled:
    """Compile a request. The same request and catalog give the same graph, byte for byte.

    The seed must be settled (`request.seeded()`). Raises Refused for what cannot be done.
    """
    generation, warnings = resolve(request, catalog)
    g = GraphBuilder()
    base = base_model(g, generation)
    images = []
    for index in range(generation.image_number):
        text = image_text(generation, catalog, index)
        positive, negative = encode_prompts(g, base, text, generation)
        latent = g.EmptyLatentImage(width=generation.width, height=generation.height, batch_size=1)
        latent = sample(g, base, positive, negative, latent, text.seed, generation)
        decoded = g.VAEDecode(samples=latent, vae=base.vae)
        saved = save(g, decoded, text, generation, catalog)
        images.append(ImagePlan(index, saved.node_id, text.seed, text.prompt, text.negative_prompt, list(text.styles)))
    return Compiled(g.build(), images, warnings, generation.preview, generation)


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


def encode_prompts(g: GraphBuilder, base: Base, text: ImageText, generation: Generation) -> tuple[Node, Node]:
    """Encode the chunks of one image. Without guidance the positive stands in for the negative."""
    positive = g.EncodePrompts(clip=base.clip, texts=text.positive, pooled_top_k=text.positive_top_k)
    if not guided(generation):
        return positive, positive
    return positive, g.EncodePrompts(clip=base.clip, texts=text.negative, pooled_top_k=text.negative_top_k)


def sample(
    g: GraphBuilder, base: Base, positive: Node, negative: Node, latent: Node, seed: int, generation: Generation
) -> Node:
    return g.SampleLatent(
        model=base.model,
        positive=positive,
        negative=negative,
        latent_image=latent,
        seed=seed,
        steps=generation.steps,
        cfg=generation.guidance_scale,
        sampler_name=generation.sampler,
        scheduler=generation.scheduler,
        denoise=1.0,
    )


def save(g: GraphBuilder, images: Node, text: ImageText, generation: Generation, catalog: Catalog) -> Node:
    """Write the picture, with its metadata when asked for."""
    scheme = generation.metadata_scheme if generation.save_metadata else ""
    return g.SaveGeneration(
        images=images,
        name=generation.save_name,
        index=text.index,
        extension=generation.save_extension,
        metadata=payload(generation, text, catalog) if scheme else "",
        scheme=scheme,
    )
