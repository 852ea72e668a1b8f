"""A small machine to run graphs on: tests bring their own nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine import Graph, NodeSpec, Registry, RunContext, spec_of
from engine.cache import ResultCache
from engine.executor import Executor, RunResult
from tests.unit.engine import sums


class Machine:
    """An executor with these nodes, and all it told."""

    def __init__(self, *nodes: Callable[..., Any] | NodeSpec, budget_bytes: int = 1 << 20) -> None:
        self.registry = Registry(n if isinstance(n, NodeSpec) else spec_of(n) for n in nodes)
        self.cache = ResultCache(budget_bytes)
        self.executor = Executor(self.registry, self.cache)
        self.events: list[Any] = []

    def run(self, graph: dict[str, Any], outputs: list[str] | None = None, context: Any = None) -> RunResult:
        self.events = []
        context = context or RunContext(job_id="job")
        return self.executor.run(Graph.from_json(graph), outputs, context=context, emit=self.events.append)

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def words(self) -> list[str]:
        """The events' kinds in order."""
        return [type(event).__name__ for event in self.events]


def entry(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


@pytest.fixture
def machine() -> type[Machine]:
    return Machine


@pytest.fixture
def n() -> Callable[..., dict[str, Any]]:
    """Writes one node of a graph."""
    return entry


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    sums.calls.clear()
