"""Every node, input and output that the builders write exists in the registry."""

from pathlib import Path

from engine.graph import Graph
from engine.registry import Registry
from graphs.builder import OUTPUTS

GOLDEN = Path(__file__).parent / "golden"


def test_golden_graphs_use_only_nodes_and_inputs_that_exist():
    registry = Registry()
    registry.load_module("nodes")
    for path in sorted(GOLDEN.glob("*.json")):
        for node in Graph.from_bytes(path.read_bytes()).nodes.values():
            spec = registry.get(node.class_type)
            declared = {given.name for given in spec.inputs}
            assert set(node.inputs) <= declared, node.class_type
            required = {given.name for given in spec.inputs if given.required}
            assert required <= set(node.inputs), node.class_type


def test_output_names_are_those_of_the_registry():
    registry = Registry()
    registry.load_module("nodes")
    for class_type, names in OUTPUTS.items():
        assert tuple(output.type for output in registry.get(class_type).outputs) == names
