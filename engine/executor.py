"""The executor: what stays from run to run."""

from __future__ import annotations

from collections.abc import Iterable

from engine.cache import ResultCache
from engine.caller import Instances
from engine.context import RunContext
from engine.events import Event
from engine.graph import Graph
from engine.registry import Registry
from engine.run import Run
from engine.telling import Emit, RunResult

__all__ = ["Emit", "Executor", "RunResult"]


class Executor:
    """Runs graphs, one at a time, keeping results (and objects of stateful node classes) between them."""

    def __init__(self, registry: Registry, cache: ResultCache | None = None) -> None:
        self.registry = registry
        self.cache = ResultCache() if cache is None else cache
        self.instances: Instances = {}

    def run(
        self,
        graph: Graph,
        outputs: Iterable[str] | None = None,
        *,
        context: RunContext | None = None,
        emit: Emit | None = None,
    ) -> RunResult:
        """Run what the outputs need (None: every output node) and wait for the end.

        The graph is one that `validate` accepted. Nodes' errors and interruption are results and events, never
        raised. Must not be called in a thread whose event loop runs.
        """
        if outputs is None:
            specs = self.registry.specs
            outputs = [i for i, node in graph.nodes.items() if (s := specs.get(node.class_type)) and s.output_node]
        context = RunContext() if context is None else context
        context.graph = graph
        self._forget_instances(graph)
        run = Run(graph, self.registry, self.cache, context, self.instances, emit or ignore)
        return run.go(list(outputs))

    def free(self) -> None:
        """Forget all results and node objects."""
        self.cache.clear()
        self.instances.clear()

    def _forget_instances(self, graph: Graph) -> None:
        """Keep objects only of nodes that are in this graph with the same class, or expanded from one."""
        for (node_id, class_type), (_, real) in list(self.instances.items()):
            node = graph.nodes.get(real)
            if node is None or (real == node_id and node.class_type != class_type):
                del self.instances[node_id, class_type]


def ignore(event: Event) -> None:
    """Receive an event and do nothing."""
