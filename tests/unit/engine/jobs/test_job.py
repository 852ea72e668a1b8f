"""The moves of a job, one by one and in any order."""

import asyncio
import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.jobs import moves
from engine.jobs.errors import IllegalMove, JobIsOpen
from engine.jobs.job import (
    FINAL_STATES,
    LEGAL_MOVES,
    OPEN_STATES,
    JobState,
    NewJob,
    Outcome,
    OutputFile,
    canonical_id,
    may_move,
    new_job,
)
from engine.jobs.memory_store import MemoryStore
from engine.jobs.store import SqlStore

SUCCESS = Outcome(state=JobState.SUCCEEDED, result={"1": {"images": []}})
NEW = NewJob(kind="test", contract="cli", graph={}, webhook_url="http://x/")


def test_every_state_has_its_moves_and_final_ones_have_none():
    assert set(LEGAL_MOVES) == set(JobState)
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == FINAL_STATES
    assert {JobState.QUEUED, JobState.RUNNING} == OPEN_STATES


@pytest.mark.parametrize(("source", "target"), [*itertools.product(JobState, JobState)])
def test_moves_outside_the_table_are_refused(source, target):
    job = replace(new_job(NEW, 1), state=source)
    if may_move(source, target):
        assert moves._move(job, target).state is target
    else:
        with pytest.raises(IllegalMove, match=f"is {source} and cannot become {target}"):
            moves._move(job, target)


def test_files_are_found_in_every_nodes_ui_in_order():
    ui = {
        "9": {
            "images": [{"filename": "b.png"}, {"filename": "a.png", "subfolder": "s", "type": "temp"}],
            "text": ["x"],
        },
        "3": {"animated": [True], "gifs": [{"filename": "c.gif"}], "odd": "filename", "n": [{"filename": 3}]},
    }
    job = replace(new_job(NEW, 1), result=ui)
    assert job.files() == [OutputFile("b.png"), OutputFile("a.png", "s", "temp"), OutputFile("c.gif")]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("85c10c81e9e2482d90a64c3704137d3a", "85c10c81-e9e2-482d-90a6-4c3704137d3a"),
        ("85C10C81-E9E2-482D-90A6-4C3704137D3A", "85c10c81-e9e2-482d-90a6-4c3704137d3a"),
        ("my own id", "my own id"),
        ("", ""),
    ],
)
def test_ids_have_one_form(text, canonical):
    assert canonical_id(text) == canonical


IN_MEMORY = Path("/dev/shm")
"""Where flushing costs nothing: agreement is tested here, not endurance."""

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.booleans()),
        st.tuples(st.just("claim_next")),
        st.tuples(st.just("finish"), st.integers(0, 4), st.integers(0, 2), st.sampled_from(sorted(FINAL_STATES))),
        st.tuples(st.just("requeue"), st.integers(0, 4), st.integers(0, 2), st.booleans()),
        st.tuples(st.just("cancel"), st.integers(0, 4)),
        st.tuples(st.just("delete"), st.integers(0, 4)),
        st.tuples(st.just("recover")),
        st.tuples(st.just("prune"), st.integers(0, 3)),
    ),
    max_size=25,
)


async def apply(store, operation, ids):
    """Do one operation on a store; jobs are named by their place in `ids`, so that both stores mean the same."""
    name, *arguments = operation
    if name in ("finish", "requeue", "cancel", "delete"):
        if not ids:
            return None
        arguments[0] = ids[arguments[0] % len(ids)]
    match name:
        case "submit":
            await store.submit(replace(NEW, id=f"job {len(ids)}", at_front=arguments[0]))
        case "finish":
            await store.finish(arguments[0], arguments[1], Outcome(state=arguments[2]))
        case "requeue":
            await store.requeue(arguments[0], arguments[1], strike=arguments[2])
        case "delete":
            try:
                await store.delete(arguments[0])
            except JobIsOpen:
                return "open"
        case _:
            await getattr(store, name)(*arguments)
    return None


async def seen(store):
    """Everything that can be seen of a store but the times."""
    jobs = await store.list_jobs(order="queue", newest_first=False)
    owed = [delivery.job_id for delivery in await store.due_deliveries(2**60, 100)]
    return [replace(job, created_ms=0, started_ms=0, finished_ms=0) for job in jobs], sorted(owed)


@settings(max_examples=25, deadline=None)
@given(OPERATIONS)
def test_both_stores_agree_after_any_moves_and_every_end_is_final(operations):
    async def run(folder):
        stores = [SqlStore(Path(folder) / "jobs.sqlite3"), MemoryStore()]
        for store in stores:
            await store.open()
        ids, ended = [], {}
        for operation in operations:
            answers = [await apply(store, operation, ids) for store in stores]
            assert answers[0] == answers[1]
            if operation[0] == "submit":
                ids.append(f"job {len(ids)}")
            views = [await seen(store) for store in stores]
            assert views[0] == views[1]
            for job in views[0][0]:
                assert ended.get(job.id, job.state) is job.state
                if job.is_final:
                    ended[job.id] = job.state
        for store in stores:
            await store.close()

    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        asyncio.run(run(folder))
