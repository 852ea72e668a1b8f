"""The worker dies under a job, in every way it can: the job is tried once more, the queue goes on."""

import asyncio
import os
import signal
import time

import pytest
from driver import nap, one, until

from engine.jobs.job import JobState
from engine.jobs.process import WorkerLimits

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_job_of_a_killed_worker_is_tried_again_and_succeeds(running, how, tmp_path):
    async with running() as service:
        job = await service.submit(nap(steps=10, seconds=0.03))
        await until(lambda: service.live(job.id).value >= 2)
        os.kill(service.workers[0].pid, how)
        done = await asyncio.wait_for(service.wait(job.id), 10)
        assert (done.state, done.attempt, done.strikes) == (JobState.SUCCEEDED, 2, 1)
        assert service.live(job.id).attempt == 2
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == [f"{job.id}-2.txt"]


async def test_job_that_kills_two_workers_fails_with_the_cause_and_the_next_one_runs(running, tmp_path):
    async with running() as service:
        poison = await service.submit(one("Crash", marker=str(tmp_path / "marker")))
        good = await service.submit(nap())
        failed = await asyncio.wait_for(service.wait(poison.id), 10)
        assert (failed.state, failed.attempt) == (JobState.FAILED, 2)
        assert (failed.error.code, failed.error.node) == ("worker_died", "1")
        assert "SIGKILL" in failed.error.message
        assert (await asyncio.wait_for(service.wait(good.id), 10)).state is JobState.SUCCEEDED
    assert (tmp_path / "marker").read_text() == "2"


async def test_job_that_kills_one_worker_only_succeeds(running, tmp_path):
    async with running() as service:
        job = await service.submit(one("Crash", marker=str(tmp_path / "marker"), times=1))
        assert (await asyncio.wait_for(service.wait(job.id), 10)).result == {"1": {"survived": [1]}}


async def test_last_words_of_the_worker_are_in_the_error(running):
    async with running() as service:
        job = await service.wait((await service.submit(one("Exit", status=7))).id)
    assert "exit status 7" in job.error.message
    assert "last words of the worker" in job.error.message


async def test_frozen_worker_is_noticed_and_its_job_is_not_left_running(running):
    async with running(limits=WorkerLimits(silence_s=1.0, interval_s=0.1)) as service:
        job = await service.submit(one("Freeze"))
        failed = await asyncio.wait_for(service.wait(job.id), 10)
    assert "no sign of life" in failed.error.message


async def test_waiting_jobs_survive_and_questions_are_answered_while_the_worker_is_dead(running):
    async with running() as service:
        await service.workers[0].wait_ready()
        jobs = [await service.submit(nap(steps=5, seconds=0.02)) for _ in range(3)]
        await until(lambda: service.live(jobs[0].id).value >= 1)
        os.kill(service.workers[0].pid, signal.SIGKILL)
        start = time.monotonic()
        assert len(await service.list_jobs()) == 3
        assert await service.submit(nap())
        assert time.monotonic() - start < 0.1
        for job in jobs:
            assert (await asyncio.wait_for(service.wait(job.id), 10)).state is JobState.SUCCEEDED


async def test_poison_among_good_jobs_costs_no_good_job(running, tmp_path):
    async with running(queue_size=0) as service:
        poison = [await service.submit(one("Crash", marker=str(tmp_path / f"marker{n}"))) for n in range(3)]
        good = [await service.submit(nap()) for _ in range(9)]
        ends = [(await asyncio.wait_for(service.wait(job.id), 20)).state for job in (*poison, *good)]
    assert ends == [JobState.FAILED] * 3 + [JobState.SUCCEEDED] * 9


async def test_cancelled_job_of_a_dead_worker_is_not_tried_again(running):
    async with running(limits=WorkerLimits(stop_s=60)) as service:
        job = await service.submit(one("Deaf", seconds=30.0))
        await until(lambda: service.live(job.id).node == "1")
        await service.cancel(job.id)
        os.kill(service.workers[0].pid, signal.SIGKILL)
        done = await asyncio.wait_for(service.wait(job.id), 5)
    assert (done.state, done.attempt) == (JobState.CANCELLED, 1)


async def test_a_worker_killed_while_idle_is_nobodys_fault(running):
    async with running() as service:
        os.kill((await service.workers[0].wait_ready()).pid, signal.SIGKILL)
        done = await asyncio.wait_for(service.wait((await service.submit(nap())).id), 10)
    assert done.state is JobState.SUCCEEDED
