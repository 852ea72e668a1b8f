"""From a graph to content keys, and from keys to steps: what a run works on. Grows when nodes expand.

Keys are made for all nodes that feed an output, sources first: they decide what has to run. A `Step`, with arguments
and neighbours, is made only for a node that a run really looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from engine.cache import Outputs
from engine.errors import FocalError, NodeInputError, UnknownNode
from engine.graph import GraphNode, Link, unwrap
from engine.registry import Registry
from engine.signature import EXACT, PLAIN, Unkeyable, as_plain, node_key, unique_key
from engine.types import NodeSpec

NEW, WAITING, RUNNING, DONE = range(4)

Fingerprint = Callable[[str, NodeSpec, dict[str, Any]], Any]
"""(node id, class, inputs with None for linked ones) -> what else the result depends on."""


NOTHING: dict[str, Any] = {}
NO_LINKS: list[Any] = []
"""What every step has before it is connected; never changed."""


class Step:
    """One node of one run, and how far it is.

    links: (input name, source, slot). outputs: the elements of each slot, once known. waiting: sources not yet there;
    waiters: steps to look at when this one is done. volatile: its result must not be found again. detour: what an
    expanding node is on the way to.
    """

    __slots__ = (
        "constants",
        "detour",
        "fault",
        "is_root",
        "key",
        "links",
        "node_id",
        "outputs",
        "spec",
        "state",
        "volatile",
        "waiters",
        "waiting",
    )

    def __init__(self, node_id: str, spec: NodeSpec, key: bytes, volatile: bool) -> None:
        self.node_id = node_id
        self.spec = spec
        self.key = key
        self.volatile = volatile
        self.constants: dict[str, Any] = NOTHING
        self.links: list[tuple[str, Step, int]] = NO_LINKS
        self.outputs: Outputs | None = None
        self.state = NEW
        self.waiting = 0
        self.waiters: list[Step] | None = None
        self.is_root = False
        self.fault: FocalError | None = None
        self.detour: Any = None


class Plan:
    """Keys and steps of one run. Nodes with the same content are one step, under the id that was met first.

    sources: the nodes linked into a node, once per link. users: how many links still want a node's outputs.
    """

    def __init__(self, nodes: dict[str, GraphNode], registry: Registry, fingerprint: Fingerprint) -> None:
        self.nodes = nodes
        self.keys: dict[str, bytes] = {}
        self.sources: dict[str, tuple[str, ...]] = {}
        self.volatile: set[str] = set()
        self.twins: dict[str, str] = {}
        self.users: dict[str, int] = {}
        self.steps: dict[str, Step] = {}
        self._specs = registry.specs
        self._by_key: dict[bytes, str] = {}
        self._fingerprint = fingerprint

    def add(self, node_ids: Iterable[str]) -> None:
        """Make the keys of these nodes and of all that feeds them. Cost: linear in nodes and links."""
        keys, nodes, sources = self.keys, self.nodes, self.sources
        pending = list(node_ids)
        pending.reverse()
        while pending:
            node_id = pending[-1]
            if node_id in sources:  # seen before: what feeds it has a key now
                pending.pop()
                if node_id not in keys:
                    self._make_key(node_id)
                continue
            feeding = tuple([value[0] for value in nodes[node_id].inputs.values() if type(value) is Link])
            sources[node_id] = feeding
            pending += [i for i in reversed(feeding) if i not in sources and i in nodes]

    def is_output(self, node_id: str) -> bool:
        """Whether a node is of an output class."""
        spec = self._specs.get(self.nodes[node_id].class_type)
        return spec is not None and spec.output_node

    def step(self, node_id: str) -> Step:
        """Give the step of a node whose key is made; it is not connected yet."""
        node_id = self.twins.get(node_id, node_id)
        step = self.steps.get(node_id)
        if step is None:
            class_type = self.nodes[node_id].class_type
            spec = self._specs.get(class_type) or NodeSpec(class_type, call=lambda: ())
            step = self.steps[node_id] = Step(node_id, spec, self.keys[node_id], node_id in self.volatile)
        return step

    def connect(self, step: Step) -> None:
        """Fill in a step's constants and links; what cannot be becomes its fault."""
        node = self.nodes[step.node_id]
        if node.class_type not in self._specs:
            step.fault = UnknownNode(node.class_type)
            return
        keys, steps, twins = self.keys, self.steps, self.twins
        constants: dict[str, Any] = {}
        links: list[tuple[str, Step, int]] = []
        for name, value in passed(step.spec, node):
            if type(value) is not Link:
                constants[name] = value if type(value) in PLAIN else unwrap(value)
                continue
            source_id, slot = value
            if source_id not in keys:
                step.fault = NodeInputError(f"Input {name!r} links to node {source_id!r}, which is not in the graph.")
                return
            source = steps.get(source_id)
            if source is None or source_id in twins:
                source = self.step(source_id)
            links.append((name, source, slot))
        step.constants = constants
        step.links = links

    def hold(self, node_id: str) -> None:
        """Count one more wish for a node's outputs."""
        node_id = self.twins.get(node_id, node_id)
        self.users[node_id] = self.users.get(node_id, 0) + 1

    def let_go(self, node_ids: Iterable[str]) -> None:
        """Take back one wish for each node's outputs, and drop them after the last one.

        An expansion may still ask for them later: a new step then finds them in the cache, or runs once more.
        """
        users, twins, steps = self.users, self.twins, self.steps
        for node_id in node_ids:
            if node_id in twins:
                node_id = twins[node_id]
            users[node_id] = left = users[node_id] - 1
            if left:
                continue
            step = steps.get(node_id)
            if step is not None and step.state == DONE and not step.is_root:
                del steps[node_id]
                step.outputs = None
                for source_id in self.sources[node_id]:
                    self.hold(source_id)

    def _make_key(self, node_id: str) -> None:
        """Make a node's key from the keys of its sources; with a key met before, be that node's twin."""
        node = self.nodes[node_id]
        spec = self._specs.get(node.class_type)
        keys, volatile_ids = self.keys, self.volatile
        constants: dict[str, Any] = {}
        sources: list[Any] = []
        volatile = False
        try:
            if spec is None:
                raise Unkeyable
            for name, value in passed(spec, node):
                kind = type(value)
                if kind is Link:
                    source_id, slot = value
                    if source_id not in keys:  # it is not in the graph, or this node feeds it
                        raise Unkeyable
                    sources += (name, keys[source_id], slot)
                    if source_id in volatile_ids:
                        volatile = True
                else:
                    constants[name] = value if kind in EXACT else as_plain(unwrap(value))
            extra = None if spec.plain_key else self._extra(node_id, spec)
            key = node_key(spec, constants, sources, extra)
        except Unkeyable:
            key, volatile = unique_key(), True
        keys[node_id] = key
        if volatile:
            volatile_ids.add(node_id)
        first = self._by_key.setdefault(key, node_id)
        if first != node_id:
            self.twins[node_id] = first
            return
        users, twins = self.users, self.twins
        for source_id in self.sources[node_id]:
            if source_id in twins:
                source_id = twins[source_id]
            users[source_id] = users.get(source_id, 0) + 1

    def _extra(self, node_id: str, spec: NodeSpec) -> Any:
        """What a key holds beyond class, constants and sources. Raises Unkeyable."""
        if not spec.cacheable:
            raise Unkeyable
        extra: list[Any] = [node_id if spec.id_in_key else None]
        if spec.fingerprint is not None:
            inputs = passed(spec, self.nodes[node_id])
            constants = {name: None if type(value) is Link else unwrap(value) for name, value in inputs}
            extra.append(self._fingerprint(node_id, spec, constants))
        return extra


def passed(spec: NodeSpec, node: GraphNode) -> list[tuple[str, Any]]:
    """List the inputs that reach the function: declared ones in the class's order, then links it did not declare.

    Undeclared constants do not reach it.
    """
    inputs = node.inputs
    found = [(name, inputs[name]) for name in spec.names if name in inputs]
    if len(found) < len(inputs):
        others = sorted(inputs.keys() - spec.by_name.keys())
        accepted = [name for name in others if type(inputs[name]) is Link or spec.input(name) is not None]
        found += [(name, inputs[name]) for name in accepted]
    return found
