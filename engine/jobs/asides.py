"""Small graphs beside the queue (describing a picture, finding a mask): they run at once, inside the job that runs.

They share its thread, so that nothing runs on the device at the same time: the job is held up between two nodes, or
where a node reports a step, and goes on as if nothing had been. Between two jobs they run like a job.
"""

import asyncio
import queue
import threading
from collections.abc import Callable

from engine.jobs.messages import Answer, Call

OUT_OF_MEMORY = "out_of_memory"


class Asides:
    """The calls that wait for their turn. Made in the thread that runs graphs.

    run: makes a call and gives its answer. send: gives the answer to who asked. later: makes a call when no job runs.
    """

    def __init__(
        self, run: Callable[[Call], Answer], send: Callable[[Answer], None], later: Callable[[Call], None]
    ) -> None:
        self._run = run
        self._send = send
        self._later = later
        self._thread = threading.get_ident()
        self._waiting: queue.SimpleQueue[Call] = queue.SimpleQueue()

    def add(self, call: Call) -> None:
        """Let a call wait; from any thread."""
        self._waiting.put(call)

    def run_waiting(self) -> None:
        """Make all calls that wait. Called when no job runs."""
        while (call := self._next()) is not None:
            self._send(self._run(call))

    def run_inside(self, stop: threading.Event) -> None:
        """Make all calls that wait, inside a job: its run calls this where it can be held up.

        stop: the job's own; one that shall stop is held up no more. Nothing happens in a thread that a node started and
        in an event loop, where no graph can run; the next call comes from elsewhere. What finds no memory beside the
        job is made again when the job has ended.
        """
        if self._waiting.empty() or threading.get_ident() != self._thread or _in_event_loop():
            return
        while not stop.is_set() and (call := self._next()) is not None:
            answer = self._run(call)
            if answer.error_code == OUT_OF_MEMORY:
                self._later(call)
            else:
                self._send(answer)

    def _next(self) -> Call | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
