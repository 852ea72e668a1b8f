"""What a job is, which states it can be in, and which moves between them are legal."""

import enum
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

Ui = dict[str, Any]
"""What an output node reports, for example `{"images": [{"filename": …, "subfolder": …, "type": "output"}]}`."""


class JobState(enum.StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not LEGAL_MOVES[self]


LEGAL_MOVES: Mapping[JobState, frozenset[JobState]] = {
    # A queued job fails only when no worker can be started to run it.
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    # Back to the queue: its worker or the whole server died under it.
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.QUEUED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

FINAL_STATES = frozenset(state for state in JobState if state.is_final)
OPEN_STATES = frozenset(JobState) - FINAL_STATES


def may_move(source: JobState, target: JobState) -> bool:
    return target in LEGAL_MOVES[source]


class JobFailure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a job failed. `node` is the node of the submitted graph, None when no node was to blame.

    inputs: what the node was called with, as text.
    """

    code: str
    message: str
    hint: str = ""
    node: str | None = None
    node_type: str | None = None
    exception_type: str | None = None
    traceback: tuple[str, ...] = ()
    inputs: dict[str, list[str]] = {}


class OutputFile(msgspec.Struct, frozen=True):
    """A file that a node wrote; `type` names the folder (output, temp, input), `subfolder` the way below it."""

    filename: str
    subfolder: str = ""
    type: str = "output"


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is submitted.

    graph: API-format graph JSON; outputs: the node ids to run for. request: whatever the contract wants to find
    again in the history. extra: handed to the nodes as `Context.extra`. number: place in the queue, lowest first;
    None takes the next one. at_front takes the negative of the next one, before everything that has none.
    """

    kind: str
    contract: str
    graph: dict[str, Any]
    outputs: tuple[str, ...] = ()
    request: Any = None
    extra: dict[str, Any] = {}
    webhook_url: str | None = None
    number: float | None = None
    at_front: bool = False
    warnings: tuple[str, ...] = ()
    id: str | None = None


class Trace(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which nodes came from the cache and which were executed, in order."""

    cached: tuple[str, ...] = ()
    executed: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one run of a job ended; `result` holds what was finished, also after a failure or a stop."""

    state: JobState
    result: dict[str, Ui] = {}
    error: JobFailure | None = None
    trace: Trace = Trace()


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the store. Times are Unix milliseconds, 0 until they happen.

    seq: order of submission. attempt: how often it was started. strikes: how many workers died under it.
    stopping: a running job that has been told to stop; it can only become cancelled.
    """

    id: str
    seq: int
    number: float
    kind: str
    contract: str
    graph: dict[str, Any]
    outputs: tuple[str, ...]
    request: Any
    extra: dict[str, Any]
    webhook_url: str | None
    warnings: tuple[str, ...]
    state: JobState
    attempt: int = 0
    strikes: int = 0
    stopping: bool = False
    created_ms: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    result: dict[str, Ui] = {}
    error: JobFailure | None = None
    trace: Trace = Trace()

    @property
    def is_final(self) -> bool:
        return self.state.is_final

    def files(self) -> list[OutputFile]:
        """Every file its nodes reported, in the order of the result."""
        return list(_files(self.result))


def new_job(new: NewJob, seq: int) -> Job:
    """Turn a submission into the queued row it becomes."""
    number = new.number if new.number is not None else float(-seq if new.at_front else seq)
    return Job(
        id=canonical_id(new.id) if new.id else str(uuid.uuid4()),
        seq=seq,
        number=number,
        kind=new.kind,
        contract=new.contract,
        graph=new.graph,
        outputs=new.outputs,
        request=new.request,
        extra=new.extra,
        webhook_url=new.webhook_url,
        warnings=new.warnings,
        state=JobState.QUEUED,
        created_ms=now_ms(),
    )


def canonical_id(text: str) -> str:
    """Give the dashed form of a UUID written with or without dashes; any other id stays as it is."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return text


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _files(result: Mapping[str, Ui]) -> Iterator[OutputFile]:
    for ui in result.values():
        for values in ui.values():
            for value in values if isinstance(values, list | tuple) else ():
                if isinstance(value, dict) and isinstance(value.get("filename"), str):
                    yield OutputFile(value["filename"], value.get("subfolder", ""), value.get("type", "output"))
