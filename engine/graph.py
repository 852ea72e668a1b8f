"""Graph: a program as a value. ComfyUI's API-format JSON in and out, canonical bytes, a content hash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from engine.errors import InvalidGraph
from engine.quiet import collector_paused


class Link(NamedTuple):
    """An edge: output `slot` of node `source`."""

    source: str
    slot: int


class GraphNode:
    """One node. inputs: name -> Link or constant. extra: other keys of its JSON (`_meta` …), kept and ignored."""

    __slots__ = ("class_type", "extra", "inputs")

    def __init__(self, class_type: str, inputs: dict[str, Any], extra: Mapping[str, Any] | None = None) -> None:
        self.class_type = class_type
        self.inputs = inputs
        self.extra = extra

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GraphNode) and self.to_json() == other.to_json()

    def __repr__(self) -> str:
        return f"GraphNode({self.class_type!r}, {self.inputs!r})"

    def links(self) -> Iterator[tuple[str, Link]]:
        """Go over the linked inputs."""
        return ((name, value) for name, value in self.inputs.items() if type(value) is Link)

    def to_json(self) -> dict[str, Any]:
        """Give the node as API-format JSON."""
        inputs = {name: list(value) if type(value) is Link else value for name, value in self.inputs.items()}
        return {"class_type": self.class_type, "inputs": inputs, **(self.extra or {})}


class Graph:
    """Nodes by id, in their JSON order. Treat it as immutable: `replace` gives a changed copy."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: Mapping[str, GraphNode]) -> None:
        self.nodes: dict[str, GraphNode] = dict(nodes)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Graph:
        """Read API-format JSON. Raises InvalidGraph when a node is not an object with class_type and inputs.

        A list of exactly [str, number] is a link; every other value is a constant.
        """
        if not isinstance(data, Mapping):
            raise InvalidGraph("A graph is an object of node id -> node.")
        with collector_paused():
            return cls({node_id: read_node(node_id, node) for node_id, node in data.items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Graph:
        """Read API-format JSON text. Raises InvalidGraph."""
        try:
            return cls.from_json(msgspec.json.decode(data))
        except msgspec.DecodeError as error:
            raise InvalidGraph(f"The graph is not JSON: {error}.") from error

    def to_json(self) -> dict[str, Any]:
        """Give API-format JSON that shares no dictionary with this graph (constants are shared)."""
        return {node_id: node.to_json() for node_id, node in self.nodes.items()}

    def to_bytes(self) -> bytes:
        """Give canonical JSON: keys sorted, no white space; equal graphs give equal bytes."""
        return msgspec.json.encode(self.to_json(), order="sorted")

    @property
    def hash(self) -> str:
        """32 hex digits (blake2b) of the canonical bytes, `_meta` included."""
        return blake2b(self.to_bytes(), digest_size=16).hexdigest()

    def replace(self, changed: Mapping[str, GraphNode]) -> Graph:
        """Give a copy in which these nodes are replaced."""
        return Graph({**self.nodes, **changed}) if changed else self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.nodes == other.nodes

    def __contains__(self, node_id: str) -> bool:
        return node_id in self.nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)


def read_node(node_id: str, data: Any) -> GraphNode:
    """Read one node's JSON. Raises InvalidGraph."""
    try:
        class_type, inputs = data["class_type"], data["inputs"]
        if not isinstance(class_type, str):
            raise TypeError
        read = {}
        for name, value in inputs.items():
            read[name] = as_link(value) if type(value) is list else value
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as error:
        raise InvalidGraph(_fault(node_id, data), node_id) from error
    extra = None
    if len(data) > 2:
        extra = {key: value for key, value in data.items() if key != "class_type" and key != "inputs"}
    return GraphNode(class_type, read, extra)


def as_link(value: Any) -> Any:
    """Turn `[id, slot]` into a Link; give anything else back as it is."""
    if len(value) == 2 and type(value[0]) is str:
        slot = value[1]
        if type(slot) is int or type(slot) is float:
            return tuple.__new__(Link, (value[0], int(slot)))
    return value


def unwrap(value: Any) -> Any:
    """Take the list out of `{"__value__": [...]}`; give anything else back as it is."""
    return value["__value__"] if type(value) is dict and len(value) == 1 and "__value__" in value else value


def _fault(node_id: str, data: Any) -> str:
    if not isinstance(data, Mapping):
        return f"Node {node_id!r} is not an object."
    missing = [key for key in ("class_type", "inputs") if key not in data]
    if missing:
        return f"Node {node_id!r} has no {' and no '.join(missing)}."
    if not isinstance(data["class_type"], str):
        return f"The class_type of node {node_id!r} is not a string."
    return f"The inputs of node {node_id!r} are no object of names and values."
