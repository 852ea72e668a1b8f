"""What a job store promises, asked of both stores."""

import asyncio
import sqlite3
import uuid

import pytest
from msgspec.structs import replace
from sqlalchemy import event

from engine.jobs.errors import BadDatabase, DuplicateJob, JobIsOpen, StoreInUse, StoreTooNew, StoreUnavailable
from engine.jobs.interface import JobFilter
from engine.jobs.job import Job, JobFailure, JobState, NewJob, Outcome, OutputFile, Trace, now_ms
from engine.jobs.memory_store import MemoryStore
from engine.jobs.store import SqlStore

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "Nap", "inputs": {"seed": 2**64 - 1, "text": "ä\u2028", "list": [1, 1.0, True, None]}}}
SUCCESS = Outcome(state=JobState.SUCCEEDED, result={"1": {"images": [{"filename": "a.png", "subfolder": "x"}]}})
FAILURE = JobFailure(code="worker_died", message="The worker process died.")


def a_job(**changes):
    return NewJob(kind="Text to Image", contract="cli", graph=GRAPH, outputs=("1",), **changes)


async def run_one(store, outcome=SUCCESS) -> Job:
    job = await store.claim_next()
    return await store.finish(job.id, job.attempt, outcome)


async def test_submitted_job_is_found_again_as_it_was(store):
    new = a_job(
        request={"prompt": "a fox", "seed": 2**64 - 1}, extra={"n": [1]}, webhook_url="http://x/", warnings=("w",)
    )
    job = await store.submit(new)
    assert await store.get(job.id) == job
    assert (job.state, job.attempt, job.graph, job.outputs) == (JobState.QUEUED, 0, GRAPH, ("1",))
    assert (job.request, job.extra, job.warnings) == (new.request, new.extra, new.warnings)
    assert abs(job.created_ms - now_ms()) < 5_000


async def test_ids_are_found_with_and_without_dashes(store):
    job = await store.submit(a_job())
    assert str(uuid.UUID(job.id)) == job.id
    assert await store.get(job.id.replace("-", "")) == job
    assert await store.get("no such job") is None


async def test_a_chosen_id_is_kept_and_never_given_twice(store):
    job = await store.submit(a_job(id="85c10c81e9e2482d90a64c3704137d3a"))
    assert job.id == "85c10c81-e9e2-482d-90a6-4c3704137d3a"
    with pytest.raises(DuplicateJob):
        await store.submit(a_job(id=job.id))
    assert await store.count() == 1


async def test_jobs_are_claimed_in_the_order_they_came(store):
    jobs = [await store.submit(a_job()) for _ in range(3)]
    assert [await store.position(job.id) for job in jobs] == [0, 1, 2]
    assert [(await store.claim_next()).id for _ in jobs] == [job.id for job in jobs]
    assert await store.claim_next() is None
    assert await store.position(jobs[0].id) is None


async def test_a_job_at_the_front_overtakes_and_a_number_finds_its_place(store):
    first, second = [await store.submit(a_job()) for _ in range(2)]
    between = await store.submit(a_job(number=1.5))
    front = await store.submit(a_job(at_front=True))
    order = [(await store.claim_next()).id for _ in range(4)]
    assert order == [front.id, first.id, between.id, second.id]


async def test_claimed_job_runs_and_finishes_once(store):
    job = await store.submit(a_job())
    running = await store.claim_next()
    assert (running.state, running.attempt) == (JobState.RUNNING, 1)
    assert running.started_ms >= job.created_ms
    done = await store.finish(job.id, 1, SUCCESS)
    assert (done.state, done.result) == (JobState.SUCCEEDED, SUCCESS.result)
    assert await store.finish(job.id, 1, Outcome(state=JobState.FAILED)) is None
    assert await store.get(job.id) == done
    assert done.files() == [OutputFile("a.png", "x", "output")]


async def test_a_failure_is_kept_with_everything_known_about_it(store):
    await store.submit(a_job())
    error = JobFailure(code="node_failed", message="no", node="1", node_type="Nap", traceback=("a", "b"))
    trace = Trace(cached=("1",), executed=("2", "3"))
    done = await run_one(store, Outcome(state=JobState.FAILED, error=error, trace=trace))
    assert (done.error, done.trace) == (error, trace)
    assert await store.get(done.id) == done


async def test_a_given_up_attempt_cannot_end_the_next_one(store):
    job = await store.submit(a_job())
    await store.claim_next()
    back = await store.requeue(job.id, 1, strike=True)
    assert (back.state, back.strikes, back.attempt) == (JobState.QUEUED, 1, 1)
    assert await store.finish(job.id, 1, SUCCESS) is None
    assert await store.finish(job.id, 1, Outcome(state=JobState.FAILED, error=FAILURE)) is None
    again = await store.claim_next()
    assert again.attempt == 2
    assert await store.finish(job.id, 1, SUCCESS) is None
    assert await store.requeue(job.id, 1, strike=True) is None
    assert (await store.finish(job.id, 2, SUCCESS)).state is JobState.SUCCEEDED


async def test_a_requeued_job_keeps_its_place(store):
    first = await store.submit(a_job())
    await store.submit(a_job())
    await store.claim_next()
    await store.requeue(first.id, 1, strike=False)
    assert (await store.claim_next()).id == first.id


async def test_cancelled_queued_job_never_starts(store):
    job = await store.submit(a_job())
    assert (await store.cancel(job.id)).state is JobState.CANCELLED
    assert await store.claim_next() is None
    assert (await store.get(job.id)).finished_ms > 0


@pytest.mark.parametrize("outcome", [SUCCESS, Outcome(state=JobState.FAILED, error=FAILURE)])
async def test_stopped_running_job_ends_as_cancelled_whatever_its_run_says(store, outcome):
    job = await store.submit(a_job())
    await store.claim_next()
    stopping = await store.cancel(job.id)
    assert (stopping.state, stopping.stopping) == (JobState.RUNNING, True)
    done = await store.finish(job.id, 1, outcome)
    assert (done.state, done.error, done.result) == (JobState.CANCELLED, None, outcome.result)


async def test_stopped_job_is_not_put_back_into_the_queue(store):
    job = await store.submit(a_job())
    await store.claim_next()
    await store.cancel(job.id)
    assert (await store.requeue(job.id, 1, strike=True)).state is JobState.CANCELLED


async def test_cancel_leaves_a_finished_job_alone_and_knows_no_stranger(store):
    await store.submit(a_job())
    done = await run_one(store)
    assert await store.cancel(done.id) == done
    assert await store.cancel("stranger") is None


async def test_recovery_requeues_what_ran_and_ends_what_was_being_stopped(store):
    jobs = [await store.submit(a_job()) for _ in range(4)]
    await run_one(store)
    await store.claim_next()
    await store.claim_next()
    await store.cancel(jobs[2].id)
    recovery = await store.recover()
    assert [job.id for job in recovery.requeued] == [jobs[1].id]
    assert [(job.id, job.state) for job in recovery.ended] == [(jobs[2].id, JobState.CANCELLED)]
    assert [(await store.claim_next()).id for _ in range(2)] == [jobs[1].id, jobs[3].id]
    assert await store.count(JobFilter(states=frozenset({JobState.RUNNING}))) == 2


async def test_a_job_that_takes_the_server_down_again_and_again_is_given_up(store):
    job = await store.submit(a_job())
    for _ in range(10):
        await store.claim_next()
        recovery = await store.recover()
    assert [ended.id for ended in recovery.ended] == [job.id]
    assert (await store.get(job.id)).error.code == "server_died"


async def test_queued_jobs_are_refused_when_nothing_can_run_them(store):
    jobs = [await store.submit(a_job()) for _ in range(3)]
    await store.claim_next()
    refused = await store.refuse_queued(FAILURE)
    assert [job.id for job in refused] == [job.id for job in jobs[1:]]
    assert {job.state for job in refused} == {JobState.FAILED}
    assert refused[0].error == FAILURE


async def test_history_has_pages_newest_or_oldest_first(store):
    ids = [(await store.submit(a_job())).id for _ in range(5)]

    async def page(**kwargs):
        return [job.id for job in await store.list_jobs(**kwargs)]

    assert await page() == ids[::-1]
    assert await page(newest_first=False) == ids
    assert await page(page_size=2) == [ids[4], ids[3]]
    assert await page(page=2, page_size=2) == [ids[0]]
    assert await page(page=3, page_size=2) == []
    assert await page(page_size=0) == []


async def test_history_is_sorted_by_end_when_asked(store):
    first, second = await store.submit(a_job()), await store.submit(a_job(at_front=True))
    await run_one(store)
    await run_one(store)
    done = frozenset({JobState.SUCCEEDED})
    found = await store.list_jobs(order="finished", newest_first=False, where=JobFilter(states=done))
    ends = [job.finished_ms for job in found]
    assert ends == sorted(ends)
    assert {job.id for job in found} == {first.id, second.id}


async def test_history_is_filtered(store):
    await store.submit(replace(a_job(), contract="comfy", kind="prompt"))
    rest = await store.submit(a_job())
    assert await store.count(JobFilter(contracts=frozenset({"comfy"}))) == 1
    assert await store.count(JobFilter(kinds=frozenset({"Text to Image"}))) == 1
    assert await store.count(JobFilter(states=frozenset({JobState.SUCCEEDED}))) == 0
    inside = JobFilter(created_from_ms=rest.created_ms, created_to_ms=rest.created_ms)
    assert rest.id in [job.id for job in await store.list_jobs(where=inside)]
    assert await store.count(JobFilter(created_to_ms=rest.created_ms - 60_000)) == 0


async def test_deleted_job_is_gone_and_given_back_for_its_files(store):
    await store.submit(a_job())
    done = await run_one(store)
    assert await store.delete(done.id.replace("-", "")) == done
    assert await store.get(done.id) is None
    assert await store.delete(done.id) is None


async def test_an_open_job_is_not_deleted(store):
    job = await store.submit(a_job())
    with pytest.raises(JobIsOpen):
        await store.delete(job.id)
    assert await store.get(job.id) == job


async def test_pruning_keeps_the_last_finished_jobs_and_every_open_one(store):
    for _ in range(4):
        await store.submit(a_job())
        await run_one(store)
    waiting = await store.submit(a_job())
    everything = await store.list_jobs(newest_first=False)
    gone = await store.prune(keep=1)
    assert {job.id for job in gone} == {job.id for job in everything[:3]}
    assert [job.id for job in await store.list_jobs(newest_first=False)] == [everything[3].id, waiting.id]


async def test_every_end_owes_its_webhook_and_only_once(store):
    jobs = [await store.submit(a_job(webhook_url="http://127.0.0.1/hook")) for _ in range(3)]
    await store.submit(a_job())
    await run_one(store)
    await store.claim_next()
    await store.cancel(jobs[1].id)
    await store.recover()
    await store.cancel(jobs[2].id)
    await store.cancel(jobs[2].id)
    await run_one(store)
    due = await store.due_deliveries(now_ms(), limit=10)
    assert [delivery.job_id for delivery in due] == [job.id for job in jobs]
    assert await store.due_deliveries(now_ms() - 60_000, limit=10) == []


async def test_a_delivery_is_kept_until_it_is_dropped_or_dead(store):
    await store.submit(a_job(webhook_url="http://127.0.0.1/hook"))
    done = await run_one(store)
    [owed] = await store.due_deliveries(now_ms(), limit=10)
    assert await store.prune(keep=0) == []
    later = now_ms() + 5_000
    await store.save_delivery(replace(owed, tries=1, due_ms=later, last_error="refused"))
    assert await store.due_deliveries(now_ms(), limit=10) == []
    assert await store.next_delivery_ms() == later
    await store.save_delivery(replace(owed, tries=3, dead=True))
    assert await store.next_delivery_ms() is None
    await store.drop_delivery(owed.id)
    assert [job.id for job in await store.prune(keep=0)] == [done.id]


async def test_many_submits_at_once_are_all_kept(store):
    jobs = await asyncio.gather(*(store.submit(a_job()) for _ in range(100)))
    assert len({job.seq for job in jobs}) == 100
    assert await store.count() == 100


async def test_one_refused_submit_does_not_take_its_neighbours_with_it(store):
    taken = await store.submit(a_job(id="taken"))
    answers = await asyncio.gather(
        store.submit(a_job()), store.submit(a_job(id="taken")), store.submit(a_job()), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [Job, DuplicateJob, Job]
    assert taken.id in [job.id for job in await store.list_jobs()]
    assert await store.count() == 3


async def test_jobs_survive_closing_and_opening(tmp_path):
    path = tmp_path / "deep" / "jobs.sqlite3"
    first = SqlStore(path)
    await first.open()
    job = await first.submit(a_job())
    await first.close()
    second = SqlStore(path)
    await second.open()
    assert await second.get(job.id) == job
    assert (await second.submit(a_job())).seq > job.seq
    await second.close()


async def test_a_second_server_on_the_same_file_is_refused(tmp_path):
    first, second = SqlStore(tmp_path / "jobs.sqlite3"), SqlStore(tmp_path / "jobs.sqlite3")
    await first.open()
    with pytest.raises(StoreInUse):
        await second.open()
    await second.close()
    await first.close()


async def test_a_file_from_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "jobs.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    store = SqlStore(path)
    with pytest.raises(StoreTooNew, match="99"):
        await store.open()
    await store.close()


async def test_a_file_that_is_no_database_is_refused_by_name(tmp_path):
    path = tmp_path / "jobs.sqlite3"
    path.write_bytes(b"not a database at all" * 100)
    store = SqlStore(path)
    with pytest.raises(StoreUnavailable, match=r"jobs\.sqlite3"):
        await store.open()
    await store.close()


async def test_whatever_somebody_is_told_of_is_flushed_to_the_disk(tmp_path):
    """FULL (2) is what makes an acknowledged job survive power loss; NORMAL (1) does for what nobody was told yet."""
    store = SqlStore(tmp_path / "jobs.sqlite3")
    await store.open()
    assert await store.pragmas("synchronous", "journal_mode") == {"synchronous": 2, "journal_mode": "wal"}
    levels: list[int] = []

    @event.listens_for(store._writing, "commit")
    def note(connection):
        levels.append(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())

    async def levels_of(*writes):
        levels.clear()
        await asyncio.gather(*writes)
        return levels

    first = await store.submit(a_job())
    assert levels == [2]
    assert await levels_of(store.submit(a_job(), flushed=False)) == [1]
    assert await levels_of(store.submit(a_job(), flushed=False), store.submit(a_job())) == [2]
    assert await levels_of(store.claim_next()) == [1]
    assert await levels_of(store.requeue(first.id, 1, strike=True)) == [2]
    await store.claim_next()
    assert await levels_of(store.finish(first.id, 2, SUCCESS)) == [2]
    assert await levels_of(store.delete(first.id)) == [2]
    await store.close()


async def test_a_piece_that_fails_is_undone_alone(tmp_path):
    store = SqlStore(tmp_path / "jobs.sqlite3")
    await store.open()
    job = await store.submit(a_job())
    with pytest.raises(DuplicateJob):
        await store.submit(a_job(id=job.id))
    answers = await asyncio.gather(
        store.submit(a_job()), store.submit(a_job(id=job.id)), store.submit(a_job()), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [Job, DuplicateJob, Job]
    assert await store.count() == 3
    await store.close()


async def test_memory_store_satisfies_the_interface():
    assert {name for name in dir(SqlStore) if not name.startswith("_")} - {"pragmas"} == {
        name for name in dir(MemoryStore) if not name.startswith("_")
    }


@pytest.mark.parametrize("url", ["nonsense://x", "no_such_dialect+driver://user:secret@host/x", "://"])
def test_a_database_that_cannot_be_used_is_told_without_its_url(url):
    with pytest.raises(BadDatabase) as raised:
        SqlStore(url)
    assert raised.value.code == "bad_database"
    assert "secret" not in str(raised.value)
