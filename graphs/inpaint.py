"""Inpaint and outpaint: the masked part of a picture, or what is new around it, is painted anew (behaviour §5.4)."""

from msgspec.structs import replace

from graphs.builder import GraphBuilder, Link, Node
from graphs.catalog import Catalog, native_px
from graphs.geometry import class_of, inpainted_size
from graphs.image_prompts import chosen_prompts, show_preprocessed, steered
from graphs.image_to_image import from_latent
from graphs.inpaint_choice import Repaint, with_additional_prompt
from graphs.inpaint_engine import installed_engine
from graphs.model import base_model
from graphs.request import GenerationRequest
from graphs.resolve import Generation, resolve
from graphs.save import Compiled, save_plain

FILLED_OVER = 0.99  # below this strength something of the old content is to be kept


def inpaint(request: GenerationRequest, catalog: Catalog, repaint: Repaint, warnings: list[str]) -> Compiled:
    """Compile an inpaint request. The picture gives the size; the request's own size is not used.

    The same request and catalog give the same graph, byte for byte. Raises Refused for what cannot be done.
    """
    asked = repaint.asked
    request = replace(request, prompt=with_additional_prompt(request.prompt, asked.additional_prompt))
    generation, found = resolve(request, catalog)
    warnings = [*warnings, *found]
    preset = catalog.preset(request.preset or "initial") or catalog.preset_in_force
    engine = installed_engine(asked.engine, preset.inpaint_engine_version, generation.checkpoint, catalog, warnings)
    generation = _sized(generation, repaint, catalog)
    prompts = chosen_prompts(request, warnings)
    g = GraphBuilder()
    picture, mask = _picture_and_mask(g, repaint)
    crop = _crop(g, picture, mask, repaint, generation, catalog, warnings)
    image = g.FillMasked(image=crop["IMAGE"], mask=crop["MASK"]) if repaint.strength > FILLED_OVER else crop["IMAGE"]
    if asked.debug:
        shown = (image, g.MaskToImage(mask=crop["MASK"]), crop["IMAGE"])
        images = [save_plain(g, view, generation, index) for index, view in enumerate(shown)]
        return Compiled(g.build(), images, warnings, generation.preview, generation)
    if prompts and request.preprocessing.debug:
        return show_preprocessed(g, prompts, request, generation, catalog, warnings, like=crop["IMAGE"])
    base = base_model(g, generation)
    if engine is not None:
        model = g.ApplyInpaintEngine(
            model=base.model, vae=base.vae, image=crop["IMAGE"], mask=crop["MASK"], head=engine.head, patch=engine.patch
        )
        base = replace(base, model=model)
    steering = steered(g, base, prompts, request, generation, catalog, like=crop["IMAGE"])
    base = steering.base
    latent = g.EncodeInpaint(
        image=image, mask=crop["MASK"], vae=base.vae, disable_initial_latent=asked.disable_initial_latent
    )
    images = from_latent(
        g,
        base,
        latent,
        generation,
        catalog,
        denoise=repaint.strength,
        decode=lambda sampled: g.PasteInpaint(
            image=picture,
            generated=g.VAEDecode(samples=sampled, vae=base.vae),
            mask=mask,
            area=crop["INPAINT_AREA"],
        ),
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


def _crop(
    g: GraphBuilder,
    picture: Node | Link,
    mask: Node | Link,
    repaint: Repaint,
    generation: Generation,
    catalog: Catalog,
    warnings: list[str],
) -> Node:
    upscaler = catalog.upscaler(generation.checkpoint)
    base_px = native_px(generation.checkpoint)
    may_be_small = repaint.respective_field < 1 or class_of(repaint.height, repaint.width, base_px) < base_px
    if upscaler is None and may_be_small:
        warnings.append("No upscaler is installed: a small area is enlarged without one.")
    enlarging = {"upscale_model": g.UpscaleModelLoader(model_name=upscaler)} if upscaler else {}
    return g.CropForInpaint(
        image=picture,
        mask=mask,
        **enlarging,
        respective_field=repaint.respective_field,
        base_size=base_px,
    )


def _sized(generation: Generation, repaint: Repaint, catalog: Catalog) -> Generation:
    """Record the size that the model works at, or, where only the mask decides it, the picture's."""
    height, width = repaint.height, repaint.width
    if repaint.respective_field >= 1:
        upscaled = catalog.upscaler(generation.checkpoint) is not None
        height, width = inpainted_size(height, width, native_px(generation.checkpoint), upscaled)
    return replace(generation, width=width, height=height)
