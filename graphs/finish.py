"""What is done to the pictures of every flow, whichever it was: unwanted ones are blacked out, one sheet shows all.

Fooocus behaviour §5.11, §5.12. Both begin at what the saving nodes were given.
"""

from msgspec.structs import replace

from engine.graph import Link as GraphLink
from graphs.builder import GraphBuilder, Link, Node
from graphs.catalog import Catalog
from graphs.request import GenerationRequest
from graphs.save import Compiled, save_plain

SAVING = "SaveGeneration"


def finished(compiled: Compiled, request: GenerationRequest, catalog: Catalog) -> Compiled:
    """Add what the request wants of every picture. Raises MissingFile."""
    if request.black_out_nsfw or catalog.black_out_nsfw:
        compiled = blacked_out(compiled, catalog)
    if request.generate_image_grid and len(compiled.images) > 1:
        compiled = with_grid(compiled)
    return compiled


def blacked_out(compiled: Compiled, catalog: Catalog) -> Compiled:
    """Put a safety checker before every file that is written. Nobody sees previews then."""
    file = catalog.file_for("safety.checker", "black_out_nsfw", compiled.generation.checkpoint)
    g = GraphBuilder(compiled.graph.to_json())
    checker = g.SafetyCheckerLoader(model_name=file)
    for node_id, node in compiled.graph.nodes.items():
        if node.class_type == SAVING:
            checked = g.BlackOutUnsafe(safety_checker=checker, images=_picture(compiled, node_id))
            node_json = g.nodes[node_id]
            g.nodes[node_id] = node_json | {"inputs": node_json["inputs"] | {"images": [checked.node_id, 0]}}
    return replace(compiled, graph=g.build(), preview=False)


def with_grid(compiled: Compiled) -> Compiled:
    """Add a last picture that shows all the others in rows. Of another size than the first, they are fitted to it."""
    g = GraphBuilder(compiled.graph.to_json())
    first, *others = [_picture(compiled, image.node_id) for image in compiled.images]
    together: Node | Link = first
    for other in others:
        together = g.ImageBatch(image1=together, image2=other)
    index = max(image.index for image in compiled.images) + 1
    sheet = save_plain(g, g.ImageGrid(images=together), compiled.generation, index)
    return replace(compiled, graph=g.build(), images=[*compiled.images, sheet])


def _picture(compiled: Compiled, node_id: str) -> Link:
    source = compiled.graph.nodes[node_id].inputs["images"]
    if not isinstance(source, GraphLink):
        raise TypeError(f"node {node_id} saves no node's picture")
    return Link(source.source, source.slot)
