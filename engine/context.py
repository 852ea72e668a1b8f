"""What a running node may touch: progress, previews, the interrupt flag, folders, the submitter's extras."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from engine.errors import Interrupted, Skipped
from engine.events import Event, Preview, Progress
from engine.graph import Graph

EncodedImage = tuple[bytes, int, int]
"""Encoded bytes, width and height in pixels."""


@dataclass(slots=True)
class RunContext:
    """What one run brings with it; the executor makes a `Context` per node from it.

    prompt: the submitted graph as JSON (made from the graph when left empty).
    extra: from the submitter, e.g. {"extra_pnginfo": {...}}.
    runtime: the worker's own object (devices, loaded models). run_guard: entered around all node calls of the run, in
    the thread that runs them (torch.inference_mode in the worker). previews: False when nobody looks. interrupt: set to
    end the run. skip: set to leave out the output that is being made; the run clears it. meanwhile: called wherever the
    run can be held up for a moment, between two nodes and when a node reports; may be called in any thread.
    """

    job_id: str = "job"
    prompt: Mapping[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    output_dir: Path = Path("data/outputs")
    input_dir: Path = Path("data/input")
    temp_dir: Path = Path("data/temp")
    runtime: Any = None
    interrupt: threading.Event = field(default_factory=threading.Event)
    skip: threading.Event = field(default_factory=threading.Event)
    meanwhile: Callable[[], None] = lambda: None
    run_guard: Callable[[], AbstractContextManager[Any]] = nullcontext
    previews: bool = True
    graph: Graph | None = None

    def submitted(self) -> Mapping[str, Any]:
        """Give the submitted graph as JSON."""
        if not self.prompt and self.graph is not None:
            self.prompt = self.graph.to_json()
        return self.prompt


class Context:
    """One node's view of its run. Safe to use from any thread the node starts."""

    __slots__ = ("_emit", "display_node", "node_id", "run")

    def __init__(self, run: RunContext, node_id: str, emit: Callable[[Event], None], display_node: str | None = None):
        self.run = run
        self.node_id = node_id
        self.display_node = node_id if display_node is None else display_node
        self._emit = emit

    @property
    def job_id(self) -> str:
        """The id of the job that runs."""
        return self.run.job_id

    @property
    def prompt(self) -> Mapping[str, Any]:
        """The submitted graph as JSON, after validation's conversions."""
        return self.run.submitted()

    @property
    def extra(self) -> dict[str, Any]:
        """What the submitter sent along."""
        return self.run.extra

    @property
    def output_dir(self) -> Path:
        """Where pictures for the user go."""
        return self.run.output_dir

    @property
    def input_dir(self) -> Path:
        """Where uploaded files lie."""
        return self.run.input_dir

    @property
    def temp_dir(self) -> Path:
        """Where short-lived files go."""
        return self.run.temp_dir

    @property
    def runtime(self) -> Any:
        """The worker-scoped object (devices, residency, folders)."""
        return self.run.runtime

    @property
    def wants_preview(self) -> bool:
        """Whether anybody looks at previews: ask before making one."""
        return self.run.previews

    def check_interrupt(self) -> None:
        """Raise Interrupted when the run was cancelled, Skipped when only this output is not wanted.

        Call it at least once per sampler step, and hold no lock: a small graph may run in here, see `Asides`.
        """
        self.run.meanwhile()
        if self.run.interrupt.is_set():
            raise Interrupted
        if self.run.skip.is_set():
            raise Skipped

    def progress(self, value: float, maximum: float, text: str | None = None) -> None:
        """Tell that `value` of `maximum` parts are done. Raises Interrupted when the run was cancelled."""
        self.check_interrupt()
        self._emit(Progress(self.job_id, self.display_node, min(value, maximum), maximum, text))

    def preview(
        self,
        image: bytes | Callable[[], bytes | EncodedImage],
        *,
        format: Literal["png", "jpeg"] = "png",
        width: int = 0,
        height: int = 0,
    ) -> None:
        """Show a picture of the work. A callable is asked for the bytes, or (bytes, width, height), only if wanted."""
        if not self.wants_preview:
            return
        made = image() if callable(image) else image
        data, width, height = made if isinstance(made, tuple) else (made, width, height)
        self._emit(Preview(self.job_id, self.display_node, format, data, width, height))
