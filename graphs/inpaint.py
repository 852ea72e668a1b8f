"""Inpaint and outpaint: the masked part of a picture, or what is new around it, is painted anew (behaviour §5.4)."""

from msgspec.structs import replace

from graphs.builder import GraphBuilder, Link, Node
from graphs.catalog import Catalog
from graphs.image_prompts import chosen_prompts, show_preprocessed, steered
from graphs.image_to_image import from_latent
from graphs.inpaint_choice import Repaint, with_additional_prompt
from graphs.inpaint_engine import UNTIL, engine_until, installed_engine
from graphs.model import base_model
from graphs.repainting import area_of, lacks_upscaler, latent_of, pasted, sized, with_engine
from graphs.request import GenerationRequest
from graphs.resolve import resolve
from graphs.save import Compiled, save_plain


def inpaint(request: GenerationRequest, catalog: Catalog, repaint: Repaint, warnings: list[str]) -> Compiled:
    """Compile an inpaint request. The picture gives the size; the request's own size is not used.

    The same request and catalog give the same graph, byte for byte. Raises Refused for what cannot be done.
    """
    asked = repaint.asked
    request = replace(request, prompt=with_additional_prompt(request.prompt, asked.additional_prompt))
    generation, found = resolve(request, catalog)
    warnings = [*warnings, *found]
    engine = installed_engine(asked.engine, generation.default_engine, generation.checkpoint, catalog, warnings)
    if engine is not None and generation.refiner is None:
        generation = replace(generation, refiner_switch=UNTIL)  # as Fooocus records it
    generation = sized(generation, repaint.height, repaint.width, repaint.respective_field, catalog)
    prompts = chosen_prompts(request, warnings)
    g = GraphBuilder()
    picture, mask = _picture_and_mask(g, repaint)
    checkpoint = generation.checkpoint
    if lacks_upscaler(repaint.height, repaint.width, repaint.respective_field, checkpoint, catalog):
        warnings.append("No upscaler is installed: a small area is enlarged without one.")
    area = area_of(
        g,
        picture,
        mask,
        respective_field=repaint.respective_field,
        strength=repaint.strength,
        checkpoint=checkpoint,
        catalog=catalog,
    )
    if asked.debug:
        shown = (area.start, g.MaskToImage(mask=area.crop["MASK"]), area.crop["IMAGE"])
        images = [save_plain(g, view, generation, index) for index, view in enumerate(shown)]
        return Compiled(g.build(), images, warnings, generation.preview, generation)
    if prompts and request.preprocessing.debug:
        return show_preprocessed(g, prompts, request, generation, catalog, warnings, like=area.crop["IMAGE"])
    base = base_model(g, generation, repaint.strength)
    base = with_engine(g, base, area, engine, engine_until(generation))
    steering = steered(g, base, prompts, request, generation, catalog, like=area.crop["IMAGE"])
    base = steering.base
    latent = latent_of(g, base, area, asked.disable_initial_latent)
    images = from_latent(
        g,
        base,
        latent,
        generation,
        catalog,
        denoise=repaint.strength,
        decode=lambda sampled: pasted(g, base, area, sampled),
        steering=steering,
    )
    return Compiled(g.build(), images, warnings, generation.preview, generation)


def _picture_and_mask(g: GraphBuilder, repaint: Repaint) -> tuple[Node | Link, Node | Link]:
    """The whole picture and its mask, padded where it is to be extended."""
    asked = repaint.asked
    picture: Node | Link = g.LoadImage(image=repaint.picture.name)
    painted = {"mask_image": g.LoadImage(image=asked.mask)} if asked.mask is not None else {}
    mask: Node | Link = g.AssembleMask(
        image=picture, **painted, erode_or_dilate=asked.erode_or_dilate, invert=asked.invert_mask
    )
    if padding := repaint.padding:
        padded = g.PadForOutpaint(
            image=picture, mask=mask, left=padding.left, top=padding.top, right=padding.right, bottom=padding.bottom
        )
        picture, mask = padded["IMAGE"], padded["MASK"]
    return picture, mask
