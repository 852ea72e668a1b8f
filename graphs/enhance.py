"""Enhance: every finished picture, or one that is sent, goes through stages that find something and repaint it.

Fooocus behaviour §5.8. Each stage works on what the one before it left; a vary or upscale pass comes before or after
all of them. Image prompts and ControlNets have no part in it, and every pass uses the seed of the job.
"""

from engine.graph import Link as GraphLink
from graphs.builder import GraphBuilder, Link
from graphs.catalog import Catalog, native_px
from graphs.enhance_choice import settled
from graphs.enhance_line import Line, Picture
from graphs.geometry import diffused_size, goes_direct, upscaled_size
from graphs.inpaint_choice import chosen_inpaint
from graphs.request import GenerationRequest, InputImage, Refused
from graphs.request_parts import Enhance
from graphs.resolve import Generation
from graphs.save import Compiled, ImagePlan
from graphs.uov import MAX_PIXELS, Upscale, chosen

NOTHING_TO_DO = (
    "Nothing was done, and there is no picture: no stage is active and the upscale or vary method is Disabled. "
    "Enable a stage that says what to look for, or choose a method."
)


def enhance_picture(request: GenerationRequest, enhance: Enhance, picture: InputImage, catalog: Catalog) -> Compiled:
    """Compile a request that enhances one picture of its own. Raises Refused for what cannot be done.

    Without a stage or a method it makes no picture, as in Fooocus: the graph only says so.
    """
    warnings: list[str] = []
    plan = settled(request, enhance, warnings)
    if picture.width < 1 or picture.height < 1 or picture.width * picture.height > MAX_PIXELS:
        size, most = f"{picture.width}x{picture.height}", f"{MAX_PIXELS} pixels (4096x4096)"
        raise Refused("enhance.image", f"The picture has {size} pixels.", f"Pictures of up to {most} can be enhanced.")
    g = GraphBuilder()
    line = Line(g, request, plan, catalog, warnings)
    if not plan.has_work:
        said = g.ShowText(text=NOTHING_TO_DO)
        return Compiled(g.build(), [], [*warnings, NOTHING_TO_DO], False, line.generation, [said.node_id])
    start = Picture(g.LoadImage(image=picture.name), picture.height, picture.width)
    images = line.run([start], first_index=0)
    return Compiled(g.build(), images, warnings, not request.disable_preview, line.generation)


def enhanced(request: GenerationRequest, enhance: Enhance, compiled: Compiled, catalog: Catalog) -> Compiled:
    """Let every picture of a compiled flow be enhanced as well. The flow's own pictures come first in the answer."""
    warnings = list(compiled.warnings)
    plan = settled(request, enhance, warnings)
    if not plan.has_work or _shows_steps_only(request):
        return compiled
    g = GraphBuilder(compiled.graph.to_json())
    height, width = _size_of_results(request, compiled.generation, catalog)
    first = request.first_image
    starts = [
        Picture(_link(compiled, image), height, width, first + number) for number, image in enumerate(compiled.images)
    ]
    kept: list[ImagePlan] = []
    if plan.final_only:
        for image in compiled.images:
            del g.nodes[image.node_id]
    else:
        kept = list(compiled.images)
    line = Line(g, request, plan, catalog, warnings)
    images = line.run(starts, first_index=len(kept))
    return Compiled(g.build(), [*kept, *images], warnings, not request.disable_preview, compiled.generation)


def _shows_steps_only(request: GenerationRequest) -> bool:
    """Whether the flow only shows what it prepares, and makes no picture."""
    inpainting = request.inpaint is not None and request.inpaint.debug and chosen(request) is None
    return inpainting or (bool(request.image_prompts) and request.preprocessing.debug)


def _size_of_results(request: GenerationRequest, generation: Generation, catalog: Catalog) -> tuple[int, int]:
    """The size of the pictures that a flow makes; its generation has it, but for pasted and fast ones."""
    method, picture = chosen(request), request.input_image
    if picture is not None and isinstance(method, Upscale):
        size = picture.height, picture.width, method.factor, native_px(generation.checkpoint)
        return upscaled_size(*size) if method.fast or goes_direct(*size) else diffused_size(*size)
    repaint = chosen_inpaint(request, []) if method is None else None
    if repaint is not None:
        return repaint.height, repaint.width
    return generation.height, generation.width


def _link(compiled: Compiled, image: ImagePlan) -> Link:
    """What the node that saves a picture is given."""
    source = compiled.graph.nodes[image.node_id].inputs["images"]
    assert isinstance(source, GraphLink)
    return Link(source.source, source.slot)
