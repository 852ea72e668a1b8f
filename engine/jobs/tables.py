"""The tables of the job store, and a job as a row.

What never changes after the submission is one JSON document (`body`), what the end brings is another (`ending`);
columns exist for what is searched, sorted or compared.
"""

from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
)

from engine.jobs.interface import Delivery
from engine.jobs.job import Job, JobFailure, JobState, Trace, Ui

SCHEMA_VERSION = 1

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("id", String(128), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("number", Float, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("contract", String(32), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("strikes", Integer, nullable=False),
    Column("stopping", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger, nullable=False),
    Column("webhook_url", Text),
    Column("body", LargeBinary, nullable=False),
    Column("ending", LargeBinary),
    Index("jobs_in_queue_order", "state", "number", "seq"),
    Index("jobs_by_end", "finished_ms", "seq"),
    Index("jobs_by_submission", "created_ms"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", String(128), nullable=False, index=True),
    Column("tries", Integer, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("dead", Boolean, nullable=False),
    Column("last_error", Text, nullable=False),
    Index("deliveries_by_time", "dead", "due_ms"),
)


class Body(msgspec.Struct, frozen=True):
    graph: dict[str, Any]
    outputs: tuple[str, ...]
    request: Any
    extra: dict[str, Any]
    warnings: tuple[str, ...]


class Ending(msgspec.Struct, frozen=True):
    result: dict[str, Ui]
    error: JobFailure | None
    trace: Trace


NO_ENDING = Ending({}, None, Trace())

_encode = msgspec.json.Encoder().encode
_decode_body = msgspec.json.Decoder(Body).decode
_decode_ending = msgspec.json.Decoder(Ending).decode


def row_of(job: Job) -> dict[str, Any]:
    """Give every column of a job."""
    body = Body(job.graph, job.outputs, job.request, job.extra, job.warnings)
    fixed = ("seq", "id", "number", "kind", "contract", "created_ms", "webhook_url")
    return {name: getattr(job, name) for name in fixed} | {"body": _encode(body)} | changes_of(job)


def changes_of(job: Job) -> dict[str, Any]:
    """Give the columns of a job that its moves change."""
    changing = ("attempt", "strikes", "stopping", "started_ms", "finished_ms")
    ending = _encode(Ending(job.result, job.error, job.trace)) if job.is_final else None
    return {name: getattr(job, name) for name in changing} | {"state": job.state.value, "ending": ending}


def job_of(row: RowMapping) -> Job:
    """Read a job back from its row."""
    columns = dict(row)
    body = _decode_body(columns.pop("body"))
    ending_json = columns.pop("ending")
    ending = _decode_ending(ending_json) if ending_json else NO_ENDING
    columns["state"] = JobState(columns["state"])
    return Job(**columns, **msgspec.structs.asdict(body), **msgspec.structs.asdict(ending))


def delivery_of(row: RowMapping) -> Delivery:
    return Delivery(**row)
