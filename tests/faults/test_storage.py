"""The storage refuses for a while: requests get a typed error or wait, and no job is lost or left half-way."""

import asyncio
import sqlite3
import threading
import time

import pytest
from driver import nap, until
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from engine.jobs.errors import StoreUnavailable
from engine.jobs.job import JobState, Outcome
from engine.jobs.store import SqlStore

pytestmark = pytest.mark.anyio


def fail_commit(store: SqlStore, number: int) -> list[int]:
    """Let the commit with this number fail, counted from 1; the list holds the numbers of those that came."""
    seen: list[int] = []

    @event.listens_for(store._writing, "commit")
    def count(connection):
        seen.append(len(seen) + 1)
        if len(seen) == number:
            raise OperationalError("COMMIT", {}, Exception("disk I/O error"))

    return seen


async def test_every_commit_may_fail_once_and_the_job_still_ends(running, tmp_path):
    for number in range(1, 10):
        store = SqlStore(tmp_path / f"jobs{number}.sqlite3")
        async with running(store) as service:
            commits = fail_commit(store, number)
            if number == 1:
                with pytest.raises(StoreUnavailable, match="disk I/O error"):
                    await service.submit(nap())
                assert (service.remaining, await service.count()) == (0, 0)
            job = await service.submit(nap(webhook_url="http://127.0.0.1:9/"))
            done = await asyncio.wait_for(service.wait(job.id), 10)
            assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
            assert len(await store.due_deliveries(done.finished_ms + 1000, 10)) == 1
            if len(commits) < number:
                return
    pytest.fail("a job took more commits than were tried")


async def test_full_disk_is_told_and_jobs_are_taken_again_when_there_is_room(tmp_path):
    store = SqlStore(tmp_path / "jobs.sqlite3")
    await store.open()
    pages = (await store.pragmas("page_count"))["page_count"]
    await store.pragmas(f"max_page_count={pages + 4}")
    kept = []

    async def submit_without_end():
        while True:
            kept.append(await store.submit(nap(extra={"padding": "x" * 2000})))

    with pytest.raises(StoreUnavailable, match="Make room") as raised:
        await submit_without_end()
    assert raised.value.code == "storage_full"
    assert await store.count() == len(kept) > 0
    await store.pragmas("max_page_count=100000")
    kept.append(await store.submit(nap()))
    assert [job.id for job in await store.list_jobs(newest_first=False)] == [job.id for job in kept]
    await store.close()


async def test_submissions_wait_while_another_process_holds_the_database(tmp_path):
    store = SqlStore(tmp_path / "jobs.sqlite3")
    await store.open()
    locked = threading.Event()

    def hold():
        other = sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        locked.set()
        time.sleep(0.5)
        other.execute("COMMIT")
        other.close()

    holder = threading.Thread(target=hold)
    holder.start()
    await until(locked.is_set)
    start = time.monotonic()
    jobs = await asyncio.gather(*(store.submit(nap()) for _ in range(5)))
    assert time.monotonic() - start > 0.2
    assert await store.count() == len(jobs) == 5
    holder.join()
    await store.close()


async def test_a_long_queue_stays_quick(tmp_path):
    """5,000 waiting jobs: a page, a position and a claim do not take longer for it."""
    store = SqlStore(tmp_path / "jobs.sqlite3")
    await store.open()
    jobs = await asyncio.gather(*(store.submit(nap()) for _ in range(5_000)))

    async def milliseconds(call):
        start = time.perf_counter()
        await call
        return (time.perf_counter() - start) * 1000

    best = {
        "page": min([await milliseconds(store.list_jobs(page=3, page_size=20)) for _ in range(3)]),
        "position": min([await milliseconds(store.position(jobs[-1].id)) for _ in range(3)]),
        "claim": min([await milliseconds(store.claim_next()) for _ in range(3)]),
        "finish": await milliseconds(store.finish(jobs[0].id, 1, Outcome(state=JobState.SUCCEEDED))),
    }
    await store.close()
    reopened = SqlStore(tmp_path / "jobs.sqlite3")
    start = time.perf_counter()
    await reopened.open()
    await reopened.recover()
    best["recovery"] = (time.perf_counter() - start) * 1000
    await reopened.close()
    assert best["page"] < 50
    assert best["position"] < 50
    assert best["claim"] < 500
    assert best["recovery"] < 2000
