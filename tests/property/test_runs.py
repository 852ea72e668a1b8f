"""Runs of random graphs against a plain evaluation, whatever the cache can hold."""

from typing import Annotated, Any

from hypothesis import given
from hypothesis import strategies as st

from engine import Expansion, Graph, Registry, Socket, Ui, events, node, spec_of
from engine.cache import ResultCache
from engine.executor import Executor
from engine.validate import validate

Thing = Annotated[Any, Socket("THING")]
Lazy = Annotated[Any, Socket("THING", lazy=True)]
Json = dict[str, Any]


@node("Leaf")
def leaf(value: int) -> Thing:
    return value


@node("Pair")
def pair(a: Thing, b: Thing, salt: int) -> tuple[Thing, Thing]:
    return (a, b, salt), (b, salt)


@node("Later")
async def later(a: Thing, salt: int) -> Thing:
    return ("later", a, salt)


def side(flip: bool, a: Any = None, b: Any = None) -> list[str]:
    return ["a"] if flip else ["b"]


@node("Either", check_lazy=side)
def either(flip: bool, a: Lazy, b: Lazy) -> Thing:
    return a if flip else b


@node("Grow", hidden={"me": "UNIQUE_ID"})
def grow(a: Thing, salt: int, me: str) -> Thing | Expansion:
    inner = f"{me}/in"
    return Expansion({inner: {"class_type": "Later", "inputs": {"a": {"__value__": a}, "salt": salt}}}, ([inner, 0],))


@node("Out", output=True)
def out(a: Thing) -> Ui:
    return Ui({"value": [a]})


REGISTRY = Registry(spec_of(f) for f in (leaf, pair, later, either, grow, out))


@st.composite
def graphs(draw: st.DrawFn) -> Json:
    """Draw a graph of up to 14 nodes in topological order, and outputs on some of them."""
    graph: Json = {"0": {"class_type": "Leaf", "inputs": {"value": 0}}}
    widths = {"0": 1}
    for i in range(1, draw(st.integers(2, 14))):
        kind = draw(st.sampled_from(["Leaf", "Pair", "Later", "Either", "Grow"]))
        inputs: Json = {"salt": draw(st.integers(0, 1))}
        if kind == "Leaf":
            inputs = {"value": draw(st.integers(0, 3))}
        for name in {"Pair": "ab", "Either": "ab", "Later": "a", "Grow": "a"}.get(kind, ""):
            source = str(draw(st.integers(0, i - 1)))
            inputs[name] = [source, draw(st.integers(0, widths[source] - 1))]
        if kind == "Either":
            inputs["flip"] = draw(st.booleans())
            del inputs["salt"]
        graph[str(i)] = {"class_type": kind, "inputs": inputs}
        widths[str(i)] = 2 if kind == "Pair" else 1
    for i in draw(st.lists(st.sampled_from(list(graph)), min_size=1, max_size=4)):
        graph[f"out{i}"] = {"class_type": "Out", "inputs": {"a": [i, widths[i] - 1]}}
    return graph


def evaluate(graph: Json) -> dict[str, Any]:
    """Work out what each output shows, node by node in the graph's order."""
    values: dict[str, tuple[Any, ...]] = {}
    shown = {}
    for node_id, entry in graph.items():
        inputs = entry["inputs"]
        given_in = {k: values[v[0]][v[1]] if isinstance(v, list) else v for k, v in inputs.items()}
        match entry["class_type"]:
            case "Leaf":
                values[node_id] = (given_in["value"],)
            case "Pair":
                a, b, salt = given_in["a"], given_in["b"], given_in["salt"]
                values[node_id] = ((a, b, salt), (b, salt))
            case "Either":
                values[node_id] = (given_in["a"] if given_in["flip"] else given_in["b"],)
            case "Later" | "Grow":
                values[node_id] = (("later", given_in["a"], given_in["salt"]),)
            case _:
                shown[node_id] = {"value": [given_in["a"]]}
    return shown


@given(graphs(), st.sampled_from([0, 2_000, 10_000, 1 << 20]))
def test_a_run_gives_what_a_plain_evaluation_gives(graph: Json, budget_bytes: int) -> None:
    executor = Executor(REGISTRY, ResultCache(budget_bytes))
    expected = evaluate(graph)
    for _ in range(2):
        checked = validate(graph, REGISTRY)
        told: list[Any] = []
        result = executor.run(checked.graph, checked.outputs, emit=told.append)
        assert (result.status, result.error) == ("succeeded", None)
        assert result.ui == expected
        assert isinstance(told[-1], events.Succeeded)
        assert sum(isinstance(event, events.Succeeded | events.Failed) for event in told) == 1


@given(graphs())
def test_with_room_nothing_runs_twice(graph: Json) -> None:
    executor = Executor(REGISTRY, ResultCache(1 << 20))
    checked = validate(graph, REGISTRY)
    result = executor.run(checked.graph, checked.outputs)
    assert len(result.executed) == len(set(result.executed))
    assert executor.run(checked.graph, checked.outputs).executed == []


@given(graphs(), st.randoms(use_true_random=False))
def test_order_and_ids_of_the_json_do_not_matter_to_the_cache(graph: Json, random: Any) -> None:
    executor = Executor(REGISTRY, ResultCache(1 << 20))
    executor.run(Graph.from_json(graph))
    plain = {i: e for i, e in graph.items() if e["class_type"] != "Grow"}
    if len(plain) < len(graph):
        return  # a node that sees its own id is another one under another id
    order = list(graph)
    random.shuffle(order)
    renamed = {
        f"n{i}": {
            **graph[i],
            "inputs": {k: [f"n{v[0]}", v[1]] if isinstance(v, list) else v for k, v in graph[i]["inputs"].items()},
        }
        for i in order
    }
    again = executor.run(Graph.from_json(renamed))
    assert again.executed == []
    assert again.ui == {f"n{i}": ui for i, ui in evaluate(graph).items()}
