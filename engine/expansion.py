"""Nodes that continue as a graph: taking their nodes into the run, and their links' results as outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from engine.cache import Outputs
from engine.context import RunContext
from engine.errors import DuplicateNode, NodeInputError
from engine.graph import GraphNode, Link, as_link, read_node
from engine.mapping import as_list, is_list_slot, values_of
from engine.plan import Plan, Step
from engine.types import ExecutionBlocker, Expansion


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an expanded node came from: the node that expanded, the one to show, the one the user submitted."""

    parent: str
    display: str
    real: str


class Origins:
    """Origins of all expanded nodes of a run; a submitted node is its own."""

    def __init__(self) -> None:
        self._by_id: dict[str, Origin] = {}

    def parent(self, node_id: str) -> str | None:
        """Give the node that expanded into this one; None for a submitted node."""
        origin = self._by_id.get(node_id)
        return None if origin is None else origin.parent

    def display(self, node_id: str) -> str:
        """Give the node a client shows for this one."""
        origin = self._by_id.get(node_id)
        return node_id if origin is None else origin.display

    def real(self, node_id: str) -> str:
        """Give the submitted node this one descends from."""
        origin = self._by_id.get(node_id)
        return node_id if origin is None else origin.real

    def add(self, node_id: str, parent: str, shown: str | None) -> None:
        """Note that `parent` expanded into this node; shown: another node to display for it."""
        self._by_id[node_id] = Origin(parent, self.display(shown or parent), self.real(parent))


@dataclass(slots=True)
class Detour:
    """What an expanding node waits for. answers: one per call, with links into the expansion as Link."""

    seconds: float
    ui: dict[str, list[Any]] | None
    answers: list[tuple[Any, ...]] = field(default_factory=list)
    sources: list[Step] = field(default_factory=list)
    started: float = field(default_factory=perf_counter)

    def total_seconds(self) -> float:
        """Give the time from the node's call until now."""
        return self.seconds + perf_counter() - self.started


def take_in(plan: Plan, origins: Origins, parent: Step, expansion: Expansion, detour: Detour) -> list[str]:
    """Add an expansion's nodes to the run and its result to the detour. Gives the ids of its output nodes.

    Raises DuplicateNode, InvalidGraph, or NodeInputError when the result links to no node.
    """
    for node_id, data in expansion.graph.items():
        if node_id in plan.nodes:
            raise DuplicateNode(f"Node {node_id!r}", f"{parent.spec.class_type} must expand into ids of its own.")
        node = plan.nodes[node_id] = read_node(node_id, data)
        origins.add(node_id, parent.node_id, (node.extra or {}).get("override_display_id"))
    result = tuple(as_link(v) if type(v) is list else v for v in values_of(parent.spec, expansion))
    linked = [value.source for value in result if type(value) is Link]
    for source in linked:
        if source not in plan.nodes:
            raise NodeInputError(f"{parent.spec.class_type} expanded into a link to {source!r}, which does not exist.")
    outputs = [node_id for node_id in expansion.graph if plan.is_output(node_id)]
    plan.add([*outputs, *linked])
    detour.answers.append(result)
    for source_id in linked:
        source = plan.steps[source_id]
        source.users += 1
        detour.sources.append(source)
    return outputs


def settle(plan: Plan, step: Step, detour: Detour) -> Outputs:
    """Join the answers of an expanding node's calls, links replaced by all elements of what they lead to."""
    width = max(map(len, detour.answers), default=0)
    slots: list[list[Any]] = [[] for _ in range(width)]
    for answer in detour.answers:
        for index, value in enumerate(answer):
            if type(value) is Link:
                outputs = plan.steps[value.source].outputs or ()
                slots[index].extend(outputs[value.slot] if value.slot < len(outputs) else [None])
            elif is_list_slot(step.spec, index) and type(value) is not ExecutionBlocker:
                slots[index].extend(as_list(step.spec, index, value))
            else:
                slots[index].append(value)
    return tuple(map(tuple, slots))


class DynamicPrompt:
    """ComfyUI's DYNPROMPT: the running graph, expanded nodes included."""

    def __init__(self, nodes: Mapping[str, GraphNode], run: RunContext, origins: Origins) -> None:
        self._nodes = nodes
        self._run = run
        self._origins = origins

    def get_node(self, node_id: str) -> dict[str, Any]:
        """Give a node as API-format JSON. Raises KeyError."""
        return self._nodes[node_id].to_json()

    def has_node(self, node_id: str) -> bool:
        """Whether the running graph has this node."""
        return node_id in self._nodes

    def get_original_prompt(self) -> Mapping[str, Any]:
        """Give the graph as submitted."""
        return self._run.submitted()

    def get_parent_node_id(self, node_id: str) -> str | None:
        """Give the node that expanded into this one."""
        return self._origins.parent(node_id)

    def get_real_node_id(self, node_id: str) -> str:
        """Give the submitted node this one descends from."""
        return self._origins.real(node_id)

    def get_display_node_id(self, node_id: str) -> str:
        """Give the node a client shows for this one."""
        return self._origins.display(node_id)

    def all_node_ids(self) -> set[str]:
        """Give every node id of the running graph."""
        return set(self._nodes)
