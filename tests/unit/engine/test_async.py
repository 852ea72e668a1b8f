"""Async nodes: overlap with each other and with synchronous ones, interruption, failure."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any

import pytest

from engine import Context, InputSpec, NodeSpec, OutputSpec, RunContext, Socket, Ui, events, node

Thing = Annotated[Any, Socket("THING")]
Node = Callable[..., dict[str, Any]]

seen: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


@node("Make")
def make(value: int) -> Thing:
    seen.append(f"make {value}")
    return value


@node("Fetch")
async def fetch(value: int) -> Thing:
    seen.append(f"start {value}")
    await asyncio.sleep(0.01)
    seen.append(f"end {value}")
    return value


@node("Join", output=True)
def join(a: Thing, b: Thing) -> Ui:
    return Ui({"sum": [a + b]})


@node("Show", output=True)
def show(a: Thing) -> Ui:
    return Ui({"values": [a]})


def test_independent_async_nodes_overlap(machine: Any, n: Node) -> None:
    graph = {"1": n("Fetch", value=1), "2": n("Fetch", value=2), "3": n("Join", a=["1", 0], b=["2", 0])}
    assert machine(fetch, join).run(graph).ui == {"3": {"sum": [3]}}
    assert seen == ["start 1", "start 2", "end 1", "end 2"]


def test_what_a_thread_does_goes_on_while_a_synchronous_node_runs(machine: Any, n: Node) -> None:
    encoded = threading.Event()

    @node("Save", output=True)
    async def save(a: Thing) -> Ui:
        await asyncio.to_thread(encoded.set)
        return Ui({"saved": [a]})

    @node("Sample")
    def sample(a: Thing) -> Thing:
        assert encoded.wait(5) or a == 1  # the second one runs while the first picture is encoded
        return a

    graph = {
        "1": n("Make", value=1),
        "3": n("Save", a=["1", 0]),
        "4": n("Make", value=2),
        "5": n("Sample", a=["4", 0]),
        "6": n("Save", a=["5", 0]),
    }
    result = machine(make, save, sample).run(graph)
    assert (result.status, result.ui) == ("succeeded", {"3": {"saved": [1]}, "6": {"saved": [2]}})


def test_the_next_picture_is_begun_while_one_is_saved(machine: Any, n: Node) -> None:
    begun = threading.Event()

    @node("Save", output=True, cacheable=False)
    async def save(a: Thing) -> Ui:
        if a == 1:
            assert await asyncio.to_thread(begun.wait, 5)
        return Ui({"saved": [a]})

    @node("Begin")
    def begin(value: int) -> Thing:
        begun.set()
        return value

    graph = {"1": n("Make", value=1), "2": n("Save", a=["1", 0]), "3": n("Begin", value=2), "4": n("Save", a=["3", 0])}
    assert machine(make, save, begin).run(graph).status == "succeeded"


def test_results_of_async_nodes_are_cached(machine: Any, n: Node) -> None:
    m = machine(fetch, join)
    graph = {"1": n("Fetch", value=1), "2": n("Fetch", value=2), "3": n("Join", a=["1", 0], b=["2", 0])}
    m.run(graph)
    assert m.run(graph).executed == []


def test_equal_async_nodes_share_one_run(machine: Any, n: Node) -> None:
    graph = {"1": n("Fetch", value=1), "2": n("Fetch", value=1), "3": n("Join", a=["1", 0], b=["2", 0])}
    assert machine(fetch, join, budget_bytes=0).run(graph).ui == {"3": {"sum": [2]}}
    assert seen == ["start 1", "end 1"]


def test_calls_over_a_list_overlap_and_keep_their_order(machine: Any, n: Node) -> None:
    numbers = NodeSpec("List", lambda: ([3, 2, 1],), outputs=(OutputSpec("THING", is_list=True),))

    @node("Wait", output=True)
    async def wait(a: Thing) -> Ui:
        await asyncio.sleep(a / 200)
        seen.append(str(a))
        return Ui({"values": [a]})

    assert machine(numbers, wait).run({"1": n("List"), "2": n("Wait", a=["1", 0])}).ui == {"2": {"values": [3, 2, 1]}}
    assert seen == ["1", "2", "3"]


def test_a_failure_is_told_at_its_node_and_running_ones_come_to_their_end(machine: Any, n: Node) -> None:
    @node("Fail", output=True)
    def fail(value: int) -> Ui:
        raise ValueError("no")

    @node("Save", output=True)
    async def save(value: int) -> Ui:
        await asyncio.sleep(0.02)
        return Ui({"saved": [value]})

    m = machine(save, fail)
    graph = {"1": n("Save", value=1), "2": n("Fail", value=2)}
    result = m.run(graph)
    assert (result.status, result.ui) == ("failed", {"1": {"saved": [1]}})
    assert m.words()[-2:] == ["Executed", "Failed"]
    assert m.run({"1": graph["1"]}).executed == []


def test_an_async_failure_is_told_too(machine: Any, n: Node) -> None:
    @node("Fail", output=True)
    async def fail(value: int) -> Ui:
        await asyncio.sleep(0)
        raise ValueError("no")

    m = machine(fail, show)
    error = m.run({"1": n("Fail", value=2)}).error
    assert (error.node, error.exception_type, error.message) == ("1", "ValueError", "no")
    assert any("test_async.py" in line for line in error.traceback)


def test_a_node_that_cancels_itself_has_failed(machine: Any, n: Node) -> None:
    @node("Cancel", output=True)
    async def cancel(value: int) -> Ui:
        raise asyncio.CancelledError

    error = machine(cancel).run({"1": n("Cancel", value=1)}).error
    assert (error.node, error.code) == ("1", "bad_node_result")


def test_interrupt_cancels_what_waits(machine: Any, n: Node) -> None:
    @node("Forever", output=True)
    async def forever(value: int) -> Ui:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return Ui({})

    m = machine(forever)
    context = RunContext(job_id="job")
    timer = threading.Timer(0.05, context.interrupt.set)
    timer.start()
    start = time.perf_counter()
    result = m.run({"1": n("Forever", value=1)}, context=context)
    assert time.perf_counter() - start < 5
    assert result.status == "interrupted"
    assert m.events[-1] == events.Interrupted("job", "1", "Forever", [])
    assert seen == ["cancelled"]


def test_progress_inside_an_async_node_interrupts_it(machine: Any, n: Node) -> None:
    @node("Steps", output=True)
    async def steps(ctx: Context) -> Ui:
        for step in range(3):
            await asyncio.sleep(0)
            ctx.run.interrupt.set()
            ctx.progress(step, 3)
        return Ui({})

    m = machine(steps)
    assert m.run({"1": n("Steps")}).status == "interrupted"
    assert m.events[-1].node == "1"


def test_loops_are_closed_and_runs_can_follow_each_other(machine: Any, n: Node) -> None:
    m = machine(fetch, show)
    for value in range(3):
        assert m.run({"1": n("Fetch", value=value), "2": n("Show", a=["1", 0])}).ui == {"2": {"values": [value]}}


def test_no_event_loop_is_made_for_synchronous_nodes(machine: Any, n: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: pytest.fail("a loop was made"))
    assert machine(make, show).run({"1": n("Make", value=1), "2": n("Show", a=["1", 0])}).status == "succeeded"


def test_async_methods_of_stateful_classes_run(machine: Any, n: Node) -> None:
    class Slow:
        async def work(self, a: int) -> Ui:
            await asyncio.sleep(0)
            return Ui({"values": [a]})

    spec = NodeSpec("Slow", Slow.work, inputs=(InputSpec("a", "INT"),), output_node=True, is_async=True, instance=Slow)
    assert machine(spec).run({"1": n("Slow", a=4)}).ui == {"1": {"values": [4]}}
