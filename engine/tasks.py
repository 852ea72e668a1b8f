"""Async nodes: an event loop that lives only while there are some, and turns between synchronous nodes.

The loop shares the run's thread, so node code never runs in two threads at once; what an async node hands to a thread
(`asyncio.to_thread`) goes on while a synchronous node computes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine.plan import Step

Finished = list[tuple[Step, "asyncio.Task[Any]"]]

ASYNC_THREADS = 4


class Tasks:
    """The async nodes in flight."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[asyncio.Task[Any], Step] = {}

    def __len__(self) -> int:
        return len(self._running)

    @property
    def oldest(self) -> Step:
        """The node that has been running longest."""
        return next(iter(self._running.values()))

    def start(self, step: Step, work: Coroutine[Any, Any, Any]) -> None:
        """Start a node's coroutine and run it up to its first wait."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            # The loop shuts this down when it is closed, so it belongs to one run.
            self._loop.set_default_executor(ThreadPoolExecutor(ASYNC_THREADS, thread_name_prefix="node"))
        self._running[self._loop.create_task(work)] = step
        self._turn(self._loop)

    def poll(self) -> Finished:
        """Let every coroutine that can go on do so, once; give the finished ones."""
        if self._loop is not None and self._running:
            self._turn(self._loop)
        return self._take()

    def wait(self, timeout_s: float) -> Finished:
        """Wait until one finishes or the time is over; give the finished ones."""
        if self._loop is not None and self._running:
            first = asyncio.wait(self._running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            self._loop.run_until_complete(first)
        return self._take()

    def close(self) -> None:
        """Cancel what still runs and close the loop. A thread cannot be cancelled: its result is dropped."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        self._running.clear()
        loop.close()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(loop.stop)
        loop.run_forever()

    def _take(self) -> Finished:
        done = [(step, task) for task, step in self._running.items() if task.done()]
        for _, task in done:
            del self._running[task]
        return done
