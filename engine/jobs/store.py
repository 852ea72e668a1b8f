"""The job store on disk: SQLite through SQLAlchemy Core, in WAL mode, every commit flushed to the disk.

`synchronous=FULL`: an acknowledged job survives power loss, not only a killed process. What nobody was told yet (that
a job was started) is not worth a flush of its own: it survives a killed process, and the next flush takes it along.
One connection writes (see `GroupWriter`), a few read beside it.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, delete, event, func, make_url, select, update
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from engine.jobs import moves, queries
from engine.jobs.errors import BadDatabase, DuplicateJob, StoreInUse, StoreTooNew, StoreUnavailable
from engine.jobs.interface import EVERY_JOB, Delivery, JobFilter, Order, Recovery
from engine.jobs.job import Job, JobFailure, JobState, NewJob, Outcome, canonical_id, new_job
from engine.jobs.tables import SCHEMA_VERSION, deliveries, delivery_of, job_of, jobs, metadata, row_of
from engine.jobs.writer import GroupWriter

T = TypeVar("T")

BUSY_TIMEOUT_MS = 5000
"""How long a write waits for another process that holds the database, before it is an error."""


class SqlStore:
    """`JobStore` in a database. `location` is a file, or a SQLAlchemy URL.

    Raises BadDatabase for a URL that names no database that can be used here.
    """

    def __init__(self, location: str | Path) -> None:
        is_url = isinstance(location, str) and "://" in location
        self._lock_fd: int | None = None
        self._next_seq = 1
        try:
            self._url = make_url(str(location)) if is_url else URL.create("sqlite", database=str(location))
            self._writing = _engine(self._url, writes=True)
            self._reading = _engine(self._url, writes=False)
        except (ArgumentError, ModuleNotFoundError) as error:
            raise BadDatabase(error) from error
        self._writer = GroupWriter(self._writing)
        self._readers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="job-store-reader")

    async def open(self) -> None:
        """Create the tables where they are missing. Raises StoreInUse, StoreTooNew, StoreUnavailable."""
        self._lock_fd = _lock(self._url.database) if self._is_sqlite and self._url.database else None
        self._next_seq = await self._read(self._prepare) + 1

    async def close(self) -> None:
        await self._writer.close()
        self._readers.shutdown()
        self._writing.dispose()
        self._reading.dispose()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    async def submit(self, new: NewJob, *, flushed: bool = True) -> Job:
        job = new_job(new, self._next_seq)
        self._next_seq += 1
        row = row_of(job)
        try:
            await self._write(lambda connection: connection.execute(queries.ADD, row), flushed=flushed)
        except IntegrityError as error:
            raise DuplicateJob(job.id) from error
        return job

    async def claim_next(self) -> Job | None:
        return await self._write(
            lambda connection: queries.change_first(connection, queries.NEXT, moves.claim), flushed=False
        )

    async def finish(self, job_id: str, attempt: int, outcome: Outcome) -> Job | None:
        return await self._change(job_id, lambda job: moves.finish(job, attempt, outcome))

    async def requeue(self, job_id: str, attempt: int, *, strike: bool) -> Job | None:
        return await self._change(job_id, lambda job: moves.requeue(job, attempt, strike=strike))

    async def cancel(self, job_id: str) -> Job | None:
        return await self._change(job_id, moves.cancel)

    async def refuse_queued(self, failure: JobFailure) -> list[Job]:
        return await self._write(
            lambda connection: queries.change_all(connection, queries.QUEUED, lambda job: moves.refuse(job, failure))
        )

    async def recover(self) -> Recovery:
        running = select(jobs).where(jobs.c.state == JobState.RUNNING.value)
        found = await self._write(lambda connection: queries.change_all(connection, running, moves.recover))
        return Recovery(
            requeued=tuple(job for job in found if not job.is_final),
            ended=tuple(job for job in found if job.is_final),
        )

    async def get(self, job_id: str) -> Job | None:
        return await self._read(lambda connection: queries.find(connection, job_id))

    async def list_jobs(
        self,
        *,
        page: int = 0,
        page_size: int | None = None,
        newest_first: bool = True,
        order: Order = "submitted",
        where: JobFilter = EVERY_JOB,
    ) -> list[Job]:
        columns = queries.ORDERS[order]
        query = queries.filtered(select(jobs), where).order_by(*(c.desc() if newest_first else c for c in columns))
        if page_size is not None:
            query = query.limit(page_size).offset(page * page_size)
        return await self._read(lambda connection: [job_of(row) for row in connection.execute(query).mappings()])

    async def count(self, where: JobFilter = EVERY_JOB) -> int:
        query = queries.filtered(select(func.count()).select_from(jobs), where)
        return await self._read(lambda connection: connection.execute(query).scalar_one())

    async def position(self, job_id: str) -> int | None:
        return await self._read(lambda connection: queries.position(connection, job_id))

    async def delete(self, job_id: str) -> Job | None:
        return await self._write(lambda connection: queries.delete_job(connection, job_id))

    async def prune(self, keep: int) -> list[Job]:
        old = queries.settled().offset(keep)
        return await self._write(lambda connection: queries.prune_jobs(connection, old))

    async def due_deliveries(self, now_ms: int, limit: int) -> list[Delivery]:
        due = queries.owed(select(deliveries)).where(deliveries.c.due_ms <= now_ms)
        query = due.order_by(deliveries.c.due_ms).limit(limit)
        return await self._read(lambda connection: [delivery_of(row) for row in connection.execute(query).mappings()])

    async def next_delivery_ms(self) -> int | None:
        query = queries.owed(select(func.min(deliveries.c.due_ms)))
        return await self._read(lambda connection: connection.execute(query).scalar_one())

    async def save_delivery(self, delivery: Delivery) -> None:
        changes = {"tries": delivery.tries, "due_ms": delivery.due_ms, "dead": delivery.dead}
        changes["last_error"] = delivery.last_error
        statement = update(deliveries).where(deliveries.c.id == delivery.id).values(changes)
        await self._write(lambda connection: connection.execute(statement))

    async def drop_delivery(self, delivery_id: int) -> None:
        statement = delete(deliveries).where(deliveries.c.id == delivery_id)
        await self._write(lambda connection: connection.execute(statement))

    async def pragmas(self, *names: str) -> dict[str, Any]:
        """Read settings of the writing connection, for `focal doctor`."""
        return await self._write(lambda c: {name: c.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names})

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    def _prepare(self, connection: Connection) -> int:
        """Bring the schema up and give the highest sequence number."""
        if self._is_sqlite:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version > SCHEMA_VERSION:
                raise StoreTooNew(str(self._url.database), version, SCHEMA_VERSION)
        metadata.create_all(connection)
        if self._is_sqlite:
            connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
        highest = connection.execute(select(func.max(jobs.c.seq))).scalar_one()
        connection.commit()
        return highest or 0

    async def _change(self, job_id: str, move: Callable[[Job], Job | None]) -> Job | None:
        one = {"of_id": canonical_id(job_id)}
        return await self._write(lambda connection: queries.change_first(connection, queries.WITH_ID, move, one))

    async def _write(self, work: Callable[[Connection], T], *, flushed: bool = True) -> T:
        try:
            return await self._writer.write(work, flushed=flushed)
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise StoreUnavailable(str(self._url.database), error) from error

    async def _read(self, work: Callable[[Connection], T]) -> T:
        def run() -> T:
            with self._reading.connect() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except SQLAlchemyError as error:
            raise StoreUnavailable(str(self._url.database), error) from error


def _engine(url: URL, *, writes: bool) -> Engine:
    engine = create_engine(url)
    if url.get_backend_name() != "sqlite":
        return engine

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        if writes:
            flushed = connection.get_execution_options().get("flushed", True)
            connection.connection.cursor().execute(f"PRAGMA synchronous={'FULL' if flushed else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _lock(database: str) -> int:
    """Hold the folder for this process; the system lets go when the process ends, however it ends."""
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise StoreInUse(database) from error
    return fd
