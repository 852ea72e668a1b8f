"""The worker process: `python -m engine.jobs.worker --fd N`, started by `WorkerProcess`, one per device.

The main thread runs graphs, small ones beside the queue also inside a job (see `Asides`). A reader thread takes what
the API process says meanwhile: interrupts, calls, pings. When the API process is gone the worker ends at once, in the
middle of whatever it does: the job is in the store, and the next server runs it again.
"""

import argparse
import logging
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from engine.errors import FocalError
from engine.events import UiByNode
from engine.jobs.asides import Asides
from engine.jobs.channel import Channel
from engine.jobs.job import JobFailure
from engine.jobs.messages import (
    Answer,
    Call,
    Configure,
    Ended,
    Happened,
    Interrupt,
    MessageToWorker,
    NotReady,
    Ping,
    Pong,
    Ready,
    Run,
    Skip,
    WorkerConfig,
)
from engine.jobs.workbench import Workbench

log = logging.getLogger("focal.worker")

CALL_THREADS = 2
"""Calls answered at the same time, beside a running graph."""

Task = Callable[[], None]


class Worker:
    """Reads messages, keeps the main thread's list of tasks, answers calls."""

    def __init__(self, channel: Channel, config: WorkerConfig) -> None:
        self._channel = channel
        self._config = config
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._interrupts: dict[str, threading.Event] = {}
        self._skips: dict[str, threading.Event] = {}
        self._callers = ThreadPoolExecutor(CALL_THREADS, thread_name_prefix="call")
        self._asides = Asides(self._answer_to, channel.send, self._answer_later)
        self._bench: Workbench | None = None

    def listen(self) -> None:
        """Take messages until the API process is gone, then end the process. Runs in its own thread."""
        try:
            while (message := self._channel.receive()) is not None:
                self._take(message)
        except (msgspec.DecodeError, OSError):
            log.exception("The connection to the server broke")
        finally:
            os._exit(0)  # no clean-up: the main thread may be deep in a kernel, and nothing here is worth waiting for

    def _take(self, message: MessageToWorker) -> None:
        match message:
            case Ping():
                self._channel.send(Pong())
            case Run():
                self._interrupts[message.job_id] = interrupt = threading.Event()
                self._skips[message.job_id] = skip = threading.Event()
                self._tasks.put(lambda: self._run(message, interrupt, skip))
            case Interrupt():
                if flag := self._interrupts.get(message.job_id):
                    flag.set()
            case Skip():
                if flag := self._skips.get(message.job_id):
                    flag.set()
            case Call(method="run_aside"):
                self._interrupts[message.arguments["run_id"]] = threading.Event()
                if message.arguments.get("alone"):
                    self._answer_later(message)
                else:
                    self._asides.add(message)
                    self._tasks.put(self._asides.run_waiting)  # a job that runs takes it sooner
            case Call():
                self._callers.submit(self._answer, message)

    def serve(self) -> int:
        """Set up, say so, then run tasks for ever. Gives the exit status when the set-up fails."""
        try:
            self._bench = Workbench(self._config)
        except Exception as error:  # whatever the nodes' modules raise on import is the cause to report
            log.exception("The worker could not be set up")
            self._channel.send(NotReady(f"{type(error).__name__}: {error}"))
            return 1
        self._channel.send(Ready(os.getpid(), len(self._bench.registry), self._bench.about()))
        self._tasks.put(self._bench.warm_up)
        while True:
            task = self._tasks.get()
            try:
                task()
            except Exception:  # one task's fault is not the next one's; a run reports its own errors before this
                log.exception("A task of the worker failed")

    def _run(self, run: Run, interrupt: threading.Event, skip: threading.Event) -> None:
        failure = None
        try:
            self._ready_bench().run(
                run,
                interrupt,
                lambda event: self._channel.send(Happened(event)),
                skip=skip,
                meanwhile=lambda: self._asides.run_inside(interrupt),
            )
        except Exception as error:  # not a node's fault, those are events: the engine's own, and the job must end
            log.exception("The run of job %s failed", run.job_id)
            code = error.code if isinstance(error, FocalError) else "internal_error"
            failure = JobFailure(code=code, message=str(error), exception_type=type(error).__name__)
        del self._interrupts[run.job_id], self._skips[run.job_id]
        self._channel.send(Ended(run.job_id, run.attempt, failure))

    def _run_aside(
        self, bench: Workbench, run_id: str, graph: dict[str, Any], outputs: list[str], alone: bool = False
    ) -> UiByNode:
        try:
            return bench.run_aside(Run(run_id, 0, graph, tuple(outputs), {"previews": False}), self._interrupts[run_id])
        finally:
            del self._interrupts[run_id]

    def _answer(self, call: Call) -> None:
        self._channel.send(self._answer_to(call))

    def _answer_later(self, call: Call) -> None:
        """Answer when no job runs. Until then it can be given up."""
        self._interrupts.setdefault(call.arguments["run_id"], threading.Event())
        self._tasks.put(lambda: self._answer(call))

    def _answer_to(self, call: Call) -> Answer:
        try:
            return Answer(call.call_id, self._call(call))
        except FocalError as error:
            return Answer(call.call_id, None, error.code, error.message, error.hint)
        except Exception as error:  # raised by a node's validation or the runtime: it belongs to the caller
            log.exception("Call of %s failed", call.method)
            return Answer(call.call_id, None, "call_failed", f"{type(error).__name__}: {error}")

    def _call(self, call: Call) -> Any:
        bench = self._ready_bench()
        match call.method:
            case "validate":
                return bench.validate(**call.arguments)
            case "object_info":
                return bench.object_info(**call.arguments)
            case "runtime":
                return bench.call_runtime(**call.arguments)
            case "run_aside":
                return self._run_aside(bench, **call.arguments)
            case "free":  # between runs, never under one
                self._tasks.put(lambda: bench.free(**call.arguments))
                return None
        raise FocalError("unknown_call", f"The worker has no call {call.method!r}.", "Use the names in Worker._call.")

    def _ready_bench(self) -> Workbench:
        if self._bench is None:
            raise FocalError("worker_unavailable", "The worker is still starting.", "Wait for Ready before you call.")
        return self._bench


def main() -> int:
    """Take over the socket, learn the configuration, serve."""
    parser = argparse.ArgumentParser(prog="engine.jobs.worker")
    parser.add_argument("--fd", type=int, required=True)
    fd = parser.parse_args().fd
    os.set_inheritable(fd, False)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not find a stream of ours
    channel = Channel(socket.socket(fileno=fd))
    first = channel.receive()
    if not isinstance(first, Configure):
        return 2
    config = first.config
    logging.basicConfig(level=config.log_level, format="%(levelname)s %(name)s: %(message)s")
    worker = Worker(channel, config)
    threading.Thread(target=worker.listen, name="listen", daemon=True).start()
    return worker.serve()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # threads that still run must not hold the process
