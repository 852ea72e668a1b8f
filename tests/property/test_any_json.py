"""Whatever JSON arrives, validation answers, and what it passes runs to an end."""

from typing import Annotated, Any, Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from engine import Choices, Registry, Socket, Ui, node, spec_of
from engine.cache import ResultCache
from engine.executor import Executor
from engine.validate import validate

Thing = Annotated[Any, Socket("THING")]


@node("Make")
def make(
    count: Annotated[int, Meta(ge=0, le=9)], name: Literal["a", "b"] = "a", texts: list[str] | None = None
) -> tuple[Thing, list[Thing]]:
    return count, [name] * count


@node("Use", output=True)
def use(a: Thing, b: Thing | None = None, label: Annotated[str, Choices(["x", "y"])] = "x", flag: bool = False) -> Ui:
    return Ui({"a": [str(a)]})


REGISTRY = Registry([spec_of(make), spec_of(use)])

ids = st.sampled_from(["1", "2", "3", "4"])
links = st.tuples(ids, st.sampled_from([0, 1, 2, -1, 0.0, 1e300])).map(list)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from(["a", "x", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["__value__", "k"]), inner, max_size=2),
    max_leaves=5,
)
values = links | anything | st.integers(0, 9) | st.sampled_from(["a", "b", "x", "y"])
names = st.sampled_from(["count", "name", "texts", "a", "b", "label", "flag", "other"])
entries = st.fixed_dictionaries(
    {
        "class_type": st.sampled_from(["Make", "Make", "Use", "Use", "Gone"]) | anything,
        "inputs": st.dictionaries(names, values, max_size=5) | anything,
    }
)
likely = st.fixed_dictionaries(
    {
        "class_type": st.sampled_from(["Make", "Use"]),
        "inputs": st.fixed_dictionaries({"a": links, "count": st.integers(0, 9)}),
    }
)


@given(st.dictionaries(ids, entries | likely | anything, max_size=4) | anything)
def test_any_json_is_answered_and_what_is_accepted_runs_to_an_end(graph: Any) -> None:
    found = validate(graph, REGISTRY)
    msgspec.json.encode(found.to_json())
    assert bool(found.outputs) == (found.error is None)
    if found.outputs:
        assert validate(found.graph, REGISTRY).graph == found.graph
        result = Executor(REGISTRY, ResultCache(1 << 16)).run(found.graph, found.outputs)
        assert result.status in ("succeeded", "failed")


@given(st.dictionaries(ids, likely, min_size=2, max_size=4))
def test_accepted_graphs_of_sound_nodes_succeed(graph: Any) -> None:
    found = validate(graph, REGISTRY)
    if found.outputs:
        result = Executor(REGISTRY, ResultCache(1 << 16)).run(found.graph, found.outputs)
        assert result.status == "succeeded" or result.error is not None
        assert set(result.ui) <= set(found.outputs)
