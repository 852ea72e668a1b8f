"""From a graph to steps: who feeds whom, under which content key. Grows when nodes expand into further nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from engine.errors import FocalError, NodeInputError, UnknownNode
from engine.graph import GraphNode, Link, unwrap
from engine.registry import Registry
from engine.signature import PLAIN, Unkeyable, node_key, unique_key
from engine.types import NodeSpec

log = logging.getLogger(__name__)

NEW, WAITING, RUNNING, DONE = range(4)

Fingerprint = Callable[["Step"], Any]


class Step:
    """One node of one run, and how far it is.

    key: content key; made at random when the node must not be found again (`volatile`).
    links: (input name, source, slot). outputs: one list per slot, once known. users: links that still want the outputs.
    waiting: sources not yet there; waiters: steps to look at when this one is done.
    """

    __slots__ = (
        "constants",
        "expansion",
        "fault",
        "is_root",
        "key",
        "links",
        "node",
        "node_id",
        "outputs",
        "seconds",
        "spec",
        "state",
        "ui",
        "users",
        "volatile",
        "waiters",
        "waiting",
    )

    def __init__(self, node_id: str, node: GraphNode, spec: NodeSpec) -> None:
        self.node_id = node_id
        self.node = node
        self.spec = spec
        self.constants: dict[str, Any] = {}
        self.links: list[tuple[str, Step, int]] = []
        self.key = b""
        self.volatile = False
        self.fault: FocalError | None = None
        self.state = NEW
        self.outputs: tuple[list[Any], ...] | None = None
        self.ui: Any = None
        self.users = 0
        self.waiting = 0
        self.waiters: list[Step] = []
        self.is_root = False
        self.expansion: Any = None
        self.seconds = 0.0


class Plan:
    """The steps of one run. Nodes with the same content share one step, under the id that was met first."""

    def __init__(self, nodes: dict[str, GraphNode], registry: Registry, fingerprint: Fingerprint) -> None:
        self.nodes = nodes
        self.steps: dict[str, Step] = {}
        self._specs = registry.specs
        self._by_key: dict[bytes, Step] = {}
        self._fingerprint = fingerprint

    def add(self, node_ids: Iterable[str]) -> None:
        """Make steps for these nodes and all that feeds them, sources first. Cost: linear in nodes and links."""
        steps = self.steps
        pending = list(node_ids)
        pending.reverse()
        while pending:
            node_id = pending[-1]
            step = steps.get(node_id)
            if step is None:
                step = steps[node_id] = self._open(node_id)
                for _, source, _ in step.links:
                    if source not in steps:
                        pending.append(source)  # type: ignore[arg-type] (ids until the step is closed)
                continue
            pending.pop()
            if not step.key:
                self._close(step)

    def is_output(self, node_id: str) -> bool:
        """Whether a node is of an output class."""
        spec = self._specs.get(self.nodes[node_id].class_type)
        return spec is not None and spec.output_node

    def _open(self, node_id: str) -> Step:
        """Take a node's inputs apart; links hold ids for now."""
        node = self.nodes[node_id]
        spec = self._specs.get(node.class_type)
        if spec is None:
            return self._broken(node_id, node, UnknownNode(node.class_type))
        step = Step(node_id, node, spec)
        inputs = node.inputs
        found = 0
        for name in spec.names:
            if name in inputs:
                found += 1
                self._take(step, name, inputs[name])
        if found < len(inputs):
            for name in sorted(inputs.keys() - spec.by_name.keys()):
                if type(inputs[name]) is Link or spec.input(name) is not None:  # undeclared constants are dropped
                    self._take(step, name, inputs[name])
        return step

    def _take(self, step: Step, name: str, value: Any) -> None:
        kind = type(value)
        if kind is Link:
            if value.source in self.nodes:
                step.links.append((name, value.source, value.slot))
            else:
                step.fault = NodeInputError(
                    f"Input {name!r} links to node {value.source!r}, which is not in the graph."
                )
        else:
            step.constants[name] = value if kind in PLAIN else unwrap(value)

    def _broken(self, node_id: str, node: GraphNode, fault: FocalError) -> Step:
        step = Step(node_id, node, NodeSpec(node.class_type, call=lambda: ()))
        step.fault = fault
        return step

    def _close(self, step: Step) -> None:
        """Resolve the links (their sources are closed) and make the key; with a key known already, be that step."""
        steps = self.steps
        links: list[tuple[str, Step, int]] = []
        sources = []
        volatile = False
        for name, source_id, slot in step.links:
            source = steps[source_id]  # type: ignore[index]
            links.append((name, source, slot))
            sources.append((name, source.key, slot))
            if source.volatile or not source.key:  # a source without a key is this step's own consumer: a cycle
                volatile = True
        step.links = links
        spec = step.spec
        try:
            extra = None if spec.plain_key and step.fault is None else self._extra(step)
            step.key = node_key(spec, step.constants, sources, extra)
        except Unkeyable:
            step.key = unique_key()
            volatile = True
        step.volatile = volatile
        known = self._by_key.setdefault(step.key, step)
        if known is step:
            for _, source, _ in links:
                source.users += 1
        else:
            steps[step.node_id] = known

    def _extra(self, step: Step) -> Any:
        """What a key holds beyond the plain part: fingerprint, node id. Raises Unkeyable."""
        spec = step.spec
        if step.fault is not None or not spec.cacheable:
            raise Unkeyable
        fingerprint = None if spec.fingerprint is None else self._fingerprint(step)
        by_id = spec.not_idempotent or "UNIQUE_ID" in spec.hidden.values()
        return [step.node_id if by_id else None, fingerprint]
