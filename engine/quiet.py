"""Keeping the cyclic garbage collector out of work that makes no garbage.

Reading, checking and planning a graph only adds objects that stay. The collector, set off by their number, would walk
through all of them again and again: at 10,000 nodes that is most of the time.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Pause:
    """How many threads want quiet, and whether the collector was on before the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wishes = 0
        self.was_on = False


_pause = _Pause()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Run a block without automatic garbage collection; never around a node's function, which may free memory by it."""
    with _pause.lock:
        if _pause.wishes == 0:
            _pause.was_on = gc.isenabled()
            gc.disable()
        _pause.wishes += 1
    try:
        yield
    finally:
        with _pause.lock:
            _pause.wishes -= 1
            if _pause.wishes == 0 and _pause.was_on:
                gc.enable()
