"""Repainting a masked area, piece by piece: what inpainting and enhancing share (Fooocus behaviour §5.4.3-5.4.7)."""

from msgspec import Struct
from msgspec.structs import replace

from graphs.builder import GraphBuilder, Link, Node
from graphs.catalog import Catalog, native_px
from graphs.geometry import class_of, inpainted_size
from graphs.inpaint_engine import UNTIL, Engine
from graphs.model import Base
from graphs.resolve import Generation

FILLED_OVER = 0.99  # below this strength something of the old content is to be kept


class Area(Struct, frozen=True):
    """What is to be repainted. crop: the CropForInpaint that shows it to the model. start: what it begins with."""

    picture: Node | Link
    mask: Node | Link
    crop: Node
    start: Node | Link


def area_of(
    g: GraphBuilder,
    picture: Node | Link,
    mask: Node | Link,
    *,
    respective_field: float,
    strength: float,
    checkpoint: str,
    catalog: Catalog,
) -> Area:
    """Cut out the area, enlarged by an upscaler where there is one, and fill it where nothing of it shall stay."""
    upscaler = catalog.upscaler(checkpoint)
    enlarging = {"upscale_model": g.UpscaleModelLoader(model_name=upscaler)} if upscaler else {}
    crop = g.CropForInpaint(
        image=picture, mask=mask, **enlarging, respective_field=respective_field, base_size=native_px(checkpoint)
    )
    start = g.FillMasked(image=crop["IMAGE"], mask=crop["MASK"]) if strength > FILLED_OVER else crop["IMAGE"]
    return Area(picture, mask, crop, start)


def with_engine(g: GraphBuilder, base: Base, area: Area, engine: Engine | None, until: float) -> Base:
    """Let the model see the mask and its surroundings. until: share of the steps, 1 for all of them.

    A refiner that works alone has no engine.
    """
    if engine is None or base.alone:
        return base
    ending = {} if until == UNTIL else {"until": until}
    model = g.ApplyInpaintEngine(
        model=base.model,
        vae=base.vae,
        image=area.crop["IMAGE"],
        mask=area.crop["MASK"],
        head=engine.head,
        patch=engine.patch,
        **ending,
    )
    return replace(base, model=model)


def latent_of(g: GraphBuilder, base: Base, area: Area, disable_initial_latent: bool) -> Node:
    """The latent that sampling starts from; only its masked cells change."""
    return g.EncodeInpaint(
        image=area.start, mask=area.crop["MASK"], vae=base.vae, disable_initial_latent=disable_initial_latent
    )


def pasted(g: GraphBuilder, base: Base, area: Area, sampled: Node | Link) -> Node:
    """Decode what was sampled and put it back into the whole picture."""
    return g.PasteInpaint(
        image=area.picture,
        generated=g.VAEDecode(samples=sampled, vae=base.decoder),
        mask=area.mask,
        area=area.crop["INPAINT_AREA"],
    )


def lacks_upscaler(height: int, width: int, respective_field: float, checkpoint: str, catalog: Catalog) -> bool:
    """Whether a small area of a picture of this size would have to be enlarged without an upscaler."""
    base_px = native_px(checkpoint)
    may_be_small = respective_field < 1 or class_of(height, width, base_px) < base_px
    return may_be_small and catalog.upscaler(checkpoint) is None


def sized(generation: Generation, height: int, width: int, respective_field: float, catalog: Catalog) -> Generation:
    """Record the size that the model works at, or, where only the mask decides it, the picture's."""
    if respective_field >= 1:
        upscaled = catalog.upscaler(generation.checkpoint) is not None
        height, width = inpainted_size(height, width, native_px(generation.checkpoint), upscaled)
    return replace(generation, width=width, height=height)
