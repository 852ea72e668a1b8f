"""What the API process and its worker say to each other: msgpack messages in frames with a length in front.

A frame is the length of what follows (4 bytes, big endian) and one message. Both ends are this package in the same
version, so there is no negotiation; a frame that does not decode ends the worker's life.
"""

import struct
from typing import Any

import msgspec

from engine.events import Event
from engine.jobs.job import JobFailure

LENGTH = struct.Struct(">I")
FRAME_LIMIT_BYTES = 512 * 2**20
"""A longer frame means that the two ends have lost step."""


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told before anything else.

    modules: packages whose nodes it registers. runtime: "module:function", called once with `options` as a dict, gives
    the object nodes see as `Context.runtime`; "" for none. If that object has a `guard`, it is entered around the
    node calls of a run (torch.inference_mode); if it has `warm`, it is called with `warm` before the first job; if it
    has `free`, it is called when memory shall be freed; if it has `apart`, it is entered around a graph that may run
    inside another one's run, to keep what both would change. cache_bytes: budget of the result cache.
    """

    modules: tuple[str, ...] = ("nodes",)
    entry_points: bool = True
    runtime: str = "nodes.runtime:start"
    options: dict[str, Any] = {}
    warm: str | None = None
    output_dir: str = "data/outputs"
    input_dir: str = "data/input"
    temp_dir: str = "data/temp"
    cache_bytes: int = 1 << 30
    log_level: str = "INFO"


class ToWorker(msgspec.Struct, frozen=True, tag_field="do", tag=str.lower):
    """Said by the API process."""


class Configure(ToWorker, frozen=True):
    config: WorkerConfig


class Run(ToWorker, frozen=True):
    """Run a graph; events follow, then one Ended."""

    job_id: str
    attempt: int
    graph: dict[str, Any]
    outputs: tuple[str, ...]
    extra: dict[str, Any]


class Interrupt(ToWorker, frozen=True):
    """Stop this job if it is here; a stop for a job that is not leaves nothing behind."""

    job_id: str


class Skip(ToWorker, frozen=True):
    """Leave out the output that this job is at and go on with its next one."""

    job_id: str


class Call(ToWorker, frozen=True):
    """Ask something, also while a graph runs; one Answer follows."""

    call_id: int
    method: str
    arguments: dict[str, Any] = {}


class Ping(ToWorker, frozen=True):
    """Are you there? One Pong follows, whatever the main thread does."""


class FromWorker(msgspec.Struct, frozen=True, tag_field="did", tag=str.lower):
    """Said by the worker."""


class Ready(FromWorker, frozen=True):
    """Nodes are registered, the runtime stands. about: what the runtime tells of itself."""

    pid: int
    node_count: int
    about: dict[str, Any] = {}


class NotReady(FromWorker, frozen=True):
    """The worker could not be set up and ends."""

    cause: str


class Happened(FromWorker, frozen=True):
    event: Event


class Ended(FromWorker, frozen=True):
    """A run is over and the worker free. How it went was told by events; failure: the engine itself failed."""

    job_id: str
    attempt: int
    failure: JobFailure | None = None


class Answer(FromWorker, frozen=True):
    """What a Call gave: a value, or the code and message of the error."""

    call_id: int
    value: Any = None
    error_code: str = ""
    error_message: str = ""
    error_hint: str = ""


class Pong(FromWorker, frozen=True):
    """Here."""


MessageToWorker = Configure | Run | Interrupt | Skip | Call | Ping
MessageFromWorker = Ready | NotReady | Happened | Ended | Answer | Pong


def _plain(value: Any) -> Any:
    """Make something of what nodes put into their ui beside JSON's types: array scalars become numbers."""
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
decode_to_worker = msgspec.msgpack.Decoder(MessageToWorker).decode
decode_from_worker = msgspec.msgpack.Decoder(MessageFromWorker).decode


def frame(message: ToWorker | FromWorker) -> bytes:
    """Pack a message with its length in front."""
    payload = _encode(message)
    return LENGTH.pack(len(payload)) + payload
