"""Order, demand, results, events."""

from typing import Any

from engine import Expansion, Graph, Ui, events, node
from tests.unit.engine.sums import NODES, Node, Thing, calls, two_outputs


def test_a_graph_runs_from_its_outputs_and_tells_in_order(machine: Any, n: Node) -> None:
    m = machine(*NODES)
    result = m.run(two_outputs(n))
    assert result.status == "succeeded"
    assert result.ui == {"4": {"values": [3]}, "6": {"values": [6]}}
    assert result.executed == ["1", "2", "3", "4", "5", "6"]
    assert m.words() == [
        "Started", "Cached", "Executing", "Executing", "Executing", "Executing", "Executed",
        "Executing", "Executing", "Executed", "Succeeded",
    ]  # fmt: skip
    assert {event.job_id for event in m.events} == {"job"}
    assert m.told(events.Executed)[0] == events.Executed("job", "4", "4", {"values": [3]})
    assert m.told(events.Succeeded)[0].ui == result.ui


def test_outputs_finish_one_by_one(machine: Any, n: Node) -> None:
    graph: dict[str, Any] = {}
    for i in range(3):
        graph[f"make{i}"] = n("Source", value=i)
    for i in range(3):
        graph[f"save{i}"] = n("Write", a=[f"make{i}", 0])
    machine(*NODES).run(graph)
    assert [call[0] for call in calls] == ["Source", "Write"] * 3


def test_only_what_the_chosen_outputs_need_runs(machine: Any, n: Node) -> None:
    graph = {**two_outputs(n), "7": n("Source", value=7), "8": n("Show", a=["7", 0])}
    result = machine(*NODES).run(graph, ["8"])
    assert result.executed == ["7", "8"]


def test_a_repeated_run_calls_nothing_and_tells_the_same_ui(machine: Any, n: Node) -> None:
    m = machine(*NODES)
    first = m.run(two_outputs(n))
    again = m.run(two_outputs(n))
    assert again.ui == first.ui
    assert again.executed == []
    assert m.words() == ["Started", "Cached", "Executed", "Executed", "Succeeded"]
    assert sorted(m.told(events.Cached)[0].nodes) == ["1", "2", "3", "4", "5", "6"]


def test_what_is_cached_is_not_looked_behind(machine: Any, n: Node) -> None:
    m = machine(*NODES)
    m.run(two_outputs(n))
    middle = m.executor.run(Graph.from_json(two_outputs(n)), ["4"])
    assert middle.executed == []
    # Only the key of node 3 is kept: a new output above it needs neither 1 nor 2.
    m.cache._entries = {k: e for k, e in m.cache._entries.items() if e.outputs == ((3,),)}
    calls.clear()
    result = m.run({**two_outputs(n), "9": n("Write", a=["3", 0])}, ["9"])
    assert result.executed == ["9"]


def test_only_what_a_change_reaches_runs_again(machine: Any, n: Node) -> None:
    m = machine(*NODES)
    m.run(two_outputs(n))
    changed = two_outputs(n)
    changed["2"]["inputs"]["value"] = 20
    assert m.run(changed).executed == ["2", "3", "4", "5", "6"]
    assert m.run(two_outputs(n)).executed == []


def test_other_ids_find_the_same_results(machine: Any, n: Node) -> None:
    m = machine(*NODES)
    m.run(two_outputs(n))
    renamed = {
        "z": n("Show", a=["y", 0]),
        "y": n("Add", a=["x1", 0], b=["x2", 0]),
        "x2": n("Source", value=2),
        "x1": n("Source", value=1),
    }
    result = m.run(renamed)
    assert result.executed == []
    assert result.ui == {"z": {"values": [3]}}


def test_equal_nodes_of_one_graph_share_one_run(machine: Any, n: Node) -> None:
    graph = {
        "1": n("Source", value=1),
        "2": n("Source", value=1),
        "3": n("Add", a=["1", 0], b=["2", 0]),
        "4": n("Add", a=["2", 0], b=["1", 0]),
        "5": n("Show", a=["3", 0]),
        "6": n("Show", a=["4", 0]),
    }
    m = machine(*NODES, budget_bytes=0)
    result = m.run(graph)
    assert calls == [("Source", 1), ("Add", 1, 1), ("Show", 2)]
    assert result.ui == {"5": {"values": [2]}, "6": {"values": [2]}}
    assert [event.node for event in m.told(events.Executed)] == ["5", "6"]
    assert [event.node for event in m.told(events.Executing)] == ["1", "3", "5"]


def test_nodes_that_are_not_cacheable_run_every_time(machine: Any, n: Node) -> None:
    m = machine(*NODES)
    graph = {"1": n("Source", value=1), "2": n("Write", a=["1", 0]), "3": n("Write", a=["1", 0])}
    assert m.run(graph).executed == ["1", "2", "3"]
    assert m.run(graph).executed == ["2", "3"]


def test_without_room_in_the_cache_values_still_reach_every_user(machine: Any, n: Node) -> None:
    result = machine(*NODES, budget_bytes=0).run(two_outputs(n))
    assert result.ui == {"4": {"values": [3]}, "6": {"values": [6]}}
    assert result.executed == ["1", "2", "3", "4", "5", "6"]


def test_slots_lead_where_they_should(machine: Any, n: Node) -> None:
    graph = {"1": n("Source", value=3), "2": n("Split", a=["1", 0]), "3": n("Show", a=["2", 1])}
    assert machine(*NODES).run(graph).ui == {"3": {"values": [-3]}}


def test_outputs_nobody_wants_are_let_go_during_the_run(machine: Any, n: Node) -> None:
    import weakref

    class Big:
        pass

    alive: list[weakref.ref[Any]] = []
    counts: list[int] = []

    @node("Make")
    def make(value: int) -> Thing:
        big = Big()
        alive.append(weakref.ref(big))
        return big

    @node("Use", output=True)
    def use(a: Thing) -> Ui:
        counts.append(sum(ref() is not None for ref in alive))
        return Ui({})

    graph = {f"m{i}": n("Make", value=i) for i in range(4)} | {f"u{i}": n("Use", a=[f"m{i}", 0]) for i in range(4)}
    machine(make, use, budget_bytes=0).run(graph)
    assert counts == [1, 1, 1, 1]


def test_a_chain_of_ten_thousand_nodes_runs(machine: Any, n: Node) -> None:
    count = 10_000
    graph = {"0": n("Source", value=0)}
    for i in range(1, count):
        graph[str(i)] = n("Add", a=[str(i - 1), 0], b=["0", 0])
    graph["end"] = n("Show", a=[str(count - 1), 0])
    m = machine(*NODES, budget_bytes=1 << 30)
    assert m.run(graph).ui == {"end": {"values": [0]}}
    assert m.run(graph).executed == []


def test_expansion_type_is_importable_from_the_engine() -> None:
    assert Expansion({}).result == ()
