"""What happens after a job's end: old jobs and their files go when --queue-history says so."""

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path

from anyio import to_thread

from api.settings import Settings
from engine.jobs.job import Job
from engine.jobs.queue import JobService

log = logging.getLogger(__name__)


class Retention:
    """Keeps the last `queue_history` finished jobs; 0 keeps all. Works in a task of its own, never in a request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def job_ended(self, job: Job) -> None:
        """Called by the queue with every job whose end is stored."""
        self._ended.set()

    async def start(self, jobs: JobService) -> None:
        if self._settings.queue_history > 0:
            self._ended.set()
            self._task = asyncio.create_task(self._follow(jobs), name="retention")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self, jobs: JobService) -> None:
        while True:
            await self._ended.wait()
            self._ended.clear()
            gone = await jobs.prune(self._settings.queue_history)
            await to_thread.run_sync(remove_files, self._settings.outputs_dir, gone)


def remove_files(outputs: Path, jobs: Iterable[Job]) -> None:
    """Delete the pictures of jobs that are already forgotten; only below the outputs folder."""
    root = outputs.resolve()
    for job in jobs:
        for file in job.files():
            path = (root / file.subfolder / file.filename).resolve()
            if file.type == "output" and path.is_relative_to(root):
                path.unlink(missing_ok=True)
