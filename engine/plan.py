"""From a graph to steps with content keys: what a run works on. Grows when nodes expand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from engine.cache import Outputs
from engine.errors import FocalError, NodeInputError, UnknownNode
from engine.graph import GraphNode, Link, unwrap
from engine.registry import Registry
from engine.signature import EXACT, Unkeyable, as_plain, node_key, unique_key
from engine.types import NodeSpec

NEW, WAITING, RUNNING, DONE, DROPPED, SKIPPED = range(6)
"""DROPPED: done, but the outputs were let go; SKIPPED: left out. Asked for again, either step is NEW again."""

Fingerprint = Callable[[str, NodeSpec, dict[str, Any]], Any]
"""(node id, class, inputs with None for linked ones) -> what else the result depends on."""


class Step:
    """One node of one run, and how far it is.

    key: content key, empty until it is made. volatile: its result must not be found again. sources: the step behind
    each link. users: links that still want the outputs. outputs: the elements of each slot, once known. waiting:
    sources not yet there; waiters: steps to look at when this one is done. detour: what an expanding node waits for.
    """

    __slots__ = (
        "detour",
        "fault",
        "is_root",
        "key",
        "node",
        "node_id",
        "outputs",
        "sources",
        "spec",
        "state",
        "users",
        "volatile",
        "waiters",
        "waiting",
    )

    def __init__(self, node_id: str, node: GraphNode, spec: NodeSpec) -> None:
        self.node_id = node_id
        self.node = node
        self.spec = spec
        self.key = b""
        self.volatile = False
        self.sources: list[Step] = NO_SOURCES
        self.users = 0
        self.outputs: Outputs | None = None
        self.state = NEW
        self.waiting = 0
        self.waiters: list[Step] | None = None
        self.is_root = False
        self.fault: FocalError | None = None
        self.detour: Any = None


NO_SOURCES: list[Step] = []
"""What every step has before its key is made; never changed."""


class Plan:
    """The steps of one run. Nodes with the same content are one step, under the id that was met first."""

    def __init__(self, nodes: dict[str, GraphNode], registry: Registry, fingerprint: Fingerprint) -> None:
        self.nodes = nodes
        self.steps: dict[str, Step] = {}
        self._specs = registry.specs
        self._by_key: dict[bytes, Step] = {}
        self._fingerprint = fingerprint

    def add(self, node_ids: Iterable[str]) -> None:
        """Make steps for these nodes and for all that feeds them, sources first. Cost: linear in nodes and links."""
        steps, nodes, specs = self.steps, self.nodes, self._specs
        pending = list(node_ids)
        pending.reverse()
        while pending:
            node_id = pending[-1]
            step = steps.get(node_id)
            if step is not None:  # seen before: what feeds it has a key now
                pending.pop()
                if not step.key:
                    self._close(step)
                continue
            node = nodes[node_id]
            spec = specs.get(node.class_type)
            steps[node_id] = Step(node_id, node, spec) if spec is not None else unknown(node_id, node)
            feeding = [value[0] for value in node.inputs.values() if type(value) is Link]
            pending += [i for i in reversed(feeding) if i not in steps and i in nodes]

    def is_output(self, node_id: str) -> bool:
        """Whether a node is of an output class."""
        spec = self._specs.get(self.nodes[node_id].class_type)
        return spec is not None and spec.output_node

    def let_go(self, steps: Iterable[Step]) -> None:
        """Take back one wish for each step's outputs, and drop them after the last one.

        An expansion may still ask for them later: they are found in the cache then, or the node runs once more.
        """
        for step in steps:
            step.users -= 1
            if not step.users and step.state == DONE and not step.is_root:
                step.state = DROPPED
                step.outputs = None
                for source in step.sources:
                    source.users += 1

    def _close(self, step: Step) -> None:
        """Make a step's key from the keys of its sources; with a key met before, be that step instead."""
        steps = self.steps
        constants: dict[str, Any] = {}
        keyed: list[Any] = []
        sources: list[Step] = []
        volatile, unique = False, step.fault is not None
        for name, value in passed(step.spec, step.node):
            kind = type(value)
            if kind is Link:
                source = steps.get(value[0])
                if source is None:
                    step.fault, unique = missing_source(name, value[0]), True
                    continue
                sources.append(source)
                keyed += (name, source.key, value[1])
                volatile = volatile or source.volatile
                unique = unique or not source.key  # without a key: it is fed by this very step
            elif kind in EXACT:
                constants[name] = value
            else:
                try:
                    constants[name] = as_plain(unwrap(value))
                except Unkeyable:
                    unique = True
        key = None if unique else self._key(step, constants, keyed)
        step.sources = sources
        step.volatile = volatile or key is None
        step.key = unique_key() if key is None else key
        first = self._by_key.setdefault(step.key, step)
        if first is not step:
            steps[step.node_id] = first
            return
        for source in sources:
            source.users += 1

    def _key(self, step: Step, constants: dict[str, Any], keyed: list[Any]) -> bytes | None:
        """Make the key; None when nothing can be found again under it."""
        spec = step.spec
        if spec.plain_key:
            return node_key(spec, constants, keyed)
        if not spec.cacheable:
            return None
        extra: list[Any] = [step.node_id if spec.id_in_key else None]
        if spec.fingerprint is not None:
            inputs = passed(spec, step.node)
            known = {name: None if type(value) is Link else unwrap(value) for name, value in inputs}
            extra.append(self._fingerprint(step.node_id, spec, known))
        try:
            return node_key(spec, constants, keyed, extra)
        except Unkeyable:
            return None


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


def unknown(node_id: str, node: GraphNode) -> Step:
    """Make a step that fails when it is looked at: nobody knows its class."""
    step = Step(node_id, node, NodeSpec(node.class_type, call=lambda: ()))
    step.fault = UnknownNode(node.class_type)
    return step


def missing_source(name: str, source_id: str) -> NodeInputError:
    """Say that a link leads nowhere."""
    return NodeInputError(f"Input {name!r} links to node {source_id!r}, which is not in the graph.")
