"""The way of a job: submitted, run by a real worker process, watched, ended."""

import asyncio

import pytest
from msgspec.structs import replace

from engine import events
from engine.jobs.errors import DuplicateJob, JobNotFound, QueueFull
from engine.jobs.job import JobState, NewJob, OutputFile
from engine.jobs.live import QueueChanged
from engine.jobs.memory_store import MemoryStore
from engine.jobs.process import WorkerLimits
from engine.jobs.queue import JobService
from engine.jobs.store import SqlStore

pytestmark = pytest.mark.anyio


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def test_submitted_job_runs_and_its_files_are_in_the_result(running, nap, tmp_path):
    async with running() as service:
        job = await service.submit(nap(steps=2, seed=7, extra={"who": "me"}))
        assert job.state is JobState.QUEUED
        done = await service.wait(job.id)
    assert (done.state, done.error, done.attempt) == (JobState.SUCCEEDED, None, 1)
    [file] = done.files()
    assert file == OutputFile(f"{job.id}-2.txt")
    assert (tmp_path / "outputs" / file.filename).read_text() == "7"
    assert done.result["2"]["extra"] == [{"who": "me"}]
    assert done.trace.executed == ("1", "2")
    assert 0 < done.created_ms <= done.started_ms <= done.finished_ms


async def test_a_job_is_found_in_every_state_as_the_store_has_it(running, nap, tmp_path):
    store = SqlStore(tmp_path / "jobs.sqlite3")
    async with running(store) as service:
        running_one, waiting_one = [await service.submit(nap(steps=50, seconds=0.02)) for _ in range(2)]
        await until(lambda: service.running_ids == (running_one.id,))
        assert (await service.find(running_one.id)).state is JobState.RUNNING
        assert (await service.find(waiting_one.id)).state is JobState.QUEUED
        assert await service.find(running_one.id.replace("-", "")) == await store.get(running_one.id)
        await service.cancel(running_one.id)
        assert await service.find(running_one.id) == await store.get(running_one.id)
        done = await service.wait(running_one.id)
        assert await service.find(running_one.id) == await store.get(running_one.id) == done
        assert (await service.cancel(waiting_one.id), await service.find("no such job")) == (True, None)
        assert (await service.wait(waiting_one.id)).state is JobState.CANCELLED


async def test_watcher_sees_the_whole_run_in_order_and_then_the_end(running, nap):
    async with running() as service:
        job = await service.submit(nap(steps=2))
        async with service.subscribe(job.id) as watched:
            seen = [event async for event in watched]
        assert (await service.get(job.id)).state is JobState.SUCCEEDED
    kinds = [type(event).__name__ for event in seen]
    assert kinds[:3] == ["Started", "Cached", "Executing"]
    assert kinds[3:7] == ["Progress", "Preview"] * 2
    assert kinds[-3:] == ["Executing", "Executed", "Succeeded"]
    assert seen[5] == events.Progress(job.id, "1", 2, 2, "step 2")


async def test_the_end_is_in_the_store_before_anybody_is_told(running, nap, tmp_path):
    async with running(SqlStore(tmp_path / "jobs.sqlite3")) as service:
        job = await service.submit(nap())
        async for event in service.subscribe(job.id):
            if isinstance(event, events.Succeeded):
                assert (await service.get(job.id)).state is JobState.SUCCEEDED


async def test_who_comes_late_is_told_the_end_and_nothing_else(running, one):
    async with running() as service:
        job = await service.submit(one("Fail", message="broken"))
        await service.wait(job.id)
        [event] = [event async for event in service.subscribe(job.id)]
    assert isinstance(event, events.Failed)
    assert (event.node, event.message, event.exception_type) == ("1", "broken", "ValueError")


async def test_failed_node_is_the_jobs_error_and_is_not_tried_again(running, one, nap):
    async with running() as service:
        failed = await service.submit(one("Fail", message="broken"))
        following = await service.submit(nap())
        job = await service.wait(failed.id)
        assert (job.state, job.attempt) == (JobState.FAILED, 1)
        assert (job.error.code, job.error.node, job.error.node_type) == ("node_failed", "1", "Fail")
        assert any("raise ValueError" in line for line in job.error.traceback)
        assert (await service.wait(following.id)).state is JobState.SUCCEEDED


async def test_live_view_shows_progress_and_the_last_preview(running, nap):
    async with running() as service:
        job = await service.submit(nap(steps=3))
        assert service.live(job.id).node is None
        await service.wait(job.id)
        live = service.live(job.id.replace("-", ""))
    assert live.nodes["1"].state == "finished"
    assert (live.nodes["1"].value, live.nodes["1"].maximum) == (3, 3)
    assert (live.preview, live.preview_format, live.text) == (b"picture 2", "png", "step 3")


async def test_running_job_stops_within_a_step(running, nap):
    async with running() as service:
        job = await service.submit(nap(steps=100, seconds=0.05))
        await until(lambda: service.live(job.id).value >= 2)
        assert await service.cancel(job.id)
        at = service.live(job.id).value
        done = await asyncio.wait_for(service.wait(job.id), 1.0)
        assert done.state is JobState.CANCELLED
        assert service.live(job.id).value <= at + 1


async def test_what_was_finished_before_the_stop_stays_in_the_result(running, nap):
    graph = {
        "first": {"class_type": "Write", "inputs": {"value": 1}},
        "slow": {"class_type": "Nap", "inputs": {"steps": 100, "seconds": 0.05}},
        "second": {"class_type": "Write", "inputs": {"value": ["slow", 0]}},
    }
    async with running() as service:
        job = await service.submit(replace(nap(), graph=graph, outputs=("first", "second")))
        await until(lambda: service.live(job.id).value >= 1)
        await service.cancel(job.id)
        done = await service.wait(job.id)
    assert done.state is JobState.CANCELLED
    assert [file.filename for file in done.files()] == [f"{job.id}-first.txt"]


async def test_cancelled_waiting_job_never_starts(running, nap, tmp_path):
    async with running() as service:
        first = await service.submit(nap(steps=20, seconds=0.02))
        second = await service.submit(nap(seed=9))
        assert await service.cancel(second.id)
        assert not await service.cancel(second.id)
        done = await service.wait(second.id)
        assert (done.state, done.attempt) == (JobState.CANCELLED, 0)
        assert isinstance(await anext(service.subscribe(second.id)), events.Interrupted)
        assert (await service.wait(first.id)).state is JobState.SUCCEEDED
    assert not (tmp_path / "outputs" / f"{second.id}-2.txt").exists()


async def test_cancelled_job_never_reaches_success(running, nap):
    """Cancel at every moment of a short job's life: what was acknowledged as cancelled ends as cancelled."""
    async with running() as service:
        for moment in range(30):
            job = await service.submit(nap(steps=2, seconds=0.003))
            await asyncio.sleep(moment * 0.0007)
            acknowledged = await service.cancel(job.id)
            done = await service.wait(job.id)
            assert done.state is (JobState.CANCELLED if acknowledged else JobState.SUCCEEDED)


async def test_a_stop_while_idle_leaves_nothing_behind(running, nap):
    async with running() as service:
        await service.wait((await service.submit(nap())).id)
        assert await service.stop_current() == []
        job = await service.submit(nap(seed=1))
        assert (await service.wait(job.id)).state is JobState.SUCCEEDED
        assert not await service.cancel(job.id)


async def test_stop_current_stops_what_runs_and_not_what_waits(running, nap):
    async with running() as service:
        running_job = await service.submit(nap(steps=100, seconds=0.05))
        waiting = await service.submit(nap())
        await until(lambda: service.live(running_job.id).value >= 1)
        assert await service.stop_current() == [running_job.id]
        assert (await service.wait(running_job.id)).state is JobState.CANCELLED
        assert (await service.wait(waiting.id)).state is JobState.SUCCEEDED


async def test_skip_current_leaves_out_the_output_that_is_made(running):
    graph = {
        "1": {"class_type": "Nap", "inputs": {"steps": 1000, "seconds": 0.02, "seed": 1}},
        "2": {"class_type": "Write", "inputs": {"value": ["1", 0]}},
        "3": {"class_type": "Nap", "inputs": {"steps": 1, "seconds": 0.0, "seed": 2}},
        "4": {"class_type": "Write", "inputs": {"value": ["3", 0]}},
    }
    async with running() as service:
        assert service.skip_current() == []
        job = await service.submit(NewJob(kind="test", contract="cli", graph=graph, outputs=("2", "4")))
        await until(lambda: service.live(job.id).value >= 1)
        assert service.skip_current() == [job.id]
        done = await asyncio.wait_for(service.wait(job.id), 10)
        assert (done.state, list(done.result)) == (JobState.SUCCEEDED, ["4"])


async def test_a_skip_does_not_call_back_a_stop(running, nap):
    async with running() as service:
        job = await service.submit(nap(steps=1000, seconds=0.02))
        await until(lambda: service.live(job.id).value >= 1)
        await service.stop_current()
        service.skip_current()
        assert (await asyncio.wait_for(service.wait(job.id), 10)).state is JobState.CANCELLED


async def test_node_that_does_not_listen_is_killed_and_the_job_is_cancelled(running, one, nap):
    async with running(limits=WorkerLimits(stop_s=0.2)) as service:
        job = await service.submit(one("Deaf", seconds=60.0))
        await until(lambda: service.live(job.id).node == "1")
        await service.cancel(job.id)
        done = await asyncio.wait_for(service.wait(job.id), 5)
        assert (done.state, done.attempt) == (JobState.CANCELLED, 1)
        assert (await service.wait((await service.submit(nap())).id)).state is JobState.SUCCEEDED


async def test_full_queue_refuses_and_takes_jobs_again_when_there_is_room(running, nap):
    async with running(queue_size=2) as service:
        jobs = [await service.submit(nap(steps=5, seconds=0.05)) for _ in range(2)]
        with pytest.raises(QueueFull, match="2 jobs"):
            await service.submit(nap())
        assert await service.count() == 2
        for job in jobs:
            await service.wait(job.id)
        await service.wait((await service.submit(nap())).id)


async def test_many_submits_at_once_do_not_overrun_the_limit(running, nap, tmp_path):
    async with running(SqlStore(tmp_path / "jobs.sqlite3"), queue_size=5) as service:
        answers = await asyncio.gather(*(service.submit(nap(seconds=0.5)) for _ in range(20)), return_exceptions=True)
        assert sum(isinstance(answer, QueueFull) for answer in answers) == 15


async def test_refused_submit_takes_no_place_in_the_queue(running, nap):
    async with running(queue_size=2) as service:
        job = await service.submit(nap())
        with pytest.raises(DuplicateJob):
            await service.submit(nap(id=job.id))
        await service.wait(job.id)
        assert service.remaining == 0


async def test_submitting_client_that_goes_away_leaves_a_counted_job(running, nap, tmp_path):
    async with running(SqlStore(tmp_path / "jobs.sqlite3")) as service:
        submit = asyncio.create_task(service.submit(nap()))
        await asyncio.sleep(0)
        submit.cancel()
        await asyncio.gather(submit, return_exceptions=True)
        await until(lambda: service.waiting == 0 and not service.running_ids)
        [job] = await service.list_jobs()
        assert job.state is JobState.SUCCEEDED


async def test_snapshot_and_positions_show_the_order_of_work(running, nap):
    async with running() as service:
        first = await service.submit(nap(steps=50, seconds=0.02))
        await until(lambda: service.running_ids == (first.id,))
        second, third = await service.submit(nap()), await service.submit(nap(at_front=True))
        snapshot = await service.snapshot()
        assert [job.id for job in snapshot.running] == [first.id]
        assert [job.id for job in snapshot.queued] == [third.id, second.id]
        assert (await service.position(second.id), await service.position(first.id)) == (1, None)
        assert sorted(await service.cancel_queued()) == sorted([second.id, third.id])
        assert service.remaining == 1


async def test_watching_everything_tells_the_length_of_the_queue(running, nap):
    changes = []
    async with running() as service, service.subscribe() as watched:
        job = await service.submit(nap())
        await service.wait(job.id)
        async for event in watched:
            if isinstance(event, QueueChanged):
                changes.append((event.waiting, event.running))
            if changes and changes[-1] == (0, 0):
                break
    assert changes == [(1, 0), (0, 1), (0, 0)]


async def test_unknown_jobs_are_named(running):
    async with running() as service:
        for asking in (service.get("x"), service.wait("x"), anext(service.subscribe("x"))):
            with pytest.raises(JobNotFound, match="'x'"):
                await asking
        assert not await service.cancel("x")
        assert await service.delete("x") is None


async def test_deleting_a_running_job_stops_it_first(running, nap):
    async with running() as service:
        job = await service.submit(nap(steps=100, seconds=0.02))
        await until(lambda: service.running_ids == (job.id,))
        assert (await service.delete(job.id)).state is JobState.CANCELLED
        assert await service.count() == 0


async def test_closing_gives_the_running_job_back_to_the_queue(running, nap, tmp_path):
    async with running(SqlStore(tmp_path / "jobs.sqlite3")) as service:
        job = await service.submit(nap(steps=1000, seconds=0.01))
        await until(lambda: service.live(job.id).value >= 1)
    store = SqlStore(tmp_path / "jobs.sqlite3")
    await store.open()
    back = await store.get(job.id)
    await store.close()
    assert (back.state, back.strikes) == (JobState.QUEUED, 0)


async def test_closing_with_patience_lets_the_running_job_finish_and_starts_no_other(worker, nap, tmp_path):
    store = SqlStore(tmp_path / "jobs.sqlite3")
    service = JobService(store, [worker()])
    await service.start()
    job = await service.submit(nap(steps=5, seconds=0.02))
    later = await service.submit(nap())
    await until(lambda: service.running_ids == (job.id,))
    await service.close(drain_s=5)
    store = SqlStore(tmp_path / "jobs.sqlite3")
    await store.open()
    assert (await store.get(job.id)).state is JobState.SUCCEEDED
    assert (await store.get(later.id)).state is JobState.QUEUED
    await store.close()


async def test_graph_that_cannot_run_fails_with_the_reason(running, one):
    async with running() as service:
        unknown = await service.wait((await service.submit(one("NoSuchNode"))).id)
        incomplete = await service.wait((await service.submit(one("Write"))).id)
    assert (unknown.state, unknown.error.code) == (JobState.FAILED, "graph_refused")
    assert "NoSuchNode" in unknown.error.message
    assert "Required input is missing (value)" in incomplete.error.message


async def test_every_ended_job_is_told_once(running, nap, one):
    ended = []
    async with running(on_end=ended.append) as service:
        jobs = [await service.submit(new) for new in (nap(), one("Fail"), nap(steps=100, seconds=0.05), nap())]
        await service.cancel(jobs[3].id)
        await until(lambda: service.live(jobs[2].id).value >= 1)
        await service.cancel(jobs[2].id)
        await service.wait(jobs[2].id)
    assert sorted(job.id for job in ended) == sorted(job.id for job in jobs)
    assert all(job.is_final for job in ended)


async def test_jobs_are_not_kept_waiting_for_a_worker_that_cannot_start(running, nap):
    async with running(config={"options": {"fail": "no GPU anywhere"}}) as service:
        jobs = [await service.submit(nap()) for _ in range(2)]
        ends = [await asyncio.wait_for(service.wait(job.id), 15) for job in jobs]
        assert [(job.state, job.error.code) for job in ends] == [(JobState.FAILED, "worker_unavailable")] * 2
        assert "no GPU anywhere" in ends[0].error.message
        late = await service.submit(nap())
        assert (await asyncio.wait_for(service.wait(late.id), 2)).error.code == "worker_unavailable"


async def test_two_workers_share_the_queue(worker, nap):
    service = JobService(MemoryStore(), [worker(), worker()])
    await service.start()
    jobs = [await service.submit(nap(steps=10, seconds=0.03)) for _ in range(4)]
    await until(lambda: len(service.running_ids) == 2)
    ends = [await service.wait(job.id) for job in jobs]
    await service.close()
    assert {job.state for job in ends} == {JobState.SUCCEEDED}
    assert {job.attempt for job in ends} == {1}


async def test_a_stop_that_comes_too_late_kills_no_worker(running, nap):
    async with running(limits=WorkerLimits(stop_s=0.4)) as service:
        for _ in range(20):
            job = await service.submit(nap(steps=2, seconds=0.002))
            async for event in service.subscribe(job.id):
                if isinstance(event, events.Executing) and event.node == "2":
                    await service.cancel(job.id)
            await service.wait(job.id)
        await asyncio.sleep(0.5)
        assert service.workers[0].restarts == 0
