"""What goes, and when: old jobs and their files as --queue-history says, and files that no job needs any more."""

import asyncio
import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
from anyio import to_thread

from api.settings import Settings
from engine.errors import FocalError
from engine.jobs.job import Job
from engine.jobs.queue import JobService

log = logging.getLogger(__name__)

SWEEP_S = 24 * 3600  # between two looks at the folders
UNUSED_S = 24 * 3600  # that a file which no job names is kept
JOBS_AT_ONCE = 200
_INPUT = re.compile(rb"[0-9a-f]{64}\.png")
TEMPORARY = "ComfyUI_temp_*"  # previews, as the nodes name them


class Retention:
    """Keeps the last `queue_history` finished jobs; 0 keeps all. Works in tasks of its own, never in a request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def job_ended(self, job: Job) -> None:
        """Called by the queue with every job whose end is stored."""
        self._ended.set()

    async def start(self, jobs: JobService) -> None:
        self._tasks = [asyncio.create_task(self._sweep_daily(jobs), name="sweep")]
        if self._settings.queue_history > 0:
            self._ended.set()
            self._tasks.append(asyncio.create_task(self._follow(jobs), name="retention"))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, jobs: JobService) -> None:
        while True:
            await self._ended.wait()
            self._ended.clear()
            try:
                gone = await jobs.prune(self._settings.queue_history)
                await to_thread.run_sync(remove_files, self._settings.outputs_dir, gone)
            except FocalError as error:
                log.warning("Old jobs could not be removed: %s", error)

    async def _sweep_daily(self, jobs: JobService) -> None:
        while True:
            try:
                await sweep(self._settings, jobs)
            except (FocalError, OSError) as error:
                log.warning("Old files could not be removed: %s", error)
            await asyncio.sleep(SWEEP_S)


async def sweep(settings: Settings, jobs: JobService, *, unused_s: float = UNUSED_S) -> None:
    """Remove pictures that came with requests no job knows of any more, and old previews.

    Only files that this server named itself, and only those untouched for `unused_s`.
    """
    before = time.time() - unused_s
    inputs = await to_thread.run_sync(_old_inputs, settings.input_dir, before)
    page = 0
    while inputs and (found := await jobs.list_jobs(page=page, page_size=JOBS_AT_ONCE)):
        for job in found:
            named = msgspec.json.encode([job.graph, job.request], enc_hook=str)
            inputs -= {name.decode() for name in _INPUT.findall(named)}
        page += 1
    await to_thread.run_sync(_remove_old, [settings.input_dir / name for name in inputs], before)
    await to_thread.run_sync(lambda: _remove_old(settings.temp_dir.glob(TEMPORARY), before))
    if inputs:
        log.info("%d pictures of forgotten requests were removed", len(inputs))


def _old_inputs(folder: Path, before: float) -> set[str]:
    return {
        path.name for path in folder.glob("*.png") if _INPUT.fullmatch(path.name.encode()) and _is_old(path, before)
    }


def _is_old(path: Path, before: float) -> bool:
    try:
        return path.is_file() and path.stat().st_mtime < before
    except FileNotFoundError:
        return False


def _remove_old(paths: Iterable[Path], before: float) -> None:
    for path in paths:
        if _is_old(path, before):  # looked at again: a request may have brought it back meanwhile
            path.unlink(missing_ok=True)


def remove_files(outputs: Path, jobs: Iterable[Job]) -> None:
    """Delete the pictures of jobs that are already forgotten; only below the outputs folder. One that stays is told."""
    root = outputs.resolve()
    for job in jobs:
        for file in job.files():
            path = (root / file.subfolder / file.filename).resolve()
            if file.type == "output" and path.is_relative_to(root):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    log.warning("%s could not be removed: %s", path, error)
