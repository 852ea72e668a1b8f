"""The machine: graphs, nodes, runs. It knows nothing of diffusion or HTTP, and never imports torch."""

from engine.context import Context, RunContext
from engine.errors import FocalError, Interrupted
from engine.graph import Graph, GraphNode, Link
from engine.node import collect, node, spec_of
from engine.registry import Registry
from engine.types import (
    ANY,
    Choices,
    ExecutionBlocker,
    Expansion,
    InputSpec,
    NodeSpec,
    OutputSpec,
    Socket,
    Ui,
    Widget,
)

__all__ = [
    "ANY",
    "Choices",
    "Context",
    "ExecutionBlocker",
    "Expansion",
    "FocalError",
    "Graph",
    "GraphNode",
    "InputSpec",
    "Interrupted",
    "Link",
    "NodeSpec",
    "OutputSpec",
    "Registry",
    "RunContext",
    "Socket",
    "Ui",
    "Widget",
    "collect",
    "node",
    "spec_of",
]
