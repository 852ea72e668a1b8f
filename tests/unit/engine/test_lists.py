"""List inputs and outputs, blockers, lazy inputs."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest

from engine import ExecutionBlocker, InputSpec, NodeSpec, OutputSpec, Socket, Ui, events, node

Thing = Annotated[Any, Socket("THING")]
Node = Callable[..., dict[str, Any]]

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.clear()


@node("Range")
def numbers(count: int, start: int = 0) -> list[Thing]:
    return list(range(start, start + count))


def times_spec() -> NodeSpec:
    def call(a: Any, b: Any = 10) -> Any:
        calls.append((a, b))
        return a * b

    inputs = (InputSpec("a", "THING"), InputSpec("b", "THING", required=False))
    return NodeSpec("Times", call, inputs=inputs, outputs=(OutputSpec("THING"),), single_output=True)


@node("Sum", input_is_list=True)
def total(values: list[Thing], scale: list[int]) -> Thing:
    calls.append((values, scale))
    return sum(values) * scale[0]


@node("Show", output=True)
def show(a: Thing) -> Ui:
    return Ui({"values": [a]})


@node("Block")
def block(a: Thing, message: str = "") -> Thing:
    return ExecutionBlocker(message or None) if a % 2 else a


NODES = (numbers, total, show, block)


def test_a_node_is_called_for_each_element_and_ui_is_joined(machine: Any, n: Node) -> None:
    graph = {"1": n("Range", count=3), "2": n("Times", a=["1", 0]), "3": n("Show", a=["2", 0])}
    assert machine(times_spec(), *NODES).run(graph).ui == {"3": {"values": [0, 10, 20]}}
    assert calls == [(0, 10), (1, 10), (2, 10)]


def test_shorter_lists_repeat_their_last_element(machine: Any, n: Node) -> None:
    graph = {
        "1": n("Range", count=3, start=1),
        "2": n("Range", count=2, start=5),
        "3": n("Times", a=["1", 0], b=["2", 0]),
        "4": n("Show", a=["3", 0]),
    }
    machine(times_spec(), *NODES).run(graph)
    assert calls == [(1, 5), (2, 6), (3, 6)]


def test_list_nodes_get_every_input_as_a_list_in_one_call(machine: Any, n: Node) -> None:
    graph = {"1": n("Range", count=4), "2": n("Sum", values=["1", 0], scale=2), "3": n("Show", a=["2", 0])}
    assert machine(*NODES).run(graph).ui == {"3": {"values": [12]}}
    assert calls == [([0, 1, 2, 3], [2])]


def test_list_outputs_of_several_calls_are_concatenated(machine: Any, n: Node) -> None:
    @node("Twice")
    def twice(a: Thing) -> tuple[list[Thing], Thing]:
        return [a, a], [a, a]

    graph = {
        "1": n("Range", count=2),
        "2": n("Twice", a=["1", 0]),
        "3": n("Show", a=["2", 0]),
        "4": n("Show", a=["2", 1]),
    }
    result = machine(twice, *NODES).run(graph)
    assert result.ui == {"3": {"values": [0, 0, 1, 1]}, "4": {"values": [[0, 0], [1, 1]]}}


def test_an_empty_list_beside_a_filled_one_is_an_error_and_alone_a_call_without_arguments(
    machine: Any, n: Node
) -> None:
    graph = {
        "1": n("Range", count=0),
        "2": n("Range", count=2),
        "3": n("Times", a=["1", 0], b=["2", 0]),
        "4": n("Show", a=["3", 0]),
    }
    error = machine(times_spec(), *NODES).run(graph).error
    assert (error.node, error.code) == ("3", "bad_node_input")

    got: list[Any] = []
    spec = NodeSpec(
        "Free", lambda **inputs: got.append(inputs) or (), output_node=True, inputs=(InputSpec("a", "THING"),)
    )
    assert machine(spec, *NODES).run({"1": n("Range", count=0), "2": n("Free", a=["1", 0])}).status == "succeeded"
    assert got == [{}]


def test_a_list_output_that_is_no_list_is_the_nodes_failure(machine: Any, n: Node) -> None:
    @node("Wrong")
    def wrong() -> list[Thing]:
        return 5  # type: ignore[return-value]

    assert machine(wrong, show).run({"1": n("Wrong"), "2": n("Show", a=["1", 0])}).error.code == "bad_node_result"


def test_raw_links_arrive_as_they_stand_in_the_graph(machine: Any, n: Node) -> None:
    @node("Raw", output=True)
    def raw(a: Annotated[Any, Socket("THING", raw_link=True)]) -> Ui:
        return Ui({"got": [a]})

    graph = {"1": n("Range", count=2), "2": n("Raw", a=["1", 0])}
    result = machine(raw, *NODES).run(graph)
    assert result.ui == {"2": {"got": [["1", 0]]}}
    assert result.executed == ["1", "2"]


def test_a_slot_the_source_did_not_fill_is_none(machine: Any, n: Node) -> None:
    spec = NodeSpec("Short", lambda: (1,), outputs=(OutputSpec("THING"), OutputSpec("THING")))
    assert machine(spec, show).run({"1": n("Short"), "2": n("Show", a=["1", 1])}).ui == {"2": {"values": [None]}}


class TestBlocker:
    def test_blocked_elements_do_not_run_and_others_do(self, machine: Any, n: Node) -> None:
        graph = {
            "1": n("Range", count=4),
            "2": n("Block", a=["1", 0]),
            "3": n("Times", a=["2", 0]),
            "4": n("Show", a=["3", 0]),
        }
        m = machine(times_spec(), *NODES)
        assert m.run(graph).ui == {"4": {"values": [0, 20]}}
        assert calls == [(0, 10), (2, 10)]
        assert m.told(events.Blocked) == []

    def test_its_message_is_told_once_and_the_run_succeeds(self, machine: Any, n: Node) -> None:
        graph = {
            "1": n("Range", count=1, start=1),
            "2": n("Block", a=["1", 0], message="switched off"),
            "3": n("Times", a=["2", 0]),
            "4": n("Show", a=["3", 0]),
            "5": n("Show", a=["1", 0]),
        }
        m = machine(times_spec(), *NODES)
        result = m.run(graph)
        assert m.told(events.Blocked) == [events.Blocked("job", "3", "Times", "switched off")]
        assert (result.status, result.ui) == ("succeeded", {"5": {"values": [1]}})
        assert m.run(graph).executed == []  # blocked outputs are remembered as blocked

    def test_one_in_a_list_blocks_a_list_node(self, machine: Any, n: Node) -> None:
        graph = {
            "1": n("Range", count=4),
            "2": n("Block", a=["1", 0]),
            "3": n("Sum", values=["2", 0], scale=1),
            "4": n("Show", a=["3", 0]),
        }
        assert machine(*NODES).run(graph).ui == {}

    def test_one_as_the_whole_result_blocks_all_slots(self, machine: Any, n: Node) -> None:
        @node("Off")
        def off() -> tuple[Thing, list[Thing]]:
            return ExecutionBlocker()  # type: ignore[return-value]

        graph = {"1": n("Off"), "2": n("Show", a=["1", 0]), "3": n("Show", a=["1", 1])}
        result = machine(off, show).run(graph)
        assert (result.status, result.ui) == ("succeeded", {})

    def test_async_nodes_are_blocked_too(self, machine: Any, n: Node) -> None:
        @node("Later", output=True)
        async def later(a: Thing) -> Ui:
            return Ui({"values": [a]})

        graph = {"1": n("Range", count=4), "2": n("Block", a=["1", 0]), "3": n("Later", a=["2", 0])}
        assert machine(later, *NODES).run(graph).ui == {"3": {"values": [0, 2]}}


Lazy = Annotated[Any, Socket("THING", lazy=True)]


def wanted(choose: bool, yes: Any = None, no: Any = None) -> list[str]:
    calls.append(("check", yes, no))
    return [name for name, value in {"yes": yes, "no": no}.items() if value is None and (name == "yes") == choose]


@node("Switch", check_lazy=wanted)
def switch(choose: bool, yes: Lazy, no: Lazy) -> Thing:
    calls.append(("switch", yes, no))
    return yes if choose else no


@node("Number")
def number(value: int) -> Thing:
    calls.append(("number", value))
    return value


class TestLazy:
    def graph(self, n: Node, choose: bool) -> dict[str, Any]:
        return {
            "1": n("Number", value=1),
            "2": n("Number", value=2),
            "3": n("Switch", choose=choose, yes=["1", 0], no=["2", 0]),
            "4": n("Show", a=["3", 0]),
        }

    def test_only_the_wanted_side_runs(self, machine: Any, n: Node) -> None:
        m = machine(switch, number, show)
        result = m.run(self.graph(n, True))
        assert result.ui == {"4": {"values": [1]}}
        assert calls == [("check", None, None), ("number", 1), ("check", 1, None), ("switch", 1, None)]
        assert [event.node for event in m.told(events.Executing)] == ["3", "1", "3", "4"]

    def test_a_side_that_is_cached_is_passed_unasked(self, machine: Any, n: Node) -> None:
        m = machine(switch, number, show)
        m.run({"1": n("Number", value=1), "2": n("Show", a=["1", 0])})
        calls.clear()
        m.run(self.graph(n, False))
        assert calls[-1] == ("switch", 1, 2)
        assert ("number", 1) not in calls

    def test_without_a_check_unneeded_inputs_stay_none(self, machine: Any, n: Node) -> None:
        spec = NodeSpec(
            "Careless", lambda a: (a,), inputs=(InputSpec("a", "THING", lazy=True),), outputs=(OutputSpec("THING"),)
        )
        graph = {"1": n("Number", value=1), "2": n("Careless", a=["1", 0]), "3": n("Show", a=["2", 0])}
        assert machine(spec, number, show).run(graph).ui == {"3": {"values": [None]}}

    def test_asking_for_an_input_the_graph_does_not_give_is_an_error(self, machine: Any, n: Node) -> None:
        graph = self.graph(n, True)
        del graph["3"]["inputs"]["yes"]
        error = machine(switch, number, show).run(graph).error
        assert (error.node, error.code) == ("3", "bad_node_input")

    def test_a_lazy_constant_is_there_from_the_start(self, machine: Any, n: Node) -> None:
        graph = self.graph(n, True)
        graph["3"]["inputs"]["yes"] = 7
        assert machine(switch, number, show).run(graph).ui == {"4": {"values": [7]}}

    def test_the_key_holds_lazy_sources_that_never_ran(self, machine: Any, n: Node) -> None:
        m = machine(switch, number, show)
        m.run(self.graph(n, True))
        other = self.graph(n, True)
        other["2"]["inputs"]["value"] = 3
        assert m.run(other).executed == ["3", "4"]

    def test_the_check_may_be_async(self, machine: Any, n: Node) -> None:
        async def check(a: Any) -> list[str]:
            return ["a"] if a is None else []

        @node("Patient", check_lazy=check)
        def patient(a: Lazy) -> Thing:
            return a

        graph = {"1": n("Number", value=1), "2": n("Patient", a=["1", 0]), "3": n("Show", a=["2", 0])}
        assert machine(patient, number, show).run(graph).ui == {"3": {"values": [1]}}
