"""Which flow a request asks for: the one door through which any request becomes a graph."""

from graphs.catalog import Catalog
from graphs.request import GenerationRequest
from graphs.save import Compiled
from graphs.text_to_image import text_to_image
from graphs.uov import Upscale, Vary, chosen
from graphs.upscale import upscale
from graphs.vary import vary


def compile_request(request: GenerationRequest, catalog: Catalog) -> Compiled:
    """Compile a request whose seed is settled. Raises Refused for what cannot be done."""
    method = chosen(request)
    match method:
        case Vary():
            return vary(request, catalog, method)
        case Upscale():
            return upscale(request, catalog, method)
        case None:
            return text_to_image(request, catalog)
