"""What is written into a picture's file about how it was made, and reading it back (Fooocus behaviour §7.2-7.5, §12.4).

Two schemes: `fooocus` is a JSON object, `a1111` the text that AUTOMATIC1111's web UI made common. What is read is data
from a stranger: nothing in it is executed, and what cannot be understood is left out.
"""

import json
from typing import Any

from graphs import metadata_a1111, metadata_fooocus
from graphs.catalog import Catalog
from graphs.images import ImageText
from graphs.metadata_own import unsaid
from graphs.metadata_record import VERSION, record
from graphs.request import GenerationRequest
from graphs.resolve import Generation
from graphs.styles import StyleBook

MAX_CHARACTERS = 1_000_000  # No picture says more about itself; longer text is not read.


def payload(
    generation: Generation,
    text: ImageText,
    catalog: Catalog,
    again: GenerationRequest | None = None,
    *,
    version: str = VERSION,
) -> str:
    """The metadata of one image in the scheme asked for. again: as in `graphs.metadata_own.unsaid`."""
    facts = record(generation, text, catalog, version)
    scheme = metadata_a1111 if generation.metadata_scheme == "a1111" else metadata_fooocus
    written = scheme.write(facts)
    more = unsaid(read(written, catalog.styles), generation, text, catalog, again)
    return scheme.write(facts, more) if more else written


def read(parameters: str, styles: StyleBook | None = None) -> GenerationRequest | None:
    """The request that a picture's `parameters` describe, in either scheme; None when there is nothing to read.

    The scheme is told from the text itself: a JSON object is Fooocus's (also the one its log copies), anything else is
    A1111's. `styles` lets A1111 text be split back into the prompt and its styles.
    """
    if len(parameters) > MAX_CHARACTERS:
        return None
    content: Any = None
    if parameters.lstrip().startswith("{"):
        try:
            content = json.loads(parameters)
        except (ValueError, RecursionError):
            content = None
    if isinstance(content, dict):
        return metadata_fooocus.read(content)
    return metadata_a1111.read(parameters, styles)
