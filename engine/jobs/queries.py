"""The store's queries and changes, each on a connection that is given."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, func, insert, select, update

from engine.jobs.errors import JobIsOpen
from engine.jobs.interface import JobFilter
from engine.jobs.job import FINAL_STATES, Job, JobState, canonical_id, now_ms
from engine.jobs.tables import changes_of, deliveries, job_of, jobs

ORDERS = {
    "submitted": (jobs.c.seq,),
    "finished": (jobs.c.finished_ms, jobs.c.seq),
    "queue": (jobs.c.number, jobs.c.seq),
}

# Made once: building a statement takes longer than SQLite takes to run it.
QUEUED = select(jobs).where(jobs.c.state == JobState.QUEUED.value)
NEXT = QUEUED.order_by(*ORDERS["queue"]).limit(1)
WITH_ID = select(jobs).where(jobs.c.id == bindparam("of_id"))
ADD = insert(jobs)
_CHANGE = update(jobs).where(jobs.c.seq == bindparam("of_seq"))


def settled() -> Select[Any]:
    """Select the finished jobs that owe no webhook, the last finished first."""
    in_debt = owed(select(deliveries.c.job_id))
    final = [state.value for state in FINAL_STATES]
    query = select(jobs).where(jobs.c.state.in_(final), jobs.c.id.not_in(in_debt))
    return query.order_by(*(column.desc() for column in ORDERS["finished"]))


def owed(query: Select[Any]) -> Select[Any]:
    """Narrow a query of deliveries to those that are not given up."""
    return query.where(deliveries.c.dead.is_(False))


def filtered(query: Select[Any], where: JobFilter) -> Select[Any]:
    """Narrow a query of jobs."""
    if where.states is not None:
        query = query.where(jobs.c.state.in_([state.value for state in where.states]))
    if where.contracts is not None:
        query = query.where(jobs.c.contract.in_(where.contracts))
    if where.kinds is not None:
        query = query.where(jobs.c.kind.in_(where.kinds))
    if where.created_from_ms is not None:
        query = query.where(jobs.c.created_ms >= where.created_from_ms)
    if where.created_to_ms is not None:
        query = query.where(jobs.c.created_ms <= where.created_to_ms)
    return query


def find(connection: Connection, job_id: str) -> Job | None:
    """Find a job by its id, dashed or not."""
    row = connection.execute(WITH_ID, {"of_id": canonical_id(job_id)}).mappings().first()
    return job_of(row) if row else None


Move = Callable[[Job], Job | None]


def change_first(
    connection: Connection, query: Select[Any], move: Move, parameters: Mapping[str, Any] | None = None
) -> Job | None:
    """As `change_all`, for a query of at most one job."""
    return next(iter(change_all(connection, query, move, parameters)), None)


def change_all(
    connection: Connection, query: Select[Any], move: Move, parameters: Mapping[str, Any] | None = None
) -> list[Job]:
    """Apply a move to every job of a query and keep what it made of them; an end owes the webhook."""
    changed = []
    for row in connection.execute(query, parameters).mappings().all():
        before = job_of(row)
        after = move(before)
        if after is None:
            continue
        if after is not before:
            connection.execute(_CHANGE, {"of_seq": after.seq, **changes_of(after)})
        if after.is_final and not before.is_final and after.webhook_url:
            debt = {"job_id": after.id, "tries": 0, "due_ms": now_ms(), "dead": False, "last_error": ""}
            connection.execute(insert(deliveries), debt)
        changed.append(after)
    return changed


def position(connection: Connection, job_id: str) -> int | None:
    """How many jobs will be started before this one; None when it does not wait."""
    job = find(connection, job_id)
    if job is None or job.state is not JobState.QUEUED:
        return None
    same = (jobs.c.number == job.number) & (jobs.c.seq < job.seq)
    ahead = select(func.count()).where(jobs.c.state == JobState.QUEUED.value, (jobs.c.number < job.number) | same)
    return connection.execute(ahead).scalar_one()


def delete_job(connection: Connection, job_id: str) -> Job | None:
    """Delete a finished job with what it owes; None when unknown. Raises JobIsOpen."""
    job = find(connection, job_id)
    if job is None:
        return None
    if not job.is_final:
        raise JobIsOpen(job.id, job.state)
    connection.execute(delete(jobs).where(jobs.c.seq == job.seq))
    connection.execute(delete(deliveries).where(deliveries.c.job_id == job.id))
    return job


def prune_jobs(connection: Connection, old: Select[Any]) -> list[Job]:
    """Delete the jobs of a query and give them."""
    gone = [job_of(row) for row in connection.execute(old).mappings().all()]
    for job in gone:
        connection.execute(delete(jobs).where(jobs.c.seq == job.seq))
        connection.execute(delete(deliveries).where(deliveries.c.job_id == job.id))
    return gone
