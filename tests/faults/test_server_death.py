"""The whole server is killed: what it had answered is kept, what it had begun is finished by the next one."""

import asyncio
import os
import random
import signal
import sqlite3
from collections import Counter

import driver
import pytest

from engine.jobs.job import Job, JobState
from engine.jobs.messages import Run
from engine.jobs.store import SqlStore


def stored_jobs(data) -> list[Job]:
    async def read():
        store = SqlStore(data / "jobs.sqlite3")
        await store.open()
        found = await store.list_jobs(newest_first=False)
        await store.close()
        return found

    return asyncio.run(read())


def run_to_the_end(data):
    with driver.server(data) as process:
        assert process.wait(60) == 0


def test_job_of_a_killed_server_is_finished_by_the_next_one(tmp_path):
    with driver.server(tmp_path, jobs=2, steps=20, seconds=0.05) as process:
        driver.wait_for(lambda: len(driver.acknowledged(tmp_path)) == 2)
        driver.wait_for(lambda: driver.worker_pids(tmp_path))
        driver.wait_for(lambda: [job for job in states(tmp_path) if job == "running"])
        driver.kill(process)
        driver.wait_for(lambda: not driver.worker_pids(tmp_path), 2)
    assert Counter(states(tmp_path)) == {"running": 1, "queued": 1}
    run_to_the_end(tmp_path)
    jobs = stored_jobs(tmp_path)
    assert [job.state for job in jobs] == [JobState.SUCCEEDED] * 2
    assert sorted(job.attempt for job in jobs) == [1, 2]
    assert max(job.strikes for job in jobs) == 0


def submit_under_fire(data, total, kills, workers) -> list[str]:
    """Submit `total` jobs to servers that are killed at random moments; give the ids that were answered."""
    dice = random.Random(total)
    for _ in range(kills):
        goal = len(driver.acknowledged(data)) + dice.randint(1, total // kills)
        with driver.server(data, jobs=total, workers=workers):
            driver.wait_for(lambda goal=goal: len(driver.acknowledged(data)) >= goal)
    with driver.server(data, jobs=total - len(driver.acknowledged(data)), workers=workers) as process:
        assert process.wait(60) == 0
    answered = driver.acknowledged(data)
    assert len(set(answered)) == len(answered) >= total
    return answered


def assert_intact(data):
    database = sqlite3.connect(data / "jobs.sqlite3")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_a_thousand_answered_submissions_survive_kills_at_any_moment(tmp_path):
    answered = submit_under_fire(tmp_path, total=1000, kills=4, workers=0)
    assert set(answered) <= {job.id for job in stored_jobs(tmp_path)}
    assert_intact(tmp_path)


def test_jobs_of_servers_that_are_killed_again_and_again_are_all_finished_and_written_once(tmp_path):
    answered = submit_under_fire(tmp_path, total=60, kills=2, workers=1)
    ends = {job.id: job.state for job in stored_jobs(tmp_path)}
    assert set(answered) <= set(ends)
    assert set(ends.values()) == {JobState.SUCCEEDED}
    written = {path.name for path in (tmp_path / "outputs").iterdir()}
    assert written == {f"{job_id}-2.txt" for job_id in ends}
    assert_intact(tmp_path)


def test_server_and_worker_killed_together_are_no_worse(tmp_path):
    with driver.server(tmp_path, jobs=1, steps=20, seconds=0.05) as process:
        driver.wait_for(lambda: "running" in states(tmp_path))
        for pid in (process.pid, *driver.worker_pids(tmp_path)):
            os.kill(pid, signal.SIGKILL)
    run_to_the_end(tmp_path)
    assert [job.state for job in stored_jobs(tmp_path)] == [JobState.SUCCEEDED]


def states(data) -> list[str]:
    """Look into the database beside the server that uses it."""
    if not (data / "jobs.sqlite3").exists():
        return []
    database = sqlite3.connect(f"file:{data / 'jobs.sqlite3'}?mode=ro", uri=True)
    try:
        return [row[0] for row in database.execute("SELECT state FROM jobs")]
    except sqlite3.OperationalError:  # the tables are being made
        return []
    finally:
        database.close()


@pytest.mark.anyio
async def test_worker_ends_when_its_server_goes_away_in_the_middle_of_a_node(tmp_path):
    """The worker is deep in a call that never looks up; the reader thread sees the end of the connection."""
    supervisor = driver.supervisor(tmp_path)
    await supervisor.start()
    process = await supervisor.wait_ready()
    deaf = Run("job", 1, driver.one("Deaf", seconds=30.0).graph, ("1",), {})
    run = asyncio.create_task(process.run(deaf, lambda event: None))
    await asyncio.sleep(0.1)
    pid = process.pid
    assert process._writer is not None
    process._writer.transport.abort()
    await driver.until(lambda: not os.path.exists(f"/proc/{pid}"), 3)
    await asyncio.gather(run, return_exceptions=True)
    await supervisor.close()
