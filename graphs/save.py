"""The end of every flow: pictures are saved, and the caller learns which node saves which."""

from collections.abc import Sequence

from msgspec import Struct

from engine.graph import Graph
from graphs.builder import GraphBuilder, Node
from graphs.catalog import Catalog
from graphs.images import ImageText
from graphs.metadata import payload
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
    """A request as a graph. `preview`: the caller wants to see steps. `warnings`: what differs from the request."""

    graph: Graph
    images: Sequence[ImagePlan]
    warnings: Sequence[str]
    preview: bool
    generation: Generation

    @property
    def outputs(self) -> list[str]:
        """Ids of the nodes to run the graph for."""
        return [image.node_id for image in self.images]


def save(g: GraphBuilder, images: Node, text: ImageText, generation: Generation, catalog: Catalog) -> ImagePlan:
    """Write the picture, with its metadata when asked for."""
    scheme = generation.metadata_scheme if generation.save_metadata else ""
    saved = g.SaveGeneration(
        images=images,
        name=generation.save_name,
        index=text.index,
        extension=generation.save_extension,
        metadata=payload(generation, text, catalog) if scheme else "",
        scheme=scheme,
    )
    return ImagePlan(text.index, saved.node_id, text.seed, text.prompt, text.negative_prompt, list(text.styles))
