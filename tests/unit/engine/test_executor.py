"""Order, demand, results, events."""

import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Annotated, Any

import pytest

from engine import Context, Expansion, Graph, RunContext, Socket, Ui, events, node
from engine.errors import FocalError

Thing = Annotated[Any, Socket("THING")]
Node = Callable[..., dict[str, Any]]

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.clear()


@node("Source")
def source(value: int) -> Thing:
    calls.append(("Source", value))
    return value


@node("Add")
def add(a: Thing, b: Thing) -> Thing:
    calls.append(("Add", a, b))
    return a + b


@node("Split")
def split(a: Thing) -> tuple[Thing, Thing]:
    return a, -a


@node("Show", output=True)
def show(a: Thing, label: str = "") -> Ui:
    calls.append(("Show", a))
    return Ui({"values": [a]})


@node("Write", output=True, cacheable=False)
def write(a: Thing) -> Ui:
    calls.append(("Write", a))
    return Ui({"files": [f"{a}.png"]})


@node("Fail")
def fail(a: Thing, message: str = "no such luck") -> Thing:
    calls.append(("Fail", a))
    raise ValueError(message)


NODES = (source, add, split, show, write, fail)


def two_outputs(n: Node) -> dict[str, Any]:
    return {
        "1": n("Source", value=1),
        "2": n("Source", value=2),
        "3": n("Add", a=["1", 0], b=["2", 0]),
        "4": n("Show", a=["3", 0]),
        "5": n("Add", a=["3", 0], b=["3", 0]),
        "6": n("Show", a=["5", 0]),
    }


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
    import gc
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
        gc.collect()
        counts.append(sum(ref() is not None for ref in alive))
        return Ui({})

    graph = {f"m{i}": n("Make", value=i) for i in range(4)} | {f"u{i}": n("Use", a=[f"m{i}", 0]) for i in range(4)}
    machine(make, use, budget_bytes=0).run(graph)
    assert counts == [1, 1, 1, 1]


def test_omitted_optional_inputs_take_the_python_default(machine: Any, n: Node) -> None:
    @node("Default", output=True)
    def default(a: int = 5) -> Ui:
        return Ui({"a": [a]})

    assert machine(default).run({"1": n("Default")}).ui == {"1": {"a": [5]}}


def test_undeclared_links_are_followed_and_passed_and_undeclared_constants_dropped(machine: Any, n: Node) -> None:
    from engine import NodeSpec, OutputSpec

    def anything(**inputs: Any) -> Ui:
        return Ui({"got": [inputs]})

    spec = NodeSpec("Anything", anything, output_node=True, outputs=(OutputSpec("THING"),))
    graph = {"1": n("Source", value=1), "2": n("Anything", link=["1", 0], constant=5)}
    assert machine(source, spec).run(graph).ui == {"2": {"got": [{"link": 1}]}}


def test_list_constants_arrive_unwrapped(machine: Any, n: Node) -> None:
    @node("Texts", output=True)
    def texts(texts: list[str]) -> Ui:
        return Ui({"texts": texts})

    assert machine(texts).run({"1": n("Texts", texts={"__value__": ["a", "b"]})}).ui == {"1": {"texts": ["a", "b"]}}


def test_a_chain_of_ten_thousand_nodes_runs(machine: Any, n: Node) -> None:
    count = 10_000
    graph = {"0": n("Source", value=0)}
    for i in range(1, count):
        graph[str(i)] = n("Add", a=[str(i - 1), 0], b=["0", 0])
    graph["end"] = n("Show", a=[str(count - 1), 0])
    m = machine(*NODES, budget_bytes=1 << 30)
    assert m.run(graph).ui == {"end": {"values": [0]}}
    assert m.run(graph).executed == []


def test_context_tells_progress_preview_and_surroundings(machine: Any, n: Node) -> None:
    seen: dict[str, Any] = {}

    @node("Work", output=True)
    def work(ctx: Context) -> Ui:
        seen.update(job=ctx.job_id, node=ctx.node_id, extra=ctx.extra, prompt=ctx.prompt, runtime=ctx.runtime)
        ctx.progress(1, 4, "step 1/4")
        ctx.progress(9, 4)
        ctx.preview(b"png", width=8, height=4)
        ctx.preview(lambda: (b"jpg", 2, 1), format="jpeg")
        threading.Thread(target=ctx.progress, args=(4, 4)).run()
        return Ui({})

    m = machine(work)
    graph = {"7": n("Work")}
    m.run(graph, context=RunContext(job_id="j", extra={"a": 1}, runtime="the runtime"))
    assert seen == {"job": "j", "node": "7", "extra": {"a": 1}, "prompt": graph, "runtime": "the runtime"}
    assert m.told(events.Progress)[:2] == [events.Progress("j", "7", 1, 4, "step 1/4"), events.Progress("j", "7", 4, 4)]
    assert m.told(events.Preview) == [
        events.Preview("j", "7", "png", b"png", 8, 4),
        events.Preview("j", "7", "jpeg", b"jpg", 2, 1),
    ]


def test_previews_nobody_wants_are_not_made(machine: Any, n: Node) -> None:
    @node("Work", output=True)
    def work(ctx: Context) -> Ui:
        ctx.preview(lambda: pytest.fail("made"))
        return Ui({})

    assert machine(work).run({"1": n("Work")}, context=RunContext(previews=False)).status == "succeeded"


def test_run_guard_is_entered_once_around_all_calls(machine: Any, n: Node) -> None:
    entered: list[str] = []

    @contextmanager
    def guard() -> Any:
        entered.append("in")
        yield
        entered.append("out")

    @node("Inside", output=True)
    def inside(ctx: Context, value: int) -> Ui:
        entered.append("call")
        return Ui({})

    machine(inside).run({"1": n("Inside", value=1), "2": n("Inside", value=2)}, context=RunContext(run_guard=guard))
    assert entered == ["in", "call", "call", "out"]


class TestFailure:
    def graph(self, n: Node) -> dict[str, Any]:
        return {
            "1": n("Source", value=1),
            "2": n("Show", a=["1", 0]),
            "3": n("Fail", a=["1", 0]),
            "4": n("Show", a=["3", 0]),
            "5": n("Source", value=5),
            "6": n("Show", a=["5", 0]),
        }

    def test_it_is_told_with_node_message_and_traceback(self, machine: Any, n: Node) -> None:
        m = machine(*NODES)
        result = m.run(self.graph(n))
        assert result.status == "failed"
        assert result.error is m.events[-1]
        assert isinstance(result.error, events.Failed)
        told = result.error
        assert (told.node, told.node_type, told.exception_type) == ("3", "Fail", "ValueError")
        assert (told.message, told.code) == ("no such luck", "node_failed")
        assert told.executed == ["1", "2"]
        assert told.inputs == {"a": ["1"]}
        assert any("no such luck" not in line and "test_executor.py" in line for line in told.traceback)

    def test_the_run_stops_and_what_was_finished_stays(self, machine: Any, n: Node) -> None:
        m = machine(*NODES)
        result = m.run(self.graph(n))
        assert result.ui == {"2": {"values": [1]}}
        assert ("Source", 5) not in calls
        repaired = {**self.graph(n), "3": n("Add", a=["1", 0], b=["1", 0])}
        assert m.run(repaired).executed == ["3", "4", "5", "6"]

    def test_failed_nodes_are_tried_again(self, machine: Any, n: Node) -> None:
        m = machine(*NODES)
        m.run(self.graph(n))
        calls.clear()
        m.run(self.graph(n))
        assert calls == [("Fail", 1)]

    def test_focal_errors_keep_their_code_and_hint(self, machine: Any, n: Node) -> None:
        class BadFile(FocalError):
            pass

        @node("Read", output=True)
        def read() -> Ui:
            raise BadFile("bad_model_file", "x.safetensors is cut short.", "Download it again.")

        error = machine(read).run({"1": n("Read")}).error
        assert (error.code, error.message, error.hint) == (
            "bad_model_file", "x.safetensors is cut short.", "Download it again.",
        )  # fmt: skip
        assert error.exception_type.endswith("BadFile")
        assert error.exception_type.startswith(__name__)

    def test_errors_of_others_with_code_message_and_hint_keep_them_too(self, machine: Any, n: Node) -> None:
        class ModelError(Exception):
            code, message, hint = "out_of_memory", "It does not fit.", "Ask for a smaller picture."

        @node("Load", output=True)
        def load() -> Ui:
            raise ModelError("longer text")

        error = machine(load).run({"1": n("Load")}).error
        assert (error.code, error.message, error.hint) == (ModelError.code, ModelError.message, ModelError.hint)

    def test_inputs_are_told_shortly(self, machine: Any, n: Node) -> None:
        class Tensor:
            shape = (1, 4, 8, 8)

        @node("Tensor")
        def tensor() -> Thing:
            return Tensor()

        graph = {"1": n("Tensor"), "2": n("Fail", a=["1", 0], message="x" * 5000), "3": n("Show", a=["2", 0])}
        error = machine(tensor, fail, show).run(graph).error
        assert error.inputs == {"a": ["Tensor (1, 4, 8, 8)"], "message": ["x" * 200]}

    def test_a_wrong_return_value_is_the_nodes_failure(self, machine: Any, n: Node) -> None:
        @node("Wrong")
        def wrong() -> tuple[Thing, Thing]:
            return None  # type: ignore[return-value]

        error = machine(wrong, show).run({"1": n("Wrong"), "2": n("Show", a=["1", 0])}).error
        assert (error.node, error.code) == ("1", "bad_node_result")

    def test_a_link_to_nowhere_and_an_unknown_class_are_failures_of_their_nodes(self, machine: Any, n: Node) -> None:
        m = machine(*NODES)
        assert m.run({"1": n("Show", a=["9", 0])}).error.code == "bad_node_input"
        error = m.run({"1": n("Show", a=["2", 0]), "2": n("Nothing")}).error
        assert (error.node, error.code) == ("2", "unknown_node")

    def test_a_cycle_that_nobody_validated_is_told(self, machine: Any, n: Node) -> None:
        graph = {
            "1": n("Add", a=["2", 0], b=["2", 0]),
            "2": n("Add", a=["1", 0], b=["1", 0]),
            "3": n("Show", a=["1", 0]),
        }
        error = machine(*NODES).run(graph).error
        assert (error.code, error.exception_type) == ("dependency_cycle", "graph.DependencyCycleError")
        assert error.node in {"1", "2"}

    def test_keyboard_interrupt_is_not_a_failure_of_the_node(self, machine: Any, n: Node) -> None:
        @node("Stop", output=True)
        def stop() -> Ui:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            machine(stop).run({"1": n("Stop")})


class TestInterrupt:
    def test_a_node_is_stopped_at_its_next_progress(self, machine: Any, n: Node) -> None:
        steps: list[int] = []

        @node("Sample")
        def sample(ctx: Context, a: Thing) -> Thing:
            for step in range(10):
                ctx.progress(step, 10)
                steps.append(step)
                if step == 2:
                    ctx.run.interrupt.set()
            return a

        m = machine(*NODES, sample)
        graph = {"1": n("Source", value=1), "2": n("Sample", a=["1", 0]), "3": n("Show", a=["2", 0])}
        result = m.run(graph)
        assert result.status == "interrupted"
        assert steps == [0, 1, 2]
        assert m.events[-1] == events.Interrupted("job", "2", "Sample", ["1"])
        assert "Succeeded" not in m.words()
        assert m.run({"1": graph["1"], "3": n("Show", a=["1", 0])}).executed == ["3"]

    def test_no_further_node_starts(self, machine: Any, n: Node) -> None:
        m = machine(*NODES)
        context = RunContext()
        context.interrupt.set()
        result = m.run(two_outputs(n), context=context)
        assert (result.status, calls) == ("interrupted", [])
        assert m.words() == ["Started", "Cached", "Interrupted"]

    def test_nothing_is_told_after_the_end(self, machine: Any, n: Node) -> None:
        kept: list[Context] = []

        @node("Keep", output=True)
        def keep(ctx: Context) -> Ui:
            kept.append(ctx)
            return Ui({})

        m = machine(keep)
        m.run({"1": n("Keep")})
        kept[0].progress(1, 1)
        assert m.words()[-1] == "Succeeded"


def test_objects_of_stateful_classes_live_while_their_node_stays(machine: Any, n: Node) -> None:
    from engine import InputSpec, NodeSpec

    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def work(self, value: int) -> Ui:
            self.count += 1
            return Ui({"count": [self.count]})

    inputs = (InputSpec("value", "INT"),)
    spec = NodeSpec("Counter", Counter.work, inputs=inputs, output_node=True, cacheable=False, instance=Counter)
    m = machine(spec, *NODES)
    graph = {"1": n("Counter", value=1), "2": n("Counter", value=1)}
    assert m.run(graph).ui == {"1": {"count": [1]}, "2": {"count": [1]}}
    assert m.run({"1": n("Counter", value=5)}).ui == {"1": {"count": [2]}}
    assert m.run(graph).ui == {"1": {"count": [3]}, "2": {"count": [1]}}
    m.executor.free()
    assert m.run(graph).ui["1"] == {"count": [1]}


def test_another_graph_may_run_between_two_nodes_and_at_every_report(machine: Any, n: Node) -> None:
    from engine import InputSpec, NodeSpec, OutputSpec
    from engine.executor import Executor

    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def work(self, value: int) -> tuple[int]:
            self.count += value
            return (self.count,)

    @node("Steps")
    def steps(ctx: Context, value: Thing) -> Thing:
        for step in range(3):
            ctx.progress(step, 3)
        return value

    inputs = (InputSpec("value", "INT"),)
    counter = NodeSpec(
        "Counter", Counter.work, inputs=inputs, outputs=(OutputSpec("THING"),), cacheable=False, instance=Counter
    )
    m = machine(counter, steps, *NODES)
    graph = {
        "1": n("Counter", value=1),
        "2": n("Steps", value=["1", 0]),
        "3": n("Counter", value=7),
        "4": n("Add", a=["2", 0], b=["3", 0]),
        "5": n("Show", a=["4", 0]),
    }
    other = Executor(m.registry, m.cache)
    between: list[Any] = []

    def meanwhile() -> None:
        inner = Graph.from_json({"1": n("Counter", value=10), "9": n("Show", a=["1", 0])})
        between.append(other.run(inner, ["9"], context=RunContext(job_id="inner")).ui["9"])

    held_up = RunContext(job_id="job", meanwhile=meanwhile)
    plain = [m.run(graph, ["5"]).ui for _ in range(2)]
    m.executor.free()
    assert [m.run(graph, ["5"], context=held_up).ui for _ in range(2)] == plain
    assert plain[0] != plain[1]
    assert len(between) == 16  # five nodes and three reports in each run
    assert between[0] != between[-1]
    assert {event.job_id for event in m.events} == {"job"}


def test_hidden_inputs_arrive_as_comfyui_fills_them(machine: Any, n: Node) -> None:
    got: dict[str, Any] = {}

    @node("Hidden", output=True, hidden={"u": "UNIQUE_ID", "p": "PROMPT", "e": "EXTRA_PNGINFO", "d": "DYNPROMPT"})
    def hidden(value: int, u: Any, p: Any, e: Any, d: Any) -> Ui:
        got.update(u=u, p=p, e=e, d=d)
        return Ui({})

    info = {"workflow": {}}
    graph = {"5": n("Hidden", value=1)}
    m = machine(hidden)
    m.run(graph, context=RunContext(extra={"extra_pnginfo": info}))
    assert (got["u"], got["p"]) == ("5", graph)
    assert got["e"] is info
    assert got["d"].get_node("5") == graph["5"]
    assert got["d"].has_node("5")
    assert not got["d"].has_node("6")
    assert m.run({"6": n("Hidden", value=1)}).executed == ["6"]  # the id is part of the key


def test_expansion_type_is_importable_from_the_engine() -> None:
    assert Expansion({}).result == ()
