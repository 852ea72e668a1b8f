"""Which flow a request asks for: the one door through which any request becomes a graph."""

from msgspec.structs import replace

from graphs.catalog import Catalog
from graphs.enhance import enhance_picture, enhanced
from graphs.finish import finished
from graphs.inpaint import inpaint
from graphs.inpaint_choice import chosen_inpaint
from graphs.request import GenerationRequest
from graphs.save import Compiled
from graphs.text_to_image import text_to_image
from graphs.uov import Upscale, Vary, chosen
from graphs.upscale import upscale
from graphs.vary import vary


def compile_request(request: GenerationRequest, catalog: Catalog) -> Compiled:
    """Compile a request whose seed is settled. Raises Refused for what cannot be done.

    Vary and upscale come before inpaint; without either, or with nothing to repaint, it is text to image. A picture
    that is only to be enhanced comes before all of them.
    """
    return finished(_any_flow(request, catalog), request, catalog)


def _any_flow(request: GenerationRequest, catalog: Catalog) -> Compiled:
    enhance = request.enhance
    if enhance is not None and enhance.image is not None:
        return enhance_picture(request, enhance, enhance.image, catalog)
    compiled = _main_flow(request, catalog)
    return compiled if enhance is None else enhanced(request, enhance, compiled, catalog)


def _main_flow(request: GenerationRequest, catalog: Catalog) -> Compiled:
    method = chosen(request)
    match method:
        case Vary():
            return vary(request, catalog, method)
        case Upscale():
            return upscale(request, catalog, method)
        case None:
            return _inpaint_or_text(request, catalog)


def _inpaint_or_text(request: GenerationRequest, catalog: Catalog) -> Compiled:
    warnings: list[str] = []
    repaint = chosen_inpaint(request, warnings)
    if repaint is not None:
        return inpaint(request, catalog, repaint, warnings)
    compiled = text_to_image(request, catalog)
    return replace(compiled, warnings=[*warnings, *compiled.warnings])
