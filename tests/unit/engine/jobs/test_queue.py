"""The way of a job: submitted, run by a real worker process, watched, ended."""

import asyncio

import pytest

from engine import events
from engine.jobs.errors import DuplicateJob, JobNotFound, QueueFull
from engine.jobs.job import JobState, OutputFile

pytestmark = pytest.mark.anyio


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
