"""Vary: a picture, noised to a part and denoised again, so that its layout stays and its details do not."""

from msgspec.structs import replace

from graphs.builder import GraphBuilder
from graphs.catalog import Catalog, native_px
from graphs.geometry import varied_size
from graphs.image_prompts import chosen_prompts, show_preprocessed, steered
from graphs.image_to_image import from_latent
from graphs.model import base_model
from graphs.request import GenerationRequest
from graphs.resolve import resolve
from graphs.save import Compiled
from graphs.uov import Vary, input_image


def vary(request: GenerationRequest, catalog: Catalog, method: Vary) -> Compiled:
    """Compile a Vary request. The picture gives the size; the request's own size is not used.

    The same request and catalog give the same graph, byte for byte. Raises Refused for what cannot be done.
    """
    picture = input_image(request)
    generation, warnings = resolve(request, catalog)
    base_px = native_px(generation.checkpoint)
    height, width = varied_size(picture.height, picture.width, base_px)
    generation = replace(generation, width=width, height=height)
    prompts = chosen_prompts(request, warnings)
    g = GraphBuilder()
    if prompts and request.preprocessing.debug:
        return show_preprocessed(g, prompts, request, generation, catalog, warnings)
    steering = steered(g, base_model(g, generation, method.strength), prompts, request, generation, catalog)
    base = steering.base
    fitted = g.FitForVary(image=g.LoadImage(image=picture.name), base_size=base_px)
    latent = g.VAEEncode(pixels=fitted, vae=base.vae)
    images = from_latent(
        g,
        base,
        latent,
        generation,
        catalog,
        denoise=method.strength,
        decode=lambda sampled: g.VAEDecode(samples=sampled, vae=base.decoder),
        steering=steering,
    )
    return Compiled(g.build(), images, warnings, generation.preview, generation)
