"""Keeps one worker alive: starts it, starts the next when it dies, and lets others wait until one is ready."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.errors import FocalError
from engine.events import Event
from engine.jobs.errors import WorkerDied, WorkerUnavailable
from engine.jobs.messages import Ended, Ready, Run, WorkerConfig
from engine.jobs.process import WorkerLimits, WorkerProcess
from engine.jobs.worker_log import WorkerLog

log = logging.getLogger(__name__)

GIVE_UP_AFTER = 3
"""Workers in a row that died before they were of use: nobody is kept waiting for the next one, though it is started."""

SOUND_AFTER_S = 2.0
"""A worker that was ready for this long was a sound one, whatever ended it."""


class Supervisor:
    """One worker at a time, for one device.

    log_path: where the worker's words go, None for nowhere. environment: added to the worker's own, for example
    {"CUDA_VISIBLE_DEVICES": "1"}. last_death: why the last worker ended, "" as long as none has.
    """

    def __init__(
        self,
        config: WorkerConfig,
        *,
        log_path: Path | None = None,
        environment: Mapping[str, str] | None = None,
        limits: WorkerLimits | None = None,
    ) -> None:
        self.limits = limits or WorkerLimits()
        self.restarts = 0
        self._config = config
        self._environment = environment or {}
        self._log = WorkerLog(log_path)
        self._process: WorkerProcess | None = None
        self._failures = 0
        self.last_death = ""
        self._closing = asyncio.Event()
        self._changed = asyncio.Condition()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to keep a worker alive; returns at once, while it still starts."""
        self._keeper = asyncio.create_task(self._keep(), name="worker-keeper")

    async def close(self) -> None:
        """End the worker for good; whoever waits for one gets WorkerUnavailable."""
        self._closing.set()
        self.kill("the server stops")
        if self._keeper is not None:
            await self._keeper
        await self._tell()
        self._log.close()

    @property
    def is_ready(self) -> bool:
        """Whether a worker waits for work or works."""
        return self._ready_process() is not None

    @property
    def is_broken(self) -> bool:
        """Whether the last workers all died before they had run anything."""
        return not self.is_ready and (self._closing.is_set() or self._failures >= GIVE_UP_AFTER)

    @property
    def pid(self) -> int | None:
        process = self._ready_process()
        return process.pid if process else None

    @property
    def about(self) -> Ready | None:
        """What the worker said of itself; None while it starts."""
        process = self._ready_process()
        return process.ready.result() if process else None

    async def wait_ready(self, timeout_s: float | None = None) -> WorkerProcess:
        """Wait for a worker. Raises WorkerUnavailable when none can be started, or none in time."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self.is_ready or self.is_broken)
        except TimeoutError:
            raise WorkerUnavailable(self._why_late(timeout_s)) from None
        process = self._ready_process()
        if process is None:
            raise WorkerUnavailable(self.last_death or "it was stopped.")
        return process

    async def run(self, run: Run, on_event: Callable[[Event], None]) -> Ended:
        """Run a graph on the worker. Raises WorkerDied when it does not survive it, WorkerUnavailable."""
        return await (await self.wait_ready()).run(run, on_event)

    async def call(self, method: str, *, timeout_s: float | None = 60.0, **arguments: Any) -> Any:
        """Ask the worker: validate(graph, targets), object_info(class_type), free(models, results), runtime(name,
        arguments), run_aside(run_id, graph, outputs, alone), which runs at once and inside the job that runs, or with
        `alone` after it. Waits for a worker that starts. Raises WorkerUnavailable (also after `timeout_s`),
        CallFailed."""
        try:
            async with asyncio.timeout(timeout_s):
                return await (await self.wait_ready()).call(method, arguments)
        except WorkerDied as error:
            raise WorkerUnavailable(error.cause) from error
        except TimeoutError:
            raise WorkerUnavailable(self._why_late(timeout_s)) from None

    def interrupt(self, job_id: str) -> None:
        """Tell the run of this job to stop at its next step."""
        if process := self._ready_process():
            process.interrupt(job_id)

    def skip(self, job_id: str) -> None:
        """Tell the run of this job to leave out the output it is at."""
        if process := self._ready_process():
            process.skip(job_id)

    def kill(self, reason: str) -> None:
        """End the worker now; the next one is started."""
        if self._process is not None:
            self._process.kill(reason)

    def _ready_process(self) -> WorkerProcess | None:
        process = self._process
        if process is None or process.dead.done() or not process.ready.done() or process.ready.exception():
            return None
        return process

    def _why_late(self, timeout_s: float | None) -> str:
        if self.is_ready:
            return f"it did not answer within {timeout_s:g} s."
        return self.last_death or f"it is still starting after {timeout_s:g} s."

    async def _keep(self) -> None:
        while not self._closing.is_set():
            self._log.forget()
            self._process = process = WorkerProcess(self._config, self.limits, self._log)
            try:
                await process.start(self._environment)
            except OSError as error:
                self.last_death = f"it could not be started: {error}"
                self._process = None
            else:
                await self._follow(process)
            self._failures = 0 if self._was_sound(process) else self._failures + 1
            self.restarts += 1
            await self._tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._closing.wait()

    def _pause_s(self) -> float:
        pauses_s = self.limits.pauses_s
        return pauses_s[min(self._failures, len(pauses_s) - 1)]

    def _was_sound(self, process: WorkerProcess) -> bool:
        return process.has_run or process.seconds_ready() >= SOUND_AFTER_S

    async def _follow(self, process: WorkerProcess) -> None:
        if self._closing.is_set():
            process.kill("the server stops")
        with contextlib.suppress(FocalError):
            ready = await asyncio.shield(process.ready)
            log.info("Worker %d is ready with %d node classes", ready.pid, ready.node_count)
            await self._tell()
        self.last_death = await process.wait_dead()
        if not self._closing.is_set():
            log.warning("The worker died: %s", self.last_death)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
