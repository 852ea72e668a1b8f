"""One worker kept alive: started, asked, watched, replaced."""

import asyncio
import logging
import os
import signal
import time
from pathlib import Path

import pytest

from engine.jobs.errors import CallFailed, WorkerUnavailable
from engine.jobs.messages import Run
from engine.jobs.process import WorkerLimits

pytestmark = pytest.mark.anyio

NAP = {
    "1": {"class_type": "Nap", "inputs": {"steps": 100, "seconds": 0.02}},
    "2": {"class_type": "Write", "inputs": {"value": ["1", 0]}},
}


@pytest.fixture
async def started(worker):
    """Start supervisors and close them at the end."""
    opened = []

    async def start(limits=None, **config):
        supervisor = worker(limits, **config)
        await supervisor.start()
        opened.append(supervisor)
        return supervisor

    yield start
    for supervisor in opened:
        await supervisor.close()


async def gone(pid, seconds=2.0):
    async with asyncio.timeout(seconds):
        while os.path.exists(f"/proc/{pid}"):
            await asyncio.sleep(0.01)


async def replaced(supervisor, pid, seconds=5.0):
    async with asyncio.timeout(seconds):
        while supervisor.pid in (None, pid):
            await asyncio.sleep(0.02)


async def test_start_returns_at_once_and_calls_wait_for_the_worker(started):
    start = time.monotonic()
    supervisor = await started(options={"slow_s": 0.3})
    assert time.monotonic() - start < 0.1
    assert not supervisor.is_ready
    found = await supervisor.call("object_info", class_type="Nap")
    assert list(found) == ["Nap"]
    assert supervisor.about.about == {"device": "fake"}
    assert supervisor.about.node_count >= 8


async def test_validation_tells_every_fault_and_gives_the_graph_as_it_will_run(started):
    supervisor = await started()
    good = {"1": {"class_type": "Write", "inputs": {"value": "7"}}}
    checked = await supervisor.call("validate", graph=good)
    assert (checked["outputs"], checked["error"], checked["node_errors"]) == (["1"], None, {})
    assert checked["graph"]["1"]["inputs"]["value"] == 7
    refused = await supervisor.call("validate", graph={"1": {"class_type": "Write", "inputs": {}}})
    assert refused["error"]["type"] == "prompt_outputs_failed_validation"
    assert refused["node_errors"]["1"]["errors"][0]["type"] == "required_input_missing"


async def test_calls_are_answered_while_a_graph_runs(started):
    supervisor = await started()
    await supervisor.wait_ready()
    seen = []
    run = asyncio.create_task(supervisor.run(Run("job", 1, NAP, ("2",), {}), seen.append))
    async with asyncio.timeout(1.5):
        assert await supervisor.call("validate", graph=NAP)
        assert len(await supervisor.call("object_info")) >= 8
        answer = await supervisor.call("runtime", name="echo", arguments={"text": "hello"})
        assert answer == f"hello from {supervisor.pid}"
    assert not run.done()
    supervisor.interrupt("another job")
    supervisor.interrupt("job")
    await asyncio.wait_for(run, 1)
    assert type(seen[-1]).__name__ == "Interrupted"


async def test_freeing_memory_waits_for_the_running_graph(started):
    supervisor = await started(warm="base.safetensors")
    seen = []
    graph = {"1": {"class_type": "Told", "inputs": {}}}
    run = asyncio.create_task(supervisor.run(Run("job", 1, NAP, ("2",), {}), seen.append))
    await asyncio.sleep(0.3)
    await supervisor.call("free")
    supervisor.interrupt("job")
    await run
    await supervisor.run(Run("next", 1, graph, ("1",), {}), seen.append)
    assert seen[-1].ui == {"1": {"calls": ["warm base.safetensors", "free"], "guarded": [True]}}


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("fly", {}), ("runtime", {"name": "_secret"}), ("runtime", {"name": "nothing"}), ("validate", {"wrong": 1})],
)
async def test_a_call_that_fails_brings_the_workers_reason(started, method, arguments):
    supervisor = await started()
    with pytest.raises(CallFailed):
        await supervisor.call(method, **arguments)
    assert supervisor.restarts == 0


async def test_a_worker_that_cannot_start_is_unavailable_with_its_cause(started):
    supervisor = await started(options={"fail": "no GPU anywhere"})
    with pytest.raises(WorkerUnavailable, match="no GPU anywhere") as raised:
        await supervisor.call("object_info")
    assert raised.value.code == "worker_unavailable"
    assert supervisor.is_broken


async def test_what_a_worker_last_wrote_is_in_the_error(started):
    supervisor = await started(modules=("module_that_is_not_there",))
    with pytest.raises(WorkerUnavailable, match="No module named 'module_that_is_not_there'"):
        await supervisor.wait_ready()


async def test_nobody_waits_longer_than_asked_for_a_worker_that_starts(started):
    supervisor = await started(options={"slow_s": 30})
    with pytest.raises(WorkerUnavailable, match="still starting"):
        await supervisor.call("object_info", timeout_s=0.1)
    with pytest.raises(WorkerUnavailable, match="still starting"):
        await supervisor.wait_ready(0.1)


async def test_a_worker_that_does_not_become_ready_is_given_up(started):
    supervisor = await started(WorkerLimits(start_s=0.4), options={"slow_s": 30})
    async with asyncio.timeout(3):
        while not supervisor.restarts:
            await asyncio.sleep(0.02)
    assert "not ready within 0.4 s" in supervisor.last_death


async def test_a_killed_worker_is_replaced(started):
    supervisor = await started()
    first = (await supervisor.wait_ready()).pid
    os.kill(first, signal.SIGKILL)
    await gone(first)
    await replaced(supervisor, first)
    assert "SIGKILL" in supervisor.last_death


async def test_a_silent_worker_is_killed_and_replaced(started):
    supervisor = await started(WorkerLimits(silence_s=1.0, interval_s=0.1))
    first = (await supervisor.wait_ready()).pid
    os.kill(first, signal.SIGSTOP)
    await gone(first, 10)
    await replaced(supervisor, first)
    assert "no sign of life" in supervisor.last_death


async def test_closing_ends_the_worker_even_while_it_starts(worker):
    supervisor = worker(options={"slow_s": 30})
    await supervisor.start()
    async with asyncio.timeout(2):
        await supervisor.close()
    with pytest.raises(WorkerUnavailable, match="stopped"):
        await supervisor.call("object_info")


async def test_the_workers_words_go_to_its_log_file_and_to_ours(started, tmp_path, caplog):
    caplog.set_level(logging.INFO, "focal.worker")
    supervisor = await started()
    await supervisor.wait_ready()
    async with asyncio.timeout(2):
        while "node classes ready" not in caplog.text:
            await asyncio.sleep(0.01)
    assert "node classes ready" in (tmp_path / "logs" / "worker.log").read_text()


async def test_the_worker_is_sealed_against_downloads_and_foreign_code(started):
    supervisor = await started()
    await supervisor.wait_ready()
    lines = Path(f"/proc/{supervisor.pid}/environ").read_text().split("\0")
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    assert environment["HF_HUB_OFFLINE"] == environment["DIFFUSERS_DISABLE_CUSTOM_CODE"] == "1"


async def test_a_worker_that_was_sound_is_replaced_at_once_however_often_it_is_killed(started, monkeypatch):
    monkeypatch.setattr("engine.jobs.supervisor.SOUND_AFTER_S", 0.0)
    supervisor = await started()
    for _ in range(4):
        os.kill((await supervisor.wait_ready(5)).pid, signal.SIGKILL)
        async with asyncio.timeout(2):
            while supervisor.is_ready:
                await asyncio.sleep(0.01)
    await supervisor.wait_ready(5)
    assert not supervisor.is_broken
