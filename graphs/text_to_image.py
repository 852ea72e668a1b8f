"""Text to image: a request becomes a graph with one branch per image."""

from graphs.builder import GraphBuilder
from graphs.catalog import Catalog
from graphs.image_prompts import chosen_prompts, control_prompts, show_preprocessed, steered
from graphs.images import image_text
from graphs.model import base_model
from graphs.request import GenerationRequest
from graphs.resolve import resolve
from graphs.sampling import encode_prompts, sample
from graphs.save import Compiled, save

__all__ = ["Compiled", "text_to_image"]


def text_to_image(request: GenerationRequest, catalog: Catalog) -> Compiled:
    """Compile a request. The same request and catalog give the same graph, byte for byte.

    The seed must be settled (`request.seeded()`). Raises Refused for what cannot be done.
    """
    generation, warnings = resolve(request, catalog)
    prompts = chosen_prompts(request, warnings)
    g = GraphBuilder()
    if prompts and request.preprocessing.debug:
        return show_preprocessed(g, prompts, request, generation, catalog, warnings)
    steering = steered(g, base_model(g, generation), prompts, request, generation, catalog)
    base = steering.base
    images = []
    for index in range(generation.image_number):
        text = image_text(generation, catalog, index)
        positive, negative = control_prompts(g, *encode_prompts(g, base, text, generation), steering)
        latent = g.EmptyLatentImage(width=generation.width, height=generation.height, batch_size=1)
        latent = sample(g, base, positive, negative, latent, text.seed, generation)
        decoded = g.VAEDecode(samples=latent, vae=base.decoder)
        images.append(save(g, decoded, text, generation, catalog))
    return Compiled(g.build(), images, warnings, generation.preview, generation)
