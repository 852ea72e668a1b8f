"""Skipping: the output that is being made is left out, the run goes on with the next one and ends as a success."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import pytest

from engine import Context, Socket, Ui, node
from engine.context import RunContext

Node = Callable[..., dict[str, Any]]
Thing = Annotated[Any, Socket("THING")]

calls: list[str] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    calls.clear()


@node("Load")
def load(name: str) -> Thing:
    calls.append(f"load {name}")
    return name


@node("Sample")
def sample(ctx: Context, model: Thing, seed: int, skipped: bool = False) -> Thing:
    """Asks for a skip of itself in its third step."""
    for step in range(5):
        ctx.progress(step, 5)
        calls.append(f"sample {seed} step {step}")
        if skipped and step == 2:
            ctx.run.skip.set()
    return f"{model} {seed}"


@node("Save", output=True, cacheable=False)
def save(image: Thing) -> Ui:
    calls.append(f"save {image}")
    return Ui({"saved": [image]})


@node("SaveSlowly", output=True, cacheable=False)
async def save_slowly(ctx: Context, image: Thing) -> Ui:
    await asyncio.sleep(0.05)
    return Ui({"saved": [image]})


NODES = (load, sample, save, save_slowly)


def images(n: Node, skipped: set[int], saver: str = "Save") -> dict[str, Any]:
    """Three images of one model; a saving node each: 10, 11, 12."""
    graph = {"1": n("Load", name="m")}
    for index in range(3):
        graph[f"2{index}"] = n("Sample", model=["1", 0], seed=index, skipped=index in skipped)
        graph[f"1{index}"] = n(saver, image=[f"2{index}", 0])
    return graph


OUTPUTS = ["10", "11", "12"]


@pytest.mark.parametrize("skipped", [{0}, {1}, {2}, {0, 1}, {0, 2}, {0, 1, 2}])
def test_a_skipped_image_is_left_out_and_the_others_are_made(machine: Any, n: Node, skipped: set[int]) -> None:
    m = machine(*NODES)
    result = m.run(images(n, skipped), OUTPUTS)
    assert result.status == "succeeded"
    assert result.ui == {f"1{i}": {"saved": [f"m {i}"]} for i in range(3) if i not in skipped}
    assert m.words()[-1] == "Succeeded"
    for index in skipped:
        assert f"sample {index} step 2" in calls
        assert f"sample {index} step 3" not in calls


def test_what_the_skipped_branch_shared_is_loaded_once(machine: Any, n: Node) -> None:
    machine(*NODES).run(images(n, {0, 1}), OUTPUTS)
    assert calls.count("load m") == 1


def test_a_skip_before_anything_was_made_leaves_out_the_first_image(machine: Any, n: Node) -> None:
    context = RunContext(job_id="job")
    context.skip.set()
    result = machine(*NODES).run(images(n, set()), OUTPUTS, context=context)
    assert list(result.ui) == ["11", "12"]
    assert calls.count("load m") == 1
    assert not context.skip.is_set()


def test_an_image_that_is_being_written_is_not_the_one_that_is_skipped(machine: Any, n: Node) -> None:
    result = machine(*NODES).run(images(n, {1}, "SaveSlowly"), OUTPUTS)
    assert sorted(result.ui) == ["10", "12"]


def test_a_branch_that_another_output_needs_is_made_for_that_one(machine: Any, n: Node) -> None:
    graph = {
        "1": n("Load", name="m"),
        "2": n("Sample", model=["1", 0], seed=0, skipped=False),
        "10": n("Save", image=["2", 0]),
        "11": n("Save", image=["2", 0]),
    }
    context = RunContext(job_id="job")
    context.skip.set()
    result = machine(*NODES).run(graph, ["10", "11"], context=context)
    assert result.ui == {"11": {"saved": ["m 0"]}}


def test_a_stop_cannot_be_undone_by_a_skip(machine: Any, n: Node) -> None:
    context = RunContext(job_id="job")
    context.interrupt.set()
    context.skip.set()
    result = machine(*NODES).run(images(n, set()), OUTPUTS, context=context)
    assert (result.status, result.ui) == ("interrupted", {})


def test_an_async_node_that_gives_up_is_left_out(machine: Any, n: Node) -> None:
    @node("Wait", output=True, cacheable=False)
    async def wait(ctx: Context, value: int, skipped: bool = False) -> Ui:
        await asyncio.sleep(0)
        if skipped and not calls:
            calls.append("skip")
            ctx.run.skip.set()
        ctx.check_interrupt()
        return Ui({"value": [value]})

    m = machine(wait)
    result = m.run({"1": n("Wait", value=1, skipped=True), "2": n("Wait", value=2)}, ["1", "2"])
    assert (result.status, result.ui) == ("succeeded", {"2": {"value": [2]}})
