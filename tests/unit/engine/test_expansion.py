"""Nodes that continue as a graph."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest

from engine import ExecutionBlocker, Expansion, NodeSpec, OutputSpec, Socket, Ui, events, node

Thing = Annotated[Any, Socket("THING")]
Node = Callable[..., dict[str, Any]]

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.clear()


def entry(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


@node("Number")
def number(value: int) -> Thing:
    calls.append(("Number", value))
    return value


@node("Add")
def add(a: Thing, b: Thing) -> Thing:
    calls.append(("Add", a, b))
    return a + b


@node("Show", output=True)
def show(a: Thing) -> Ui:
    return Ui({"values": [a]})


@node("Fail")
def fail(a: Thing) -> Thing:
    raise ValueError("inside")


@node("Twice", hidden={"me": "UNIQUE_ID"})
def twice(a: Thing, me: str) -> Thing | Expansion:
    calls.append(("Twice", a))
    inner = f"{me}.0.0.1"
    return Expansion({inner: entry("Add", a=a, b=a)}, ([inner, 0],))


@node("Countdown", hidden={"me": "UNIQUE_ID"})
def countdown(a: Thing, left: int, me: str) -> Thing | Expansion:
    """Add one, `left` times, by expanding into itself."""
    if left == 0:
        return a
    add_one, again = f"{me}.a", f"{me}.c"
    graph = {add_one: entry("Add", a=a, b=1), again: entry("Countdown", a=[add_one, 0], left=left - 1)}
    return Expansion(graph, ([again, 0],))


NODES = (number, add, show, fail, twice, countdown)


def test_the_expansions_result_is_the_nodes_result(machine: Any, n: Node) -> None:
    m = machine(*NODES)
    graph = {"1": n("Number", value=4), "2": n("Twice", a=["1", 0]), "3": n("Show", a=["2", 0])}
    result = m.run(graph)
    assert result.ui == {"3": {"values": [8]}}
    assert result.executed == ["1", "2", "2.0.0.1", "3"]
    inner = m.told(events.Executing)[2]
    assert (inner.node, inner.display_node) == ("2.0.0.1", "2")
    calls.clear()
    assert m.run(graph).ui == {"3": {"values": [8]}}
    assert calls == []


def test_expansions_nest_without_recursion(machine: Any, n: Node) -> None:
    m = machine(*NODES, budget_bytes=1 << 28)
    graph = {"1": n("Countdown", a=0, left=1500), "2": n("Show", a=["1", 0])}
    assert m.run(graph).ui == {"2": {"values": [1500]}}
    assert m.run(graph).executed == []


def test_inner_nodes_are_found_again_when_the_outer_one_changes(machine: Any, n: Node) -> None:
    @node("Sum", hidden={"me": "UNIQUE_ID"})
    def total(count: int, me: str) -> Thing | Expansion:
        graph = {f"{me}.{i}": entry("Number", value=i) for i in range(count)}
        graph[f"{me}.s"] = entry("Add", a=[f"{me}.0", 0], b=[f"{me}.{count - 1}", 0])
        return Expansion(graph, ([f"{me}.s", 0],))

    m = machine(*NODES, total)
    m.run({"1": n("Sum", count=2), "2": n("Show", a=["1", 0])})
    calls.clear()
    assert m.run({"1": n("Sum", count=3), "2": n("Show", a=["1", 0])}).ui == {"2": {"values": [2]}}
    assert calls == [("Number", 2), ("Add", 0, 2)]


def test_results_may_mix_values_links_and_blockers(machine: Any, n: Node) -> None:
    @node("Mixed", hidden={"me": "UNIQUE_ID"})
    def mixed(a: Thing, me: str) -> tuple[Thing, Thing, Thing, list[Thing]] | Expansion:
        inner = f"{me}.1"
        return Expansion({inner: entry("Number", value=9)}, ([inner, 0], 5, ExecutionBlocker(), [1, 2, 3]))

    graph = {"1": n("Mixed", a=0)} | {f"s{i}": n("Show", a=["1", i]) for i in range(4)}
    ui = machine(*NODES, mixed).run(graph).ui
    assert ui == {"s0": {"values": [9]}, "s1": {"values": [5]}, "s3": {"values": [1, 2, 3]}}


def test_a_link_to_a_list_brings_all_its_elements(machine: Any, n: Node) -> None:
    numbers = NodeSpec("List", lambda: ([1, 2, 3],), outputs=(OutputSpec("THING", is_list=True),))

    @node("Pack", hidden={"me": "UNIQUE_ID"})
    def pack(me: str) -> Thing | Expansion:
        return Expansion({f"{me}.1": entry("List")}, ([f"{me}.1", 0],))

    graph = {"1": n("Pack"), "2": n("Show", a=["1", 0])}
    assert machine(numbers, pack, show).run(graph).ui == {"2": {"values": [1, 2, 3]}}


def test_some_calls_may_expand_and_others_not(machine: Any, n: Node) -> None:
    numbers = NodeSpec("List", lambda: ([1, 2, 3],), outputs=(OutputSpec("THING", is_list=True),))

    @node("Odd", hidden={"me": "UNIQUE_ID"})
    def odd(a: Thing, me: str) -> Thing | Expansion:
        if a % 2 == 0:
            return a
        return Expansion({f"{me}.{a}": entry("Add", a=a, b=100)}, ([f"{me}.{a}", 0],))

    graph = {"1": n("List"), "2": n("Odd", a=["1", 0]), "3": n("Show", a=["2", 0])}
    assert machine(numbers, odd, add, show).run(graph).ui == {"3": {"values": [101, 2, 103]}}


def test_inner_outputs_run_and_show(machine: Any, n: Node) -> None:
    @node("Reporting", hidden={"me": "UNIQUE_ID"})
    def reporting(a: Thing, me: str) -> Thing | Expansion:
        return Expansion({f"{me}.1": entry("Show", a=a)}, (a,))

    m = machine(*NODES, reporting)
    graph = {"1": n("Reporting", a=3), "2": n("Show", a=["1", 0])}
    assert m.run(graph).ui == {"2": {"values": [3]}, "1.1": {"values": [3]}}
    shown = next(event for event in m.told(events.Executed) if event.node == "1.1")
    assert shown.display_node == "1"


def test_display_can_be_given_to_another_node(machine: Any, n: Node) -> None:
    @node("Hidden", hidden={"me": "UNIQUE_ID"})
    def hidden(me: str) -> Thing | Expansion:
        return Expansion({f"{me}.1": {**entry("Number", value=1), "override_display_id": "5"}}, ([f"{me}.1", 0],))

    m = machine(*NODES, hidden)
    m.run({"1": n("Hidden"), "5": n("Show", a=["1", 0])})
    assert [event.display_node for event in m.told(events.Executing)] == ["1", "5", "5"]


def test_failures_inside_are_told_at_the_submitted_node(machine: Any, n: Node) -> None:
    @node("Outer", hidden={"me": "UNIQUE_ID"})
    def outer(me: str) -> Thing | Expansion:
        return Expansion({f"{me}.1": entry("Middle")}, ([f"{me}.1", 0],))

    @node("Middle", hidden={"me": "UNIQUE_ID"})
    def middle(me: str) -> Thing | Expansion:
        return Expansion({f"{me}.1": entry("Fail", a=5)}, ([f"{me}.1", 0],))

    error = machine(*NODES, outer, middle).run({"1": n("Outer"), "2": n("Show", a=["1", 0])}).error
    assert (error.node, error.node_type, error.message) == ("1", "Outer", "inside")
    assert error.executed == ["1", "1.1"]


def test_ids_that_exist_already_are_refused(machine: Any, n: Node) -> None:
    @node("Clash")
    def clash() -> Thing | Expansion:
        return Expansion({"2": entry("Number", value=1)}, (["2", 0],))

    error = machine(*NODES, clash).run({"1": n("Clash"), "2": n("Show", a=["1", 0])}).error
    assert (error.node, error.code) == ("1", "duplicate_node")


@pytest.mark.parametrize(
    ("graph", "result", "code"),
    [
        ({}, (["nowhere", 0],), "bad_node_input"),
        ({"x": {"inputs": {}}}, (["x", 0],), "invalid_prompt"),
        ({"x": entry("Unknown")}, (["x", 0],), "unknown_node"),
    ],
)
def test_expansions_that_make_no_sense_fail_at_the_node(
    machine: Any, n: Node, graph: dict[str, Any], result: tuple[Any, ...], code: str
) -> None:
    @node("Bad")
    def bad() -> Thing | Expansion:
        return Expansion(graph, result)

    error = machine(*NODES, bad).run({"1": n("Bad"), "2": n("Show", a=["1", 0])}).error
    assert (error.node, error.code) == ("1", code)


def test_a_cycle_made_by_expansion_is_told(machine: Any, n: Node) -> None:
    @node("Snake", hidden={"me": "UNIQUE_ID"})
    def snake(me: str) -> Thing | Expansion:
        return Expansion({f"{me}.1": entry("Add", a=[me, 0], b=1)}, ([f"{me}.1", 0],))

    error = machine(*NODES, snake).run({"1": n("Snake"), "2": n("Show", a=["1", 0])}).error
    assert (error.node, error.exception_type) == ("1", "graph.DependencyCycleError")
    assert error.message == "Dependency cycle detected"


def test_values_without_content_key_pass_through_and_are_not_cached(machine: Any, n: Node) -> None:
    class Tensor:
        pass

    made = Tensor()

    @node("Keep")
    def keep(a: Thing) -> Thing:
        calls.append(a)
        return a

    @node("Carry", cacheable=False)
    def carry() -> Thing | Expansion:
        return Expansion({"inner": entry("Keep", a=made)}, (["inner", 0],))

    m = machine(keep, carry, show)
    graph = {"1": n("Carry"), "2": n("Show", a=["1", 0])}
    assert m.run(graph).ui == {"2": {"values": [made]}}
    m.run(graph)
    assert calls == [made, made]


def test_links_to_submitted_nodes_work_even_after_their_values_were_dropped(machine: Any, n: Node) -> None:
    @node("Back", hidden={"me": "UNIQUE_ID"})
    def back(a: Thing, me: str) -> Thing | Expansion:
        return Expansion({f"{me}.1": entry("Add", a=["1", 0], b=["0", 0])}, ([f"{me}.1", 0],))

    graph = {
        "0": n("Number", value=7),
        "1": n("Number", value=1),
        "2": n("Add", a=["1", 0], b=["1", 0]),
        "3": n("Back", a=["2", 0]),
        "4": n("Show", a=["3", 0]),
    }
    for budget in (0, 1 << 20):
        assert machine(*NODES, back, budget_bytes=budget).run(graph).ui == {"4": {"values": [8]}}


def test_dynprompt_knows_parents_and_origins(machine: Any, n: Node) -> None:
    got: list[Any] = []

    @node("Look", hidden={"me": "UNIQUE_ID", "d": "DYNPROMPT"})
    def look(me: str, d: Any) -> Thing:
        got.append(
            (d.get_parent_node_id(me), d.get_real_node_id(me), d.get_display_node_id(me), sorted(d.all_node_ids()))
        )
        got.append(set(d.get_original_prompt()))
        return 0

    @node("Wrap", hidden={"me": "UNIQUE_ID"})
    def wrap(me: str) -> Thing | Expansion:
        return Expansion({f"{me}.1": entry("Look")}, ([f"{me}.1", 0],))

    machine(look, wrap, show).run({"1": n("Wrap"), "2": n("Show", a=["1", 0])})
    assert got == [("1", "1", "1", ["1", "1.1", "2"]), {"1", "2"}]
