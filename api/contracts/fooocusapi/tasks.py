"""GET /tasks: what is finished, what runs, what waits; pages, a window of time, and forgetting what lies in it."""

import re
from datetime import datetime

from anyio import to_thread
from msgspec import Struct

from api.contracts.fooocusapi import records
from api.contracts.fooocusapi.schemas import Record, TaskList, Tasks
from api.retention import remove_files
from api.services import Services
from engine.jobs.interface import JobFilter
from engine.jobs.job import FINAL_STATES, Job, JobState, now_ms

HISTORY, CURRENT, PENDING = "history", "current", "pending"
QUEUED = JobFilter(states=frozenset({JobState.QUEUED}))
LARGEST_PAGE = 10_000
LAST_PAGE = 10**9
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")  # fractions and zones behind it are not read


class Window(Struct, frozen=True):
    """Unix milliseconds, both ends included."""

    start_ms: int
    end_ms: int

    @property
    def finished(self) -> JobFilter:
        return JobFilter(states=FINAL_STATES, created_from_ms=self.start_ms, created_to_ms=self.end_ms)


async def listed(served: Services, asked: Tasks) -> TaskList:
    """The three lists; those not asked for are empty."""
    told = TaskList()
    if asked.query in ("all", HISTORY):
        told.history = await _history(served, asked)
    if asked.query in ("all", CURRENT):
        told.current = [_record(served, job) for job in (await served.jobs.snapshot()).running[:1]]
    if asked.query in ("all", PENDING):
        page, size = _page(asked)
        waiting = await served.jobs.list_jobs(
            page=page, page_size=size, newest_first=False, order="queue", where=QUEUED
        )
        told.pending = [_record(served, job) for job in waiting]
    return told


async def forget(served: Services, asked: Tasks) -> TaskList:
    """Delete every finished task of the window with its results; without a window nothing."""
    window = window_of(asked)
    if window is not None:
        jobs = [await served.jobs.delete(job.id) for job in await served.jobs.list_jobs(where=window.finished)]
        gone = [job for job in jobs if job is not None]
        await to_thread.run_sync(remove_files, served.outputs_dir, gone)
    return TaskList()


def window_of(asked: Tasks) -> Window | None:
    """The window of time; None without a start, with a time that cannot be read, or with its end before its start."""
    start, end = _moment(asked.start_at), _moment(asked.end_at) if asked.end_at else now_ms()
    return Window(start, end) if start is not None and end is not None and start < end else None


def _moment(text: str) -> int | None:
    match = _TIME.match(text.strip())
    if match is None:
        return None
    try:
        return int(datetime.fromisoformat(match[1]).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return None


async def _history(served: Services, asked: Tasks) -> list[Record]:
    window = window_of(asked)
    if window is not None:
        jobs = await served.jobs.list_jobs(where=window.finished)
    else:
        page, size = _page(asked)
        jobs = await served.jobs.list_jobs(page=page, page_size=size, where=JobFilter(states=FINAL_STATES))
    return [_record(served, job) for job in jobs]


def _page(asked: Tasks) -> tuple[int, int | None]:
    """Page and size. A negative size is all, 0 none; a negative page is the first."""
    return (
        (0, None) if asked.page_size < 0 else (min(max(0, asked.page), LAST_PAGE), min(asked.page_size, LARGEST_PAGE))
    )


def _record(served: Services, job: Job) -> Record:
    return records.record(job, served.settings, served.progress.of(job.id))
