"""From a latent made of a picture to new pictures: one branch per image, all from the same latent."""

from collections.abc import Callable

from graphs.builder import GraphBuilder, Node
from graphs.catalog import Catalog
from graphs.image_prompts import Steering, control_prompts
from graphs.images import image_text
from graphs.model import Base
from graphs.resolve import Generation
from graphs.sampling import encode_prompts, sample
from graphs.save import ImagePlan, save


def from_latent(
    g: GraphBuilder,
    base: Base,
    latent: Node,
    generation: Generation,
    catalog: Catalog,
    *,
    denoise: float,
    decode: Callable[[Node], Node],
    steering: Steering | None = None,
) -> list[ImagePlan]:
    """Sample every image of a request from a latent and save it.

    denoise: the share of noise, 0..1. steering: the controls; its base is the one to pass.
    """
    images = []
    for index in range(generation.image_number):
        text = image_text(generation, catalog, index)
        positive, negative = control_prompts(g, *encode_prompts(g, base, text, generation), steering)
        sampled = sample(g, base, positive, negative, latent, text.seed, generation, denoise=denoise)
        images.append(save(g, decode(sampled), text, generation, catalog))
    return images
