"""Which flow a request asks for: the one door through which any request becomes a graph."""

from msgspec.structs import replace

from graphs.catalog import Catalog
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

    Vary and upscale come before inpaint; without either, or with nothing to repaint, it is text to image.
    """
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
