"""Hands waiting jobs to workers, one to each at a time, and sees every one to its end, whatever dies meanwhile."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from msgspec.structs import replace

from engine.errors import FocalError
from engine.events import Event
from engine.jobs.errors import StoreUnavailable, WorkerDied, WorkerUnavailable
from engine.jobs.interface import JobStore
from engine.jobs.job import Job, JobFailure, Outcome
from engine.jobs.messages import Run
from engine.jobs.record import RunRecord
from engine.jobs.supervisor import Supervisor

log = logging.getLogger(__name__)

MAX_STRIKES = 2
"""Workers that may die under one job; after the last it is failed, and the queue goes on."""

FORGIVEN_STARTS = 3
"""From this start of a job on, a worker's death counts even where a graph beside the queue may have been the cause."""

RETRY_STORE_S = (0.05, 0.2, 1.0, 5.0)
"""Pauses between tries to keep a job's end while the storage refuses; the last one is repeated."""


class Active:
    """A job on a worker."""

    def __init__(self, job: Job, worker: Supervisor) -> None:
        self.job = job
        self.worker = worker
        self.record = RunRecord(job.id)
        self.stopping = False
        self._is_over = False
        self._killer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Tell the worker to stop, and kill it when it does not listen."""
        self.stopping = True
        self.job = replace(self.job, stopping=True)
        self.worker.interrupt(self.job.id)
        if self._killer is None and not self._is_over:
            limit_s = self.worker.limits.stop_s
            reason = f"it did not stop within {limit_s:g} s"
            self._killer = asyncio.get_running_loop().call_later(limit_s, self.worker.kill, reason)

    def over(self) -> None:
        """The run has ended: from here on a stop is the store's business, and nothing is killed for it."""
        self._is_over = True
        if self._killer is not None:
            self._killer.cancel()


class Dispatcher:
    """The ids that wait, the jobs that run.

    on_event: told every event of a run but its last. on_end: told a job and its run's record when the end is in the
    store. on_change: called when the number of waiting or running jobs changed. None of them may raise.
    """

    def __init__(
        self,
        store: JobStore,
        workers: Sequence[Supervisor],
        *,
        on_event: Callable[[Event], None],
        on_end: Callable[[Job, RunRecord | None], None],
        on_change: Callable[[], None],
    ) -> None:
        self.active: dict[str, Active] = {}
        self.waiting: set[str] = set()
        self._store = store
        self._workers = workers
        self._on_event = on_event
        self._on_end = on_end
        self._on_change = on_change
        self._stopping: set[str] = set()
        self._work = asyncio.Event()
        self._closing = False
        self._servers: list[asyncio.Task[None]] = []

    def start(self, waiting: Iterable[str]) -> None:
        """Begin to serve every worker."""
        for job_id in waiting:
            self.add(job_id)
        self._servers = [asyncio.create_task(self._serve(worker), name="job-server") for worker in self._workers]

    async def close(self, drain_s: float) -> None:
        """Start nothing more, let running jobs finish for `drain_s`, give the rest back to the queue."""
        self._closing = True
        self._work.set()
        if drain_s > 0 and self._servers:
            idle = [asyncio.create_task(self._until_idle())]
            await asyncio.wait(idle, timeout=drain_s)
            idle[0].cancel()
        for server in self._servers:
            server.cancel()
        await asyncio.gather(*self._servers, return_exceptions=True)
        for active in list(self.active.values()):
            active.over()
            with contextlib.suppress(StoreUnavailable):  # then the next start recovers it
                await self._store.requeue(active.job.id, active.job.attempt, strike=False)

    def add(self, job_id: str) -> None:
        """Note a job that waits in the store."""
        self.waiting.add(job_id)
        self._work.set()
        self._on_change()

    def remove(self, job_id: str) -> bool:
        """Note that a job does not wait any more; False when it was known."""
        if job_id not in self.waiting:
            return False
        self.waiting.discard(job_id)
        if not self.waiting and not self._closing:
            self._work.clear()
        return True

    def stop(self, job_id: str) -> None:
        """Stop a job that the store holds as running."""
        if active := self.active.get(job_id):
            active.stop()
        else:  # between the store and its worker
            self._stopping.add(job_id)

    def skip(self, job_id: str) -> bool:
        """Let a running job leave out the output it is at; False when it does not run, or is being stopped."""
        active = self.active.get(job_id)
        if active is None or active.stopping:
            return False
        active.worker.skip(job_id)
        return True

    async def _until_idle(self) -> None:
        while self.active:
            await asyncio.sleep(0.02)

    async def _serve(self, worker: Supervisor) -> None:
        """Give one worker jobs, one after the other."""
        while not self._closing:
            await self._work.wait()
            try:
                await worker.wait_ready()
                await self._run_next(worker)
            except WorkerUnavailable as error:
                await self._refuse_or_wait(error)
            except StoreUnavailable as error:
                log.error("The queue waits for its storage: %s", error)
                await asyncio.sleep(1.0)

    async def _run_next(self, worker: Supervisor) -> None:
        if self._closing:
            return
        job = await self._store.claim_next()
        if job is None:  # cancelled, or taken by another worker
            await asyncio.sleep(0.01)
            return
        active = self.active[job.id] = Active(job, worker)
        self.remove(job.id)
        self._on_change()
        if job.id in self._stopping:
            asyncio.get_running_loop().call_soon(active.stop)
        try:
            process = await worker.wait_ready()
            ended = await process.run(_run_of(job), lambda event: self._take(active, event))
        except (WorkerDied, WorkerUnavailable) as error:
            active.over()
            await self._after_death(active, error)
            return
        active.over()
        await self._finish(active, active.record.outcome(ended.failure))

    def _take(self, active: Active, event: Event) -> None:
        """Note what a worker tells; the last event is told to others only when the end is in the store."""
        active.record.add(event)
        if active.record.final is None:
            self._on_event(event)

    async def _after_death(self, active: Active, error: FocalError) -> None:
        """Queue a job again whose worker died under it; end it when that was its last chance.

        The first times, it is not held against a job that the worker had a graph beside the queue to run as well.
        """
        job, record = active.job, active.record
        strike = not (isinstance(error, WorkerDied) and error.beside) or job.attempt >= FORGIVEN_STARTS
        if active.stopping:
            await self._finish(active, record.outcome())
        elif job.strikes + strike < MAX_STRIKES:
            log.warning("The worker died under job %s, which is queued again. %s", job.id, error)
            again = await _persist(lambda: self._store.requeue(job.id, job.attempt, strike=strike))
            del self.active[job.id]
            if again is None or not again.is_final:
                self.add(job.id)
                return
            self._ended(again, record)
            self._on_change()
        else:
            message = f"{job.strikes + 1} workers died while they ran this job. {error.message}"
            node = record.current.display_node if record.current else None
            failure = JobFailure(code="worker_died", message=message, hint=error.hint, node=node)
            await self._finish(active, record.outcome(failure))

    async def _finish(self, active: Active, outcome: Outcome) -> None:
        job = active.job
        done = await _persist(lambda: self._store.finish(job.id, job.attempt, outcome))
        del self.active[job.id]
        if done is not None:
            self._ended(done, active.record)
        self._on_change()

    async def _refuse_or_wait(self, error: WorkerUnavailable) -> None:
        """Nobody is kept waiting for a worker that cannot be started; when another works, it will do the job."""
        if all(worker.is_broken for worker in self._workers):
            failure = JobFailure(code=error.code, message=error.message, hint=error.hint)
            for job in await self._store.refuse_queued(failure):
                self.remove(job.id)
                self._ended(job, None)
            self._on_change()
        await asyncio.sleep(0.2)

    def _ended(self, job: Job, record: RunRecord | None) -> None:
        self._stopping.discard(job.id)
        self._on_end(job, record)


async def _persist(write: Callable[[], Awaitable[Job | None]]) -> Job | None:
    """Write what must not be lost, for as long as the storage refuses."""
    tries = 0
    while True:
        try:
            return await write()
        except StoreUnavailable as error:
            log.error("A job's end cannot be kept yet: %s", error)
            await asyncio.sleep(RETRY_STORE_S[min(tries, len(RETRY_STORE_S) - 1)])
            tries += 1


def _run_of(job: Job) -> Run:
    return Run(job.id, job.attempt, job.graph, job.outputs, job.extra)
