"""From words and noise to a latent: encoded prompts and the sampler of one image."""

from graphs.builder import GraphBuilder, Link, Node
from graphs.expansion import expand
from graphs.images import ImageText
from graphs.model import Base, guided
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
        denoise=denoise,
    )
