"""The end of every flow: pictures are saved, and the caller learns which node saves which."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from engine.graph import Graph
from graphs.builder import GraphBuilder, Link, Node
from graphs.catalog import Catalog
from graphs.expansion import expand
from graphs.images import ImageText
from graphs.metadata import payload
from graphs.request import GenerationRequest
from graphs.resolve import Generation


class ImagePlan(Struct, frozen=True):
    """One image of the answer: which node saves it, its seed and its words."""

    index: int
    node_id: str
    seed: int
    prompt: str
    negative_prompt: str
    styles: Sequence[str]


class Compiled(Struct, frozen=True):
    """A request as a graph. `preview`: the caller wants to see steps. `warnings`: what differs from the request.

    said: nodes to run the graph for that make no picture.
    """

    graph: Graph
    images: Sequence[ImagePlan]
    warnings: Sequence[str]
    preview: bool
    generation: Generation
    said: Sequence[str] = ()

    @property
    def outputs(self) -> list[str]:
        """Ids of the nodes to run the graph for."""
        return [*(image.node_id for image in self.images), *self.said]


def save_plain(g: GraphBuilder, picture: Node | Link, generation: Generation, index: int = 0) -> ImagePlan:
    """Write a picture that no prompt made, without metadata."""
    saved = g.SaveGeneration(
        images=picture,
        **_name(generation),
        index=index,
        extension=generation.save_extension,
        metadata="",
        scheme="",
    )
    return ImagePlan(index, saved.node_id, generation.seed, "", "", [])


def save(
    g: GraphBuilder,
    images: Node | Link,
    text: ImageText,
    generation: Generation,
    catalog: Catalog,
    again: GenerationRequest | None = None,
) -> ImagePlan:
    """Write the picture, with its metadata when asked for. again: as in `graphs.metadata_own.unsaid`."""
    scheme = generation.metadata_scheme if generation.save_metadata else ""
    metadata: str | Node = payload(generation, text, catalog, again) if scheme else ""
    if scheme and text.expansion:
        words = expand(g, generation.expansion, text.prompt, text.seed)
        metadata = g.InsertText(template=metadata, slot=text.expansion, text=words, as_json=scheme == "fooocus")
    saved = g.SaveGeneration(
        images=images,
        **_name(generation),
        index=text.index,
        extension=generation.save_extension,
        metadata=metadata,
        scheme=scheme,
    )
    return ImagePlan(text.index, saved.node_id, text.seed, text.prompt, text.negative_prompt, list(text.styles))


def _name(generation: Generation) -> dict[str, Any]:
    """How the file is called; what is not asked for does not stand in the graph."""
    name: dict[str, Any] = {"name": generation.save_name}
    if generation.save_folder:
        name["folder"] = generation.save_folder
    if generation.save_by_time and not generation.save_name:
        name["by_time"] = True
    return name
