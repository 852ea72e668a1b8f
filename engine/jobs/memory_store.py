"""The job store in memory: for tests, and for a single run that leaves no history."""

import itertools
from collections.abc import Callable, Iterable

from engine.jobs import moves
from engine.jobs.errors import DuplicateJob, JobIsOpen
from engine.jobs.interface import EVERY_JOB, Delivery, JobFilter, Order, Recovery
from engine.jobs.job import Job, JobFailure, JobState, NewJob, Outcome, canonical_id, new_job, now_ms

ORDERS: dict[Order, Callable[[Job], tuple[float, ...]]] = {
    "submitted": lambda job: (job.seq,),
    "finished": lambda job: (job.finished_ms, job.seq),
    "queue": lambda job: (job.number, job.seq),
}


class MemoryStore:
    """`JobStore` in two dicts. Nothing in it waits, so every method is atomic within one event loop."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._deliveries: dict[int, Delivery] = {}
        self._seq = itertools.count(1)
        self._delivery_ids = itertools.count(1)

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def submit(self, new: NewJob, *, flushed: bool = True) -> Job:
        job = new_job(new, next(self._seq))
        if job.id in self._jobs:
            raise DuplicateJob(job.id)
        self._jobs[job.id] = job
        return job

    async def claim_next(self) -> Job | None:
        waiting = self._in_order("queue", self._where_state(JobState.QUEUED))
        return self._change(waiting[0].id, moves.claim) if waiting else None

    async def finish(self, job_id: str, attempt: int, outcome: Outcome) -> Job | None:
        return self._change(job_id, lambda job: moves.finish(job, attempt, outcome))

    async def requeue(self, job_id: str, attempt: int, *, strike: bool) -> Job | None:
        return self._change(job_id, lambda job: moves.requeue(job, attempt, strike=strike))

    async def cancel(self, job_id: str) -> Job | None:
        return self._change(job_id, moves.cancel)

    async def refuse_queued(self, failure: JobFailure) -> list[Job]:
        return self._change_all(JobState.QUEUED, lambda job: moves.refuse(job, failure))

    async def recover(self) -> Recovery:
        found = self._change_all(JobState.RUNNING, moves.recover)
        return Recovery(
            requeued=tuple(job for job in found if not job.is_final),
            ended=tuple(job for job in found if job.is_final),
        )

    async def get(self, job_id: str) -> Job | None:
        return self._jobs.get(canonical_id(job_id))

    async def list_jobs(
        self,
        *,
        page: int = 0,
        page_size: int | None = None,
        newest_first: bool = True,
        order: Order = "submitted",
        where: JobFilter = EVERY_JOB,
    ) -> list[Job]:
        jobs = self._in_order(order, (job for job in self._jobs.values() if _matches(job, where)))
        jobs = jobs[::-1] if newest_first else jobs
        return jobs if page_size is None else jobs[page * page_size : (page + 1) * page_size]

    async def count(self, where: JobFilter = EVERY_JOB) -> int:
        return sum(_matches(job, where) for job in self._jobs.values())

    async def position(self, job_id: str) -> int | None:
        waiting = self._in_order("queue", self._where_state(JobState.QUEUED))
        ids = [job.id for job in waiting]
        return ids.index(canonical_id(job_id)) if canonical_id(job_id) in ids else None

    async def delete(self, job_id: str) -> Job | None:
        job = self._jobs.get(canonical_id(job_id))
        if job is None:
            return None
        if not job.is_final:
            raise JobIsOpen(job.id, job.state)
        self._forget(job)
        return job

    async def prune(self, keep: int) -> list[Job]:
        in_debt = {delivery.job_id for delivery in self._owed()}
        final = [job for job in self._jobs.values() if job.is_final and job.id not in in_debt]
        gone = self._in_order("finished", final)[::-1][keep:]
        for job in gone:
            self._forget(job)
        return gone

    async def due_deliveries(self, now_ms: int, limit: int) -> list[Delivery]:
        due = [delivery for delivery in self._owed() if delivery.due_ms <= now_ms]
        return sorted(due, key=lambda delivery: delivery.due_ms)[:limit]

    async def next_delivery_ms(self) -> int | None:
        return min((delivery.due_ms for delivery in self._owed()), default=None)

    async def save_delivery(self, delivery: Delivery) -> None:
        if delivery.id in self._deliveries:
            self._deliveries[delivery.id] = delivery

    async def drop_delivery(self, delivery_id: int) -> None:
        self._deliveries.pop(delivery_id, None)

    def _change(self, job_id: str, move: Callable[[Job], Job | None]) -> Job | None:
        before = self._jobs.get(canonical_id(job_id))
        after = move(before) if before else None
        if before is None or after is None:
            return None
        self._jobs[after.id] = after
        if after.is_final and not before.is_final and after.webhook_url:
            delivery = Delivery(next(self._delivery_ids), after.id, due_ms=now_ms())
            self._deliveries[delivery.id] = delivery
        return after

    def _change_all(self, state: JobState, move: Callable[[Job], Job | None]) -> list[Job]:
        changed = [self._change(job.id, move) for job in list(self._where_state(state))]
        return [job for job in changed if job is not None]

    def _where_state(self, state: JobState) -> Iterable[Job]:
        return (job for job in self._jobs.values() if job.state is state)

    def _in_order(self, order: Order, jobs: Iterable[Job]) -> list[Job]:
        return sorted(jobs, key=ORDERS[order])

    def _owed(self) -> Iterable[Delivery]:
        return (delivery for delivery in self._deliveries.values() if not delivery.dead)

    def _forget(self, job: Job) -> None:
        del self._jobs[job.id]
        self._deliveries = {key: value for key, value in self._deliveries.items() if value.job_id != job.id}


def _matches(job: Job, where: JobFilter) -> bool:
    return (
        (where.states is None or job.state in where.states)
        and (where.contracts is None or job.contract in where.contracts)
        and (where.kinds is None or job.kind in where.kinds)
        and (where.created_from_ms is None or job.created_ms >= where.created_from_ms)
        and (where.created_to_ms is None or job.created_ms <= where.created_to_ms)
    )
