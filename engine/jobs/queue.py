"""The queue as the API process sees it: submit, watch, cancel, look back.

    service = JobService(SqlStore(path), [Supervisor(config)])
    await service.start()
    job = await service.submit(NewJob(kind="prompt", contract="comfy", graph=graph, outputs=("9",)))
    async with service.subscribe(job.id) as events:
        async for event in events: ...
    job = await service.wait(job.id)

A job is in the store before its id is known outside, and its end is in the store before anybody is told of it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from engine.events import Event
from engine.jobs.dispatch import Dispatcher
from engine.jobs.errors import JobNotFound, QueueFull
from engine.jobs.interface import EVERY_JOB, JobFilter, JobStore, Order
from engine.jobs.job import Job, JobState, NewJob, Outcome, canonical_id
from engine.jobs.live import Live, LiveBoard, QueueChanged, Subscription
from engine.jobs.record import RunRecord, final_event
from engine.jobs.supervisor import Supervisor

log = logging.getLogger(__name__)

QUEUED_ONLY = JobFilter(states=frozenset({JobState.QUEUED}))


class Snapshot(msgspec.Struct, frozen=True):
    """What runs, and what waits in the order it will run."""

    running: tuple[Job, ...]
    queued: tuple[Job, ...]


class JobService:
    """Jobs from submission to their end.

    queue_size: jobs that may wait or run, 0 for no limit. on_end: called with every job that has ended, after its end
    is in the store (webhooks, retention); it must not raise.
    """

    def __init__(
        self,
        store: JobStore,
        workers: Sequence[Supervisor],
        *,
        queue_size: int = 100,
        on_end: Callable[[Job], None] | None = None,
    ) -> None:
        self.store = store
        self.workers = tuple(workers)
        self.queue_size = queue_size
        self._on_end = on_end or (lambda job: None)
        self._board = LiveBoard()
        self._dispatcher = Dispatcher(
            store, self.workers, on_event=self._board.publish, on_end=self._announce, on_change=self._tell_change
        )
        self._being_written = 0
        self._waiters: dict[str, list[asyncio.Future[Job]]] = {}

    async def start(self) -> None:
        """Open the store, take back what the last process left, start the workers. Does not wait for them."""
        await self.store.open()
        recovery = await self.store.recover()
        if recovery.requeued:
            log.warning("%d jobs ran when the last server ended; they run again", len(recovery.requeued))
        for job in recovery.ended:
            self._on_end(job)
        for worker in self.workers:
            await worker.start()
        self._dispatcher.start([job.id for job in await self.store.list_jobs(where=QUEUED_ONLY)])

    async def close(self, drain_s: float = 0.0) -> None:
        """Let running jobs finish for `drain_s`, give the rest back to the queue, end the workers, close the store."""
        await self._dispatcher.close(drain_s)
        await asyncio.gather(*(worker.close() for worker in self.workers))
        self._board.close()
        for waiter in [waiter for waiters in self._waiters.values() for waiter in waiters]:
            waiter.cancel()
        await self.store.close()

    async def submit(self, new: NewJob, *, flushed: bool = True) -> Job:
        """Keep a job and queue it; when this returns a crash of the process leaves it, and with `flushed` the loss of
        power too. Raises QueueFull, DuplicateJob, StoreUnavailable.

        flushed: False for a client that waits on its connection, and is told of the job with its end.
        """
        if self.queue_size and self.remaining >= self.queue_size:
            raise QueueFull(self.queue_size)
        self._being_written += 1  # counted before it is written: many submits at once must not overrun the limit
        # The caller may be cancelled (its client went away) while the job is being written: then the job exists.
        return await asyncio.shield(self._submit(new, flushed))

    async def cancel(self, job_id: str) -> bool:
        """Stop a waiting or running job, which will end as cancelled. False when it has ended or is unknown."""
        job = await self.store.cancel(canonical_id(job_id))
        if job is None:
            return False
        if job.state is JobState.RUNNING:
            self._dispatcher.stop(job.id)
            return True
        if self._dispatcher.remove(job.id):
            self._announce(job)
            self._tell_change()
            return True
        return False

    async def stop_current(self) -> list[str]:
        """Stop what runs now, give the ids; what waits is not touched, and with nothing running nothing happens."""
        return [job_id for job_id in self.running_ids if await self.cancel(job_id)]

    def skip_current(self) -> list[str]:
        """Let what runs now leave out the output it is at, give the ids; a job that is being stopped only stops."""
        return [job_id for job_id in self.running_ids if self._dispatcher.skip(job_id)]

    async def cancel_queued(self) -> list[str]:
        """Cancel everything that waits; what runs goes on."""
        return [job_id for job_id in list(self._dispatcher.waiting) if await self.cancel(job_id)]

    async def wait(self, job_id: str) -> Job:
        """Wait for a job's end. Raises JobNotFound."""
        job_id = canonical_id(job_id)
        end: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(job_id, []).append(end)
        try:
            if job_id not in self._dispatcher.waiting:
                job = await self.get(job_id)
                if job.is_final:
                    return job
            return await end
        finally:
            self._forget_waiter(job_id, end)

    async def find(self, job_id: str) -> Job | None:
        """Find a job, waiting, running or long ended; None when unknown. One that runs is at hand: many poll it."""
        active = self._dispatcher.active.get(canonical_id(job_id))
        return active.job if active else await self.store.get(job_id)

    async def get(self, job_id: str) -> Job:
        """As `find`. Raises JobNotFound."""
        job = await self.find(job_id)
        if job is None:
            raise JobNotFound(job_id)
        return job

    async def list_jobs(
        self,
        *,
        page: int = 0,
        page_size: int | None = None,
        newest_first: bool = True,
        order: Order = "submitted",
        where: JobFilter = EVERY_JOB,
    ) -> list[Job]:
        """One page of all jobs, counted from 0; page_size None gives everything."""
        return await self.store.list_jobs(
            page=page, page_size=page_size, newest_first=newest_first, order=order, where=where
        )

    async def count(self, where: JobFilter = EVERY_JOB) -> int:
        """How many jobs the store holds."""
        return await self.store.count(where)

    async def position(self, job_id: str) -> int | None:
        """How many jobs are started before this one; None when it does not wait."""
        return await self.store.position(job_id)

    async def snapshot(self) -> Snapshot:
        """What runs and what waits."""
        queued = await self.store.list_jobs(order="queue", newest_first=False, where=QUEUED_ONLY)
        return Snapshot(tuple(active.job for active in self._dispatcher.active.values()), tuple(queued))

    async def delete(self, job_id: str) -> Job | None:
        """Forget a job, cancelling it first when it is open; gives it for its `files()`, None when unknown."""
        if await self.cancel(job_id):
            await self.wait(job_id)
        job = await self.store.delete(job_id)
        if job is not None:
            self._board.forget(job.id)
        return job

    async def prune(self, keep: int) -> list[Job]:
        """Forget all but the `keep` last finished jobs and give them for their `files()`."""
        gone = await self.store.prune(keep)
        for job in gone:
            self._board.forget(job.id)
        return gone

    def live(self, job_id: str) -> Live:
        """The newest progress and preview of a job; nothing in it before the job runs. Kept for a while after."""
        return self._board[canonical_id(job_id)]

    def subscribe(self, job_id: str | None = None) -> Subscription:
        """Watch a job until its end, or with None all jobs and the queue's length; see Subscription.

        Of a job that has ended already only its last event is told. Raises JobNotFound with the first event.
        """
        if job_id is None:
            return self._board.subscribe(None)
        canonical = canonical_id(job_id)

        async def last_event() -> Event | None:
            job = await self.get(canonical)
            return final_event(job.id, _outcome_of(job)) if job.is_final else None

        return self._board.subscribe(canonical, last_event)

    @property
    def waiting(self) -> int:
        """Jobs that wait, those being written included."""
        return len(self._dispatcher.waiting) + self._being_written

    @property
    def remaining(self) -> int:
        """Jobs that wait or run."""
        return self.waiting + len(self._dispatcher.active)

    @property
    def running_ids(self) -> tuple[str, ...]:
        """Ids of the jobs that run now."""
        return tuple(self._dispatcher.active)

    async def _submit(self, new: NewJob, flushed: bool) -> Job:
        try:
            job = await self.store.submit(new, flushed=flushed)
        finally:
            self._being_written -= 1
        self._dispatcher.add(job.id)
        return job

    def _announce(self, job: Job, record: RunRecord | None = None) -> None:
        """Tell everybody who waits that a job has ended."""
        own = record.final if record is not None and record.outcome().state is job.state else None
        at = record.current if record else None
        self._board.publish(own or final_event(job.id, _outcome_of(job), at))
        for waiter in self._waiters.pop(job.id, []):
            if not waiter.done():
                waiter.set_result(job)
        self._on_end(job)

    def _tell_change(self) -> None:
        self._board.tell_all(QueueChanged(self.waiting, len(self.running_ids)))

    def _forget_waiter(self, job_id: str, end: "asyncio.Future[Job]") -> None:
        waiters = self._waiters.get(job_id, [])
        if end in waiters:
            waiters.remove(end)
        if not waiters:
            self._waiters.pop(job_id, None)


def _outcome_of(job: Job) -> Outcome:
    return Outcome(state=job.state, result=job.result, error=job.error, trace=job.trace)
