"""How far every running job is: fed by the worker's events, read by polls."""

import logging
from collections import OrderedDict
from typing import Protocol

from msgspec import Struct

from engine.events import Event, Preview, Started
from engine.jobs.job import Job
from graphs.progress import ProgressTracker, Words

log = logging.getLogger(__name__)

WORDS: dict[str, Words] = {"fooocusapi": "fooocusapi"}
REMEMBERED = 256  # jobs whose last state and preview are kept


class Shown(Struct, frozen=True):
    """What a poll is told. percent 0..100, never falling; preview: the last one, encoded as PNG or JPEG."""

    percent: int = 0
    text: str | None = None
    preview: bytes | None = None


class JobSource(Protocol):
    """What the board needs of the queue."""

    async def find(self, job_id: str) -> Job | None: ...


class ProgressBoard:
    """The last known progress by job id. Lossy on purpose: nothing here is stored."""

    def __init__(self, jobs: JobSource) -> None:
        self._jobs = jobs
        self._trackers: OrderedDict[str, ProgressTracker] = OrderedDict()
        self._previews: dict[str, bytes] = {}

    def of(self, job_id: str) -> Shown:
        """What is known about a job; nothing yet is 0 percent without text."""
        tracker = self._trackers.get(job_id)
        if tracker is None:
            return Shown()
        return Shown(tracker.state.percent, tracker.state.text or None, self._previews.get(job_id))

    async def feed(self, event: Event) -> None:
        """Take in one event of any job."""
        if isinstance(event, Started) or event.job_id not in self._trackers:
            await self._open(event.job_id)
        if isinstance(event, Preview):
            self._previews[event.job_id] = event.data
        elif tracker := self._trackers.get(event.job_id):
            tracker.feed(event)

    async def _open(self, job_id: str) -> None:
        if job_id in self._trackers:
            self._trackers.move_to_end(job_id)
            return
        job = await self._jobs.find(job_id)
        if job is None:
            log.debug("an event came for job %s, which is gone", job_id)
            return
        self._trackers[job_id] = ProgressTracker(job.graph, WORDS.get(job.contract, "fooocus_api"))
        while len(self._trackers) > REMEMBERED:
            forgotten, _ = self._trackers.popitem(last=False)
            self._previews.pop(forgotten, None)
