"""What a job store promises. `SqlStore` keeps it on disk, `MemoryStore` keeps it for tests and single runs."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from engine.jobs.job import Job, JobFailure, JobState, NewJob, Outcome

Order = Literal["submitted", "finished", "queue"]
"""By submission, by the time of the end, or as the queue will hand them out."""


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to look at; None means all. Times are Unix milliseconds of the submission, both ends included."""

    states: frozenset[JobState] | None = None
    contracts: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    created_from_ms: int | None = None
    created_to_ms: int | None = None


EVERY_JOB = JobFilter()


class Recovery(msgspec.Struct, frozen=True):
    """What a store found when it was opened after a crash."""

    requeued: tuple[Job, ...] = ()
    ended: tuple[Job, ...] = ()


class Delivery(msgspec.Struct, frozen=True):
    """A webhook that is owed: written with the job's end, gone when delivered, `dead` when given up."""

    id: int
    job_id: str
    tries: int = 0
    due_ms: int = 0
    dead: bool = False
    last_error: str = ""


class JobStore(Protocol):
    """Every method is one transaction: when it has returned, its effect survives a crash of the process.

    Raises StoreUnavailable when the storage refuses (disk full, locked by somebody else, damaged).
    """

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def submit(self, new: NewJob, *, flushed: bool = True) -> Job:
        """Keep a new job as queued; flushed: so that the loss of power leaves it too. Raises DuplicateJob when its id
        is taken."""
        ...

    async def claim_next(self) -> Job | None:
        """Make the first queued job running and give it out; None when nothing waits. Not flushed: a job whose start
        was lost with the power starts again."""
        ...

    async def finish(self, job_id: str, attempt: int, outcome: Outcome) -> Job | None:
        """End a job and owe its webhook; None when the attempt is no longer the job's current one."""
        ...

    async def requeue(self, job_id: str, attempt: int, *, strike: bool) -> Job | None:
        """Give a running job back to the queue, at its old place; None as with `finish`."""
        ...

    async def cancel(self, job_id: str) -> Job | None:
        """End a queued job, mark a running one as stopping; the job as it is now, None when unknown."""
        ...

    async def refuse_queued(self, failure: JobFailure) -> list[Job]:
        """Fail every queued job: nothing can run them."""
        ...

    async def recover(self) -> Recovery:
        """Put jobs that were running when the last process died back into the queue."""
        ...

    async def get(self, job_id: str) -> Job | None:
        """Find a job by its id, dashed or not."""
        ...

    async def list_jobs(
        self,
        *,
        page: int = 0,
        page_size: int | None = None,
        newest_first: bool = True,
        order: Order = "submitted",
        where: JobFilter = EVERY_JOB,
    ) -> list[Job]:
        """One page, counted from 0; page_size None gives everything."""
        ...

    async def count(self, where: JobFilter = EVERY_JOB) -> int: ...

    async def position(self, job_id: str) -> int | None:
        """How many jobs will be started before this one; None when it does not wait."""
        ...

    async def delete(self, job_id: str) -> Job | None:
        """Forget a finished job and give it back for its files; None when unknown. Raises JobIsOpen."""
        ...

    async def prune(self, keep: int) -> list[Job]:
        """Forget all but the `keep` last finished jobs and give them back for their files; none that owes a webhook."""
        ...

    async def due_deliveries(self, now_ms: int, limit: int) -> Sequence[Delivery]:
        """Webhooks whose time has come, longest overdue first."""
        ...

    async def next_delivery_ms(self) -> int | None:
        """When the next webhook falls due; None when nothing is owed."""
        ...

    async def save_delivery(self, delivery: Delivery) -> None:
        """Note a failed try."""
        ...

    async def drop_delivery(self, delivery_id: int) -> None:
        """Forget a delivered webhook."""
        ...
