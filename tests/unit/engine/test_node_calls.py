"""What a node is given when it is called, what it may tell meanwhile, and how long its object lives."""

import threading
from contextlib import contextmanager
from typing import Any

import pytest

from engine import Context, Graph, InputSpec, NodeSpec, OutputSpec, RunContext, Ui, events, node
from engine.executor import Executor
from tests.unit.engine.sums import NODES, Node, Thing, source


def test_omitted_optional_inputs_take_the_python_default(machine: Any, n: Node) -> None:
    @node("Default", output=True)
    def default(a: int = 5) -> Ui:
        return Ui({"a": [a]})

    assert machine(default).run({"1": n("Default")}).ui == {"1": {"a": [5]}}


def test_undeclared_links_are_followed_and_passed_and_undeclared_constants_dropped(machine: Any, n: Node) -> None:
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


def test_objects_of_stateful_classes_live_while_their_node_stays(machine: Any, n: Node) -> None:
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
