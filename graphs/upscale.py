"""Upscale: a picture enlarged by a super-resolution network and, unless fast or very large, gone over by the model."""

from msgspec.structs import replace

from graphs.builder import GraphBuilder, Link, Node
from graphs.catalog import Catalog, native_px
from graphs.geometry import diffused_size, goes_direct
from graphs.image_prompts import chosen_prompts, show_preprocessed, steered
from graphs.image_to_image import from_latent
from graphs.known_files import UPSCALER
from graphs.model import base_model
from graphs.request import GenerationRequest, InputImage, Refused
from graphs.resolve import Generation, resolve
from graphs.save import Compiled, save_plain
from graphs.uov import Upscale, input_image

TILE_PX = 512
ENCODE_OVERLAP_PX, DECODE_OVERLAP_PX = 64, 128


def upscale(request: GenerationRequest, catalog: Catalog, method: Upscale) -> Compiled:
    """Compile an Upscale request. Raises Refused for what cannot be done.

    A fast or very large result is the network's own: one image, no metadata, no model loaded.
    """
    picture = input_image(request)
    if method.fast:  # No mode's LoRA and no refiner will be used, so none may be missed.
        request = replace(request, performance="Speed", refiner_model="None")
    generation, warnings = resolve(request, catalog)
    upscaler = installed_upscaler(catalog, generation.checkpoint, "uov_method")
    g = GraphBuilder()
    enlarged = enlarge(g, g.LoadImage(image=picture.name), upscaler, method.factor, native_px(generation.checkpoint))
    if method.fast or goes_direct(picture.height, picture.width, method.factor, native_px(generation.checkpoint)):
        if not method.fast:
            warnings.append("The result is so large that it is returned as the upscaler made it, as one image.")
        if request.image_prompts:
            warnings.append("No model works on this picture, so that image prompts have nothing to steer.")
        saved = save_plain(g, enlarged, generation)
        return Compiled(g.build(), [saved], warnings, False, generation)
    return _diffused(g, enlarged, picture, request, generation, catalog, method, warnings)


def installed_upscaler(catalog: Catalog, checkpoint: str, field: str) -> str:
    """The upscaler to use beside a checkpoint. Raises Refused for the request's `field` when there is none."""
    upscaler = catalog.upscaler(checkpoint)
    if upscaler is None:
        raise Refused(
            field,
            f"Upscaling needs the file {UPSCALER}, which is not there.",
            f"Get it with: focal models download {UPSCALER}; or put another upscaler of the ESRGAN kind into "
            "models/upscale_models.",
        )
    return upscaler


def enlarge(g: GraphBuilder, original: Node | Link, upscaler: str, factor: float, base_px: int) -> Node:
    """Enlarge a picture by the network, then bring it to the size that the factor means."""
    large = g.ImageUpscaleWithModel(upscale_model=g.UpscaleModelLoader(model_name=upscaler), image=original)
    return g.FitForUpscale(image=large, original=original, factor=factor, base_size=base_px)


def _diffused(
    g: GraphBuilder,
    enlarged: Node,
    picture: InputImage,
    request: GenerationRequest,
    generation: Generation,
    catalog: Catalog,
    method: Upscale,
    warnings: list[str],
) -> Compiled:
    """Go over the enlarged picture with the model, with the steps that a mode gives to upscaling."""
    height, width = diffused_size(picture.height, picture.width, method.factor, native_px(generation.checkpoint))
    generation = replace(generation.upscaling(), width=width, height=height)
    prompts = chosen_prompts(request, warnings)
    if prompts and request.preprocessing.debug:
        return show_preprocessed(g, prompts, request, generation, catalog, warnings)
    steering = steered(g, base_model(g, generation, method.strength), prompts, request, generation, catalog)
    base = steering.base
    latent = g.VAEEncodeTiled(pixels=enlarged, vae=base.vae, tile_size=TILE_PX, overlap=ENCODE_OVERLAP_PX)
    images = from_latent(
        g,
        base,
        latent,
        generation,
        catalog,
        denoise=method.strength,
        decode=lambda sampled: g.VAEDecodeTiled(
            samples=sampled, vae=base.decoder, tile_size=TILE_PX, overlap=DECODE_OVERLAP_PX
        ),
        steering=steering,
    )
    return Compiled(g.build(), images, warnings, generation.preview, generation)
