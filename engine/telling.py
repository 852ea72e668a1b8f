"""What a run tells: its events in order, what its nodes showed, and how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from engine import events
from engine.events import Event
from engine.expansion import Origins
from engine.failure import failed
from engine.plan import Plan, Step

Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. ui: by node id, cached and expanded nodes included, also of a run that failed later.

    error: the event that told of the failure. executed: ids of the nodes whose function ran to its end.
    """

    status: Literal["succeeded", "failed", "interrupted"]
    ui: events.UiByNode
    error: events.Failed | None = None
    executed: list[str] = field(default_factory=list)


class Telling:
    """The voice of one run."""

    def __init__(self, job_id: str, send: Emit, origins: Origins) -> None:
        self.job_id = job_id
        self.origins = origins
        self.ui: events.UiByNode = {}
        self.executed: list[str] = []
        self.aliases: dict[Step, list[str]] = {}
        """Other output nodes of the same content: what the step shows, they show."""
        self._send = send
        self._lock = threading.Lock()
        self._closed = False

    def emit(self, event: Event) -> None:
        """Send an event, from any thread; nothing follows the last one."""
        with self._lock:
            if not self._closed:
                self._send(event)

    def executing(self, node_id: str) -> None:
        """A node's function is about to be called."""
        self.emit(events.Executing(self.job_id, node_id, self.origins.display(node_id)))

    def shown(self, step: Step, ui: dict[str, list[Any]] | None) -> None:
        """A node gave something for the client, or (None) is an output that is there without anything to show."""
        for node_id in (step.node_id, *self.aliases.get(step, ())):
            if ui is not None:
                self.ui[node_id] = ui
            self.emit(events.Executed(self.job_id, node_id, self.origins.display(node_id), ui))

    def succeeded(self) -> RunResult:
        """Everything is there."""
        self._end(events.Succeeded(self.job_id, self.ui))
        return RunResult("succeeded", self.ui, None, self.executed)

    def interrupted(self, step: Step, plan: Plan) -> RunResult:
        """Somebody stopped the run before or inside this step."""
        node_id = self.origins.real(step.node_id)
        self._end(events.Interrupted(self.job_id, node_id, plan.nodes[node_id].class_type, self.executed))
        return RunResult("interrupted", self.ui, None, self.executed)

    def failed(self, step: Step, plan: Plan, error: Exception) -> RunResult:
        """A step raised."""
        event = failed(self.job_id, step, plan, self.origins, error, self.executed)
        self._end(event)
        return RunResult("failed", self.ui, event, self.executed)

    def _end(self, event: Event) -> None:
        self.emit(event)
        with self._lock:
            self._closed = True
