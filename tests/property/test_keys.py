"""Content keys: the same work is found again, different work never."""

import subprocess
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine import Graph, InputSpec, NodeSpec, OutputSpec, Registry
from engine.plan import Plan

Json = dict[str, Any]

INPUTS = (InputSpec("a", "THING"), InputSpec("b", "THING"), InputSpec("x", "ANY"), InputSpec("y", "ANY"))
CLASSES = ("Red", "Green", "Blue")


def registry(versions: dict[str, int] | None = None, fingerprints: dict[str, Any] | None = None) -> Registry:
    def spec(name: str) -> NodeSpec:
        mark = (fingerprints or {}).get(name)
        return NodeSpec(
            name,
            call=lambda: (),
            inputs=INPUTS,
            outputs=(OutputSpec("THING"),),
            version=(versions or {}).get(name, 1),
            fingerprint=None if mark is None else lambda **inputs: mark,
        )

    return Registry(spec(name) for name in CLASSES)


def keys(graph: Json, known: Registry | None = None) -> dict[str, bytes]:
    plan = Plan(
        Graph.from_json(graph).nodes, known or registry(), lambda node_id, spec, inputs: spec.fingerprint(**inputs)
    )
    plan.add(graph)
    return {node_id: step.key for node_id, step in plan.steps.items()}


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from(["0", "1", ""]),
)
constants = st.one_of(
    scalars,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ).map(lambda value: {"__value__": value} if isinstance(value, list) else value),
)


@st.composite
def graphs(draw: st.DrawFn) -> Json:
    """Draw an acyclic graph of up to eight nodes."""
    count = draw(st.integers(1, 8))
    graph: Json = {}
    for i in range(count):
        inputs: Json = {}
        for name in ("a", "b"):
            if i and draw(st.booleans()):
                inputs[name] = [str(draw(st.integers(0, i - 1))), draw(st.integers(0, 1))]
        for name in ("x", "y"):
            if draw(st.booleans()):
                inputs[name] = draw(constants)
        graph[str(i)] = {"class_type": draw(st.sampled_from(CLASSES)), "inputs": inputs}
    return graph


def is_link(value: Any) -> bool:
    return isinstance(value, list)


def renamed(graph: Json, names: dict[str, str], order: list[str]) -> Json:
    """Write the same program with other ids, in another order of nodes and of inputs."""
    written: Json = {}
    for node_id in order:
        inputs = reversed(list(graph[node_id]["inputs"].items()))
        linked = {k: [names[v[0]], v[1]] if is_link(v) else v for k, v in inputs}
        written[names[node_id]] = {
            "inputs": linked,
            "class_type": graph[node_id]["class_type"],
            "_meta": {"title": node_id},
        }
    return written


def downstream(graph: Json, node_id: str) -> set[str]:
    """Collect a node and all that it feeds."""
    found = {node_id}
    for other in graph:  # ids are in topological order
        if any(is_link(value) and value[0] in found for value in graph[other]["inputs"].values()):
            found.add(other)
    return found


@given(graphs(), st.randoms(use_true_random=False))
def test_ids_and_orders_do_not_matter(graph: Json, random: Any) -> None:
    order = list(graph)
    random.shuffle(order)
    names = {node_id: f"node {i}" for i, node_id in enumerate(order)}
    random.shuffle(order)
    there = keys(renamed(graph, names, order))
    here = keys(graph)
    assert {node_id: there[names[node_id]] for node_id in graph} == here


def strictly(value: Any) -> Any:
    """Give something that is equal only for values of the same types throughout."""
    if isinstance(value, dict):
        return "dict", frozenset((k, strictly(v)) for k, v in value.items())
    if isinstance(value, list):
        return "list", tuple(strictly(v) for v in value)
    return type(value).__name__, repr(value)


@given(graphs(), st.data())
def test_a_changed_constant_changes_the_node_and_what_it_feeds_and_nothing_else(
    graph: Json, data: st.DataObject
) -> None:
    node_id = data.draw(st.sampled_from(list(graph)))
    value = data.draw(constants)
    inputs = graph[node_id]["inputs"]
    changed = {**graph, node_id: {**graph[node_id], "inputs": {**inputs, "x": value}}}
    before, after = keys(graph), keys(changed)
    same = "x" in inputs and strictly(inputs["x"]) == strictly(value)
    expected = set() if same else downstream(graph, node_id)
    assert {i for i in graph if before[i] != after[i]} == expected


@given(graphs(), st.data())
def test_another_class_version_or_fingerprint_changes_what_it_reaches(graph: Json, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(CLASSES))
    reached: set[str] = set()
    for node_id in graph:
        if graph[node_id]["class_type"] == name:
            reached |= downstream(graph, node_id)
    plain = keys(graph)
    newer = keys(graph, registry(versions={name: 2}))
    marked = keys(graph, registry(fingerprints={name: ["size", 5]}))
    moved = keys(graph, registry(fingerprints={name: ["size", 6]}))
    assert {i for i in graph if plain[i] != newer[i]} == reached
    assert {i for i in graph if marked[i] != moved[i]} == reached


@given(graphs(), st.data())
def test_another_source_or_slot_changes_the_key(graph: Json, data: st.DataObject) -> None:
    linked = [(i, k) for i in graph for k, v in graph[i]["inputs"].items() if is_link(v)]
    if not linked:
        return
    node_id, name = data.draw(st.sampled_from(linked))
    source, slot = graph[node_id]["inputs"][name]
    other = {**graph, node_id: {**graph[node_id], "inputs": {**graph[node_id]["inputs"], name: [source, slot + 1]}}}
    before, after = keys(graph), keys(other)
    assert {i for i in graph if before[i] != after[i]} == downstream(graph, node_id)


@given(st.lists(constants, min_size=2, max_size=6))
def test_keys_are_equal_exactly_for_values_of_equal_type_and_content(values: list[Any]) -> None:
    graph = {str(i): {"class_type": "Red", "inputs": {"x": value}} for i, value in enumerate(values)}
    found = keys(graph)
    for i, left in enumerate(values):
        for j, right in enumerate(values):
            assert (found[str(i)] == found[str(j)]) == (strictly(left) == strictly(right))


def test_equal_numbers_of_different_types_have_different_keys() -> None:
    values = [
        1,
        1.0,
        True,
        "1",
        [1],
        {"__value__": [1]},
        {"__value__": [1.0]},
        {"__value__": [True]},
        None,
        0,
        -0.0,
        0.0,
    ]
    values = [value for value in values if not is_link(value)]
    graph = {str(i): {"class_type": "Red", "inputs": {"x": value}} for i, value in enumerate(values)}
    assert len(set(keys(graph).values())) == len(values)


def test_an_input_moved_to_another_name_has_another_key() -> None:
    graph = {
        "1": {"class_type": "Red", "inputs": {"x": 1}},
        "2": {"class_type": "Red", "inputs": {"y": 1}},
        "3": {"class_type": "Green", "inputs": {"a": ["1", 0]}},
        "4": {"class_type": "Green", "inputs": {"b": ["1", 0]}},
    }
    assert len(set(keys(graph).values())) == 4


PROGRAM = """
import sys
sys.path.insert(0, "tests/property")
from test_keys import keys
graph = {"1": {"class_type": "Red", "inputs": {"x": 1.5, "y": {"b": [1, "é"], "a": None}}},
         "2": {"class_type": "Blue", "inputs": {"a": ["1", 0], "x": "text" * int(sys.argv[1]), "y": 10**30}}}
print(keys(graph)["2"].hex())
"""


def test_keys_are_the_same_in_every_process(pytestconfig: Any) -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, "2"],
            capture_output=True, text=True, check=True, cwd=pytestconfig.rootpath, env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert told[0] == told[1]
    assert len(told[0].strip()) == 32
