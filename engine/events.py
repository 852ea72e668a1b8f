"""What happens during a run, as values: made by the executor, sent to the API process as msgpack.

Order within a job: Started, Cached, then Executing, Progress, Preview, Executed per node, and at the end exactly one
of Succeeded, Failed, Interrupted. `node` is the node as it runs (an expanded node has an id of its own),
`display_node` the one a client shows for it; they are equal for every node of the submitted graph.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

UiByNode = dict[str, dict[str, list[Any]]]


class EventBase(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    """Every event says which job it belongs to."""

    job_id: str


class Started(EventBase, frozen=True):
    """The run began."""


class Cached(EventBase, frozen=True):
    """Sent once: the nodes whose results are known already, needed or not."""

    nodes: list[str]


class Executing(EventBase, frozen=True):
    """A node's function is about to be called (again after a lazy input was fetched)."""

    node: str
    display_node: str


class Progress(EventBase, frozen=True):
    """`value` of `maximum` parts of the node are done; `node` is the display node."""

    node: str
    value: float
    maximum: float
    text: str | None = None


class Preview(EventBase, frozen=True):
    """An encoded picture of what the node works on; width and height in pixels; `node` is the display node."""

    node: str
    format: Literal["png", "jpeg"]
    data: bytes
    width: int
    height: int


class Executed(EventBase, frozen=True):
    """A node gave something for the client, now or when its cached result was made (`ui` None: it had nothing)."""

    node: str
    display_node: str
    ui: dict[str, list[Any]] | None


class Blocked(EventBase, frozen=True):
    """An ExecutionBlocker with a message reached a node, which does not run; the rest of the graph does."""

    node: str
    node_type: str
    message: str


class Failed(EventBase, frozen=True):
    """A node of the submitted graph raised. code: the error's stable code, or "node_failed"."""

    node: str
    node_type: str
    exception_type: str
    message: str
    traceback: list[str]
    code: str
    hint: str = ""
    executed: list[str] = []
    inputs: dict[str, list[str]] = {}


class Interrupted(EventBase, frozen=True):
    """The run was cancelled before or inside this node."""

    node: str
    node_type: str
    executed: list[str] = []


class Succeeded(EventBase, frozen=True):
    """Every output is there. ui: by node id, cached ones included."""

    ui: UiByNode


Event = Started | Cached | Executing | Progress | Preview | Executed | Blocked | Failed | Interrupted | Succeeded

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


def encode(event: Event) -> bytes:
    """Pack an event as msgpack."""
    return _encoder.encode(event)


def decode(data: bytes) -> Event:
    """Unpack what `encode` made; msgspec.ValidationError when it is something else."""
    return _decoder.decode(data)
