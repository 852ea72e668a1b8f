"""GraphBuilder: write a graph as calls.

    g = GraphBuilder()
    loader = g.CheckpointLoaderSimple(ckpt_name="a.safetensors")
    image = g.VAEDecode(samples=latent, vae=loader["VAE"])
    graph = g.build()

Node ids are "1", "2", … in the order of the calls, so the same calls give the same bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.graph import Graph

# Names of the outputs of nodes that have more than one; a test compares them with the registry.
OUTPUTS: dict[str, tuple[str, ...]] = {
    "CheckpointLoaderSimple": ("MODEL", "CLIP", "VAE"),
    "LoraLoader": ("MODEL", "CLIP"),
    "LoadImage": ("IMAGE", "MASK"),
    "PadForOutpaint": ("IMAGE", "MASK"),
    "CropForInpaint": ("IMAGE", "MASK", "INPAINT_AREA"),
    "DetectBoxes": ("BOXES", "INT"),
    "MaskBoxes": ("MASK", "INT"),
}


@dataclass(frozen=True)
class Link:
    """One output of a node."""

    node_id: str
    output: int


@dataclass(frozen=True)
class Node:
    """A node of the graph. It stands for its first output; others are asked for by index or name."""

    node_id: str
    class_type: str

    def __getitem__(self, output: int | str) -> Link:
        index = OUTPUTS[self.class_type].index(output) if isinstance(output, str) else output
        return Link(self.node_id, index)


class GraphBuilder:
    """Collects nodes; every attribute is a node class: `g.KSampler(model=…, seed=…)`.

    nodes: of a built graph, to go on from; new ids follow its highest.
    """

    def __init__(self, nodes: Mapping[str, dict[str, Any]] | None = None) -> None:
        self.nodes: dict[str, dict[str, Any]] = dict(nodes or {})
        self._last_id = max(map(int, self.nodes), default=0)

    def __getattr__(self, class_type: str) -> Callable[..., Node]:
        if class_type.startswith("_"):
            raise AttributeError(class_type)

        def add(**inputs: Any) -> Node:
            return self.add(class_type, inputs)

        return add

    def add(self, class_type: str, inputs: dict[str, Any]) -> Node:
        """Add a node and return its handle. Inputs are constants, lists, nodes or outputs of nodes."""
        self._last_id += 1
        node_id = str(self._last_id)
        self.nodes[node_id] = {
            "class_type": class_type,
            "inputs": {name: _as_json(value) for name, value in inputs.items()},
        }
        return Node(node_id, class_type)

    def once(self, class_type: str, **inputs: Any) -> Node:
        """The node of a class with exactly these inputs; it is added only where there is none yet."""
        wanted = {"class_type": class_type, "inputs": {name: _as_json(value) for name, value in inputs.items()}}
        found = next((node_id for node_id, node in self.nodes.items() if node == wanted), None)
        return Node(found, class_type) if found else self.add(class_type, inputs)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """The graph so far in ComfyUI's API format."""
        return self.nodes

    def build(self) -> Graph:
        return Graph.from_json(self.nodes)


def _as_json(value: Any) -> Any:
    """Links as `[id, output]`; a list constant is wrapped, since a bare list would read as a link."""
    if isinstance(value, Node):
        return [value.node_id, 0]
    if isinstance(value, Link):
        return [value.node_id, value.output]
    if isinstance(value, list | tuple):
        return {"__value__": list(value)}
    return value
