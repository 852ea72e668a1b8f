"""Where the worker works: the registered nodes, the runtime with its models, the result cache, the executor."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.cache import ResultCache
from engine.context import RunContext
from engine.errors import FocalError, Interrupted
from engine.events import Event, Failed, Succeeded, UiByNode
from engine.executor import Executor
from engine.jobs.asides import OUT_OF_MEMORY
from engine.jobs.errors import GraphRefused
from engine.jobs.messages import Run, WorkerConfig
from engine.registry import Registry
from engine.validate import validate

log = logging.getLogger("focal.worker")

MEMORY_ERRORS = ("MemoryError", "OutOfMemory", "OutOfMemoryError")
"""How the names of the exceptions end that Python, models/ and torch raise when there is no room."""


class Workbench:
    """Everything a worker needs to run graphs. Made once; raises whatever the nodes or the runtime raise on import."""

    def __init__(self, config: WorkerConfig) -> None:
        started = time.monotonic()
        self._config = config
        self.registry = Registry()
        for module in config.modules:
            self.registry.load_module(module)
        if config.entry_points:
            self.registry.load_entry_points()
        self.runtime = _start_runtime(config)
        cache = ResultCache(config.cache_bytes)
        self._executor = Executor(self.registry, cache)
        self._aside = Executor(self.registry, cache)  # the node objects of a job that is held up are not touched
        log.info("%d node classes ready after %.1f s", len(self.registry), time.monotonic() - started)

    def about(self) -> dict[str, Any]:
        """What the runtime tells of itself, for `focal doctor` and /system_stats."""
        return self.runtime.about() if hasattr(self.runtime, "about") else {}

    def warm_up(self) -> None:
        """Load what the first job will want, where the runtime knows how."""
        warm = getattr(self.runtime, "warm", None)
        if callable(warm) and self._config.warm is not None:
            started = time.monotonic()
            warm(self._config.warm)
            log.info("Warmed up %s in %.1f s", self._config.warm, time.monotonic() - started)

    def run(
        self,
        run: Run,
        interrupt: threading.Event,
        emit: Callable[[Event], None],
        *,
        skip: threading.Event | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Run one graph in this thread; everything that happens goes to `emit`, and `meanwhile` is called in between.

        Raises GraphRefused: a job may have been kept for long, and the nodes or model files may have changed since.
        """
        context = self._context(run)
        context.interrupt, context.skip, context.meanwhile = interrupt, skip or threading.Event(), meanwhile
        self._run(self._executor, run, context, emit)

    def run_aside(self, run: Run, interrupt: threading.Event) -> UiByNode:
        """Run a graph that is no job, also inside one, and give what its nodes had for the client.

        Raises FocalError when it fails, with the code `out_of_memory` when that was the cause.
        """
        last: list[Event] = []
        context = self._context(run)
        context.interrupt = interrupt
        with getattr(self.runtime, "apart", nullcontext)():
            self._run(self._aside, run, context, lambda event: last.__setitem__(slice(None), [event]))
        match last[0]:
            case Succeeded(ui=ui):
                return ui
            case Failed() as failed:
                code = OUT_OF_MEMORY if failed.exception_type.endswith(MEMORY_ERRORS) else failed.code
                raise FocalError(code, f"{failed.node_type}: {failed.message}", failed.hint)
        raise Interrupted

    def _run(self, executor: Executor, run: Run, context: RunContext, emit: Callable[[Event], None]) -> None:
        checked = validate(run.graph, self.registry, run.outputs or None, context=context)
        if checked.error is not None or set(run.outputs) - set(checked.outputs):
            raise GraphRefused(checked.error, checked.node_errors)
        executor.run(checked.graph, checked.outputs, context=context, emit=emit)

    def validate(self, graph: dict[str, Any], targets: list[str] | None = None) -> dict[str, Any]:
        """Every reason the graph is refused, and the graph as it will run: the fields of `Validation` as JSON."""
        checked = validate(graph, self.registry, targets, context=self._context(Run("", 0, graph, (), {})))
        return {
            "outputs": checked.outputs,
            "node_errors": checked.node_errors,
            "error": checked.error,
            "graph": checked.graph.to_json(),
        }

    def object_info(self, class_type: str | None = None) -> dict[str, Any]:
        return self.registry.object_info(class_type)

    def call_runtime(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        """Call a public method of the runtime object. Raises FocalError when it has none of that name."""
        method = None if name.startswith("_") else getattr(self.runtime, name, None)
        if not callable(method):
            raise FocalError("unknown_call", f"The runtime has no method {name!r}.", "Add it to the runtime object.")
        return method(**(arguments or {}))

    def _context(self, run: Run) -> RunContext:
        return RunContext(
            job_id=run.job_id,
            prompt=run.graph,
            extra=run.extra,
            output_dir=Path(self._config.output_dir),
            input_dir=Path(self._config.input_dir),
            temp_dir=Path(self._config.temp_dir),
            runtime=self.runtime,
            run_guard=getattr(self.runtime, "guard", nullcontext),
            previews=bool(run.extra.get("previews", True)),
        )

    def free(self, models: bool = True, results: bool = True) -> None:
        """Give memory back: loaded models, kept results."""
        if results:
            self._executor.free()
            self._aside.free()
        free = getattr(self.runtime, "free", None)
        if models and callable(free):
            free()


def _start_runtime(config: WorkerConfig) -> Any:
    if not config.runtime:
        return None
    module, _, function = config.runtime.partition(":")
    return getattr(import_module(module), function)(config.options)
