"""Every reason a graph is refused, all at once, each with its node and input.

What ComfyUI checks is checked, with its error types: all nodes for known classes; from the chosen outputs backwards
over declared links, each node's inputs. Constants are converted to their input's type, and the converted graph is part
of the answer. Links on undeclared inputs are not looked at: they are followed when the graph runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine import faults
from engine.constants import ConstantChecker
from engine.context import Context, RunContext
from engine.errors import InvalidGraph
from engine.faults import Fault
from engine.graph import Graph, GraphNode, Link, unwrap
from engine.hooks import call_hook, hidden_placeholders
from engine.quiet import collector_paused
from engine.registry import Registry
from engine.types import InputSpec, NodeSpec

NodeErrors = dict[str, dict[str, Any]]

ABSENT = object()
SHOWN_CYCLE = 20
"""Nodes of a cycle that are named at most."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What validation found. outputs: ids of the output nodes that can run; empty exactly when `error` is set.

    node_errors: node id -> {"errors", "dependent_outputs", "class_type"}, also filled when other outputs can run.
    graph: the graph with converted constants.
    """

    outputs: list[str]
    node_errors: NodeErrors = field(default_factory=dict)
    error: Fault | None = None
    graph: Graph = field(default_factory=lambda: Graph({}))

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values, the converted graph included."""
        graph = self.graph.to_json()
        return {"outputs": self.outputs, "node_errors": self.node_errors, "error": self.error, "graph": graph}


def validate(
    graph: Graph | Mapping[str, Any],
    registry: Registry,
    targets: Iterable[str] | None = None,
    *,
    context: RunContext | None = None,
) -> Validation:
    """Check a graph. targets: keep only these output nodes. context: for the classes' own checks (folders)."""
    try:
        read = graph if isinstance(graph, Graph) else Graph.from_json(graph)
    except InvalidGraph as error:
        details = f"Node ID '#{error.node_id}'" if error.node_id is not None else ""
        return Validation([], error=faults.fault("invalid_prompt", error.message, details))
    return _Validator(read, registry, context).check(targets)


class _Validator:
    def __init__(self, graph: Graph, registry: Registry, context: RunContext | None) -> None:
        self.nodes = graph.nodes
        self.graph = graph
        self.specs = registry.specs
        self.context = context
        self.constants = ConstantChecker()
        self.faults: dict[str, list[Fault]] = {}
        self.changed: dict[str, GraphNode] = {}
        self.closed: dict[str, bool] = {}
        self.pending: list[str] = []

    def check(self, targets: Iterable[str] | None) -> Validation:
        specs, nodes = self.specs, self.nodes
        unknown = [(i, node.class_type) for i, node in nodes.items() if node.class_type not in specs]
        wanted = None if targets is None else set(targets)
        roots = [
            node_id
            for node_id, node in nodes.items()
            if (spec := specs.get(node.class_type)) is not None
            and spec.output_node
            and (wanted is None or node_id in wanted)
        ]
        with collector_paused():
            self._walk(roots)
        invalid = self._invalid()
        node_errors = self._node_errors([root for root in roots if root in invalid])
        graph = self.graph.replace(self.changed)
        if unknown:
            return Validation([], node_errors, faults.unknown_nodes(unknown), graph)
        if not roots:
            return Validation([], {}, faults.no_outputs(), graph)
        outputs = [root for root in roots if root not in invalid]
        error = None
        if not outputs:
            error = faults.outputs_failed([item for root in roots for item in self.faults.get(root, ())])
        return Validation(outputs, node_errors, error, graph)

    def _walk(self, roots: list[str]) -> None:
        """Check every node reachable over declared links, sources before users, without recursion.

        A node in `closed` is open (False) until all behind it are checked; an open one that is met again feeds itself.
        """
        closed = self.closed
        pending = self.pending = roots[::-1]
        while pending:
            node_id = pending[-1]
            if node_id in closed:
                closed[pending.pop()] = True
                continue
            closed[node_id] = False
            try:
                sources = self._check_node(node_id)
            except Exception as error:  # noqa: BLE001 (choices and checks of a class are code of its own)
                self._add_raised(node_id, str(error), type(error).__name__)
                continue
            for source in sources:
                if source not in closed:
                    pending.append(source)
                elif not closed[source]:
                    self._add(node_id, faults.cycle(self._path(source)))

    def _check_node(self, node_id: str) -> list[str]:
        """Check one node's inputs. Gives the nodes it is validly linked to."""
        node = self.nodes[node_id]
        spec = self.specs[node.class_type]
        inputs = node.inputs
        sources: list[str] = []
        for item in spec.inputs if spec.open_input is None else self._open_inputs(spec, inputs):
            value = inputs.get(item.name, ABSENT)
            kind = type(value)
            if kind is Link:
                if self._check_link(node_id, spec, item, value):
                    sources.append(value[0])
            elif value is ABSENT:
                if item.required:
                    self._add(node_id, faults.missing(item))
            elif kind is not item.exact_type:
                self._check_constant(node_id, spec, item, value)
        if spec.validate is not None:
            self._ask_class(node_id, spec)
        return sources

    def _check_constant(self, node_id: str, spec: NodeSpec, item: InputSpec, value: Any) -> None:
        own = spec.hook_names["validate"]
        problem, converted = self.constants.check(spec, item, value, own is not None and item.name not in own)
        if problem is not None:
            self._add(node_id, problem)
        elif converted is not value:
            self._convert(node_id, item.name, converted)

    def _open_inputs(self, spec: NodeSpec, inputs: Mapping[str, Any]) -> list[InputSpec]:
        more = [spec.input(name) for name in inputs if name not in spec.by_name]
        return [*spec.inputs, *(item for item in more if item is not None)]

    def _check_link(self, node_id: str, spec: NodeSpec, item: InputSpec, link: Link) -> bool:
        """Check where a link comes from. True when its source is to be checked too."""
        source = self.nodes.get(link.source)
        if source is None:
            details = f"input {item.name!r} links to node {link.source!r}, which is not in the graph"
            self._add_raised(node_id, details, "KeyError")
            return False
        source_spec = self.specs.get(source.class_type)
        if source_spec is None:
            return False  # reported with the unknown classes
        outputs = source_spec.outputs
        if not 0 <= link.slot < len(outputs):
            details = (
                f"input {item.name!r} links to output {link.slot} of node {link.source!r}, which has {len(outputs)}"
            )
            self._add_raised(node_id, details, "IndexError")
            return False
        received = outputs[link.slot].type
        if received is item.type or "input_types" in (spec.hook_names["validate"] or ()):
            return True
        choices = self.constants.choices(spec, item)
        if types_fit(received, item.type if choices is None else choices):
            return True
        self._add(node_id, faults.mismatch(item, received, link.source, link.slot, choices))
        return False

    def _ask_class(self, node_id: str, spec: NodeSpec) -> None:
        """Call the class's own validation; one entry per input that it was given."""
        node = self.changed.get(node_id, self.nodes[node_id])
        declared = {name: value for name, value in node.inputs.items() if spec.input(name) is not None}
        given = {name: None if type(value) is Link else unwrap(value) for name, value in declared.items()}
        names = spec.hook_names["validate"]
        types = {name: self._type_of(link) for name, link in node.links()}
        context = Context(self.context or RunContext(), node_id, lambda event: None)
        arguments = {**hidden_placeholders(spec, node_id), **given}
        if names is not None:
            arguments["input_types"] = types
        answer = call_hook(spec, "validate", arguments, context)
        if answer is not True:
            for name in given:
                if names is None or name in names:
                    self._add(node_id, faults.refused(name, answer))

    def _type_of(self, link: Link) -> Any:
        source = self.nodes.get(link.source)
        spec = None if source is None else self.specs.get(source.class_type)
        known = spec is not None and 0 <= link.slot < len(spec.outputs)
        return spec.outputs[link.slot].type if spec is not None and known else None

    def _convert(self, node_id: str, name: str, value: Any) -> None:
        known = self.changed.get(node_id)
        if known is None:
            node = self.nodes[node_id]
            known = self.changed[node_id] = GraphNode(node.class_type, dict(node.inputs), node.extra)
        known.inputs[name] = value

    def _add(self, node_id: str, problem: Fault) -> None:
        self.faults.setdefault(node_id, []).append(problem)

    def _add_raised(self, node_id: str, details: str, exception_type: str) -> None:
        path = self._path(self.pending[0])
        if len(path) < 2 or self.specs[self.nodes[node_id].class_type].output_node:
            self._add(node_id, faults.raised(details, exception_type, None, None))
            return
        node = self.nodes[path[1]]
        name, link = next((name, link) for name, link in node.links() if link.source == node_id)
        consumer = self.specs[node.class_type].input(name)
        self._add(node_id, faults.raised(details, exception_type, consumer, list(link)))

    def _path(self, source: str) -> list[str]:
        """Name the open nodes from the one being checked up to `source`, in the direction of the data."""
        above = dict.fromkeys(i for i in reversed(self.pending) if not self.closed.get(i, True))
        path = list(above)
        return path[: path.index(source) + 1][:SHOWN_CYCLE] if source in above else path[:SHOWN_CYCLE]

    def _invalid(self) -> set[str]:
        """Collect the nodes with faults, and those that have an invalid source."""
        if not self.faults:
            return set()
        users: dict[str, list[str]] = {}
        for node_id in self.closed:
            for source in self._sources(node_id):
                users.setdefault(source, []).append(node_id)
        return reachable(self.faults, lambda node_id: users.get(node_id, ()))

    def _sources(self, node_id: str) -> list[str]:
        """List the nodes that were checked because this one is linked to them."""
        node = self.nodes[node_id]
        spec = self.specs[node.class_type]
        return [
            link.source for name, link in node.links() if link.source in self.closed and spec.input(name) is not None
        ]

    def _node_errors(self, failed: list[str]) -> NodeErrors:
        """Describe the faulty nodes. failed: the outputs that cannot run."""
        dependents: dict[str, list[str]] = {node_id: [] for node_id in self.faults}
        for root in failed:
            for node_id in reachable([root], self._sources):
                if node_id in dependents:
                    dependents[node_id].append(root)
        return {
            node_id: {
                "errors": found,
                "dependent_outputs": dependents[node_id],
                "class_type": self.nodes[node_id].class_type,
            }
            for node_id, found in self.faults.items()
        }


def reachable(start: Iterable[str], behind: Callable[[str], Iterable[str]]) -> set[str]:
    """Collect everything behind some nodes, themselves included."""
    seen = set(start)
    pending = list(seen)
    while pending:
        for source in behind(pending.pop()):
            if source not in seen:
                seen.add(source)
                pending.append(source)
    return seen


def types_fit(received: Any, expected: Any) -> bool:
    """Whether an output of one type may feed an input of another.

    `received != expected` decides first, so that string types with a comparison of their own (AnyType) fit as they say;
    then two comma-separated lists of names fit when they share one. A plain "*" has no meaning of its own.
    """
    if not received != expected:  # noqa: SIM202 (AnyType answers != only)
        return True
    if not isinstance(received, str):
        return False
    if not isinstance(expected, str):
        return received == "COMBO"  # choices known at run time only, into any list of choices
    return bool({part.strip() for part in received.split(",")} & {part.strip() for part in expected.split(",")})
