from __future__ import annotations

from typing import Any

import pytest

from engine import Graph, GraphNode, Link
from engine.errors import InvalidGraph

GRAPH: dict[str, Any] = {
    "4": {"class_type": "Loader", "inputs": {"name": "x.safetensors"}},
    "3.0.1": {"class_type": "Sampler", "inputs": {"model": ["4", 0], "seed": 5}, "_meta": {"title": "S"}},
}


def test_json_in_is_json_out() -> None:
    assert Graph.from_json(GRAPH).to_json() == GRAPH
    assert list(Graph.from_json(GRAPH).to_json()) == ["4", "3.0.1"]


def test_lists_of_a_string_and_a_number_are_links_and_nothing_else_is() -> None:
    inputs = {"a": ["4", 0], "b": ["4", 1.0], "c": ["4"], "d": [4, 0], "e": ["4", True], "f": {"__value__": ["4", 0]}}
    read = Graph.from_json({"1": {"class_type": "X", "inputs": inputs}}).nodes["1"].inputs
    assert read == {**inputs, "a": Link("4", 0), "b": Link("4", 1)}
    assert [name for name, value in read.items() if type(value) is Link] == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"1": {"inputs": {}}}, "no class_type"),
        ({"1": {"class_type": "X"}}, "no inputs"),
        ({"1": {}}, "no class_type and no inputs"),
        ({"1": 5}, "not an object"),
        ({"1": {"class_type": "X", "inputs": [1]}}, "no object"),
        ({"1": {"class_type": ["X"], "inputs": {}}}, "not a string"),
        ({"1": {"class_type": "X", "inputs": {"a": ["2", float("inf")]}}}, "no object"),
        ([1], "object of node id"),
    ],
)
def test_what_is_no_graph_is_refused_with_the_node(data: Any, told: str) -> None:
    with pytest.raises(InvalidGraph, match=told) as caught:
        Graph.from_json(data)
    assert caught.value.code == "invalid_prompt"


def test_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidGraph, match="not JSON"):
        Graph.from_bytes(b"{")


def test_hash_does_not_depend_on_order_and_does_on_content() -> None:
    same = {
        "3.0.1": {"_meta": {"title": "S"}, "inputs": {"seed": 5, "model": ["4", 0]}, "class_type": "Sampler"},
        "4": GRAPH["4"],
    }
    assert Graph.from_json(same).hash == Graph.from_json(GRAPH).hash
    assert Graph.from_json(same).to_bytes() == Graph.from_json(GRAPH).to_bytes()
    other = {**GRAPH, "4": {"class_type": "Loader", "inputs": {"name": "y.safetensors"}}}
    assert Graph.from_json(other).hash != Graph.from_json(GRAPH).hash


def test_bytes_read_back_as_the_same_graph() -> None:
    graph = Graph.from_json(GRAPH)
    assert Graph.from_bytes(graph.to_bytes()) == graph


def test_replacing_a_node_leaves_the_original_alone() -> None:
    graph = Graph.from_json(GRAPH)
    changed = graph.replace({"4": GraphNode("Loader", {"name": "z"})})
    assert graph.to_json() == GRAPH
    assert changed.nodes["4"].inputs == {"name": "z"}
    assert graph.replace({}) is graph
