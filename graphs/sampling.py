"""From words and noise to a latent: encoded prompts and the sampler of one image."""

from graphs.builder import GraphBuilder, Link, Node
from graphs.expansion import expand
from graphs.images import ImageText
from graphs.model import Base, guided
from graphs.refiner import Refining
from graphs.resolve import Generation


def encode_prompts(g: GraphBuilder, base: Base, text: ImageText, generation: Generation) -> tuple[Node, Node]:
    """Encode the chunks of one image. Without guidance the positive stands in for the negative."""
    positive = g.EncodePrompts(clip=base.clip, texts=text.positive, pooled_top_k=text.positive_top_k)
    if text.expansion:  # one more chunk, which is not pooled
        expanded = expand(g, generation.expansion, text.prompt, text.seed)
        more = g.CLIPTextEncode(clip=base.clip, text=expanded)
        positive = g.ConditioningConcat(conditioning_to=positive, conditioning_from=more)
    if not guided(generation):
        return positive, positive
    return positive, g.EncodePrompts(clip=base.clip, texts=text.negative, pooled_top_k=text.negative_top_k)


def sample(
    g: GraphBuilder,
    base: Base,
    positive: Node | Link,
    negative: Node | Link,
    latent: Node,
    seed: int,
    generation: Generation,
    *,
    denoise: float = 1.0,
) -> Node:
    """Run the sampler from a latent. denoise: 1 starts from pure noise, less keeps that much of the latent."""
    run = {
        "latent_image": latent,
        "seed": seed,
        "steps": generation.steps,
        "cfg": generation.guidance_scale,
        "sampler_name": generation.sampler,
        "scheduler": generation.scheduler,
    }
    if base.alone:
        positive, negative = _for_refiner(g, base, base.model, positive, negative)
    if base.refiner is None:
        return g.SampleLatent(model=base.model, positive=positive, negative=negative, **run, denoise=denoise)
    refiner = base.refiner
    theirs = _for_refiner(g, base, refiner.model, positive, negative)
    return g.SampleWithRefiner(
        model=base.model,
        positive=positive,
        negative=negative,
        refiner=refiner.model,
        refiner_positive=theirs[0],
        refiner_negative=theirs[1],
        **run,
        switch=refiner.switch,
        method=refiner.method,
        denoise=denoise,
        **_other_latents(g, refiner, latent),
    )


def _for_refiner(
    g: GraphBuilder, base: Base, model: Node | Link, positive: Node | Link, negative: Node | Link
) -> tuple[Node, Node]:
    converted = g.ConditionRefiner(conditioning=positive, clip=base.clip, refiner=model)
    if negative == positive:
        return converted, converted
    return converted, g.ConditionRefiner(conditioning=negative, clip=base.clip, refiner=model)


def _other_latents(g: GraphBuilder, refiner: Refining, latent: Node) -> dict[str, Node]:
    """What a refiner with latents of its own needs: the way there and, to keep what a mask leaves, the picture."""
    if refiner.interposer is None:
        return {}
    made = g.nodes[latent.node_id]
    if made["class_type"] != "EncodeInpaint":
        return {"interposer": refiner.interposer}
    inputs = {name: Link(*value) if isinstance(value, list) else value for name, value in made["inputs"].items()}
    return {
        "interposer": refiner.interposer,
        "refiner_latent": g.once("EncodeInpaint", **inputs | {"vae": refiner.vae}),
    }
