"""Results by content key, under a byte budget.

What goes first is what saves the least run time per byte it occupies. Every entry's worth is raised, whenever it is
used, by the worth of the last one evicted (GreedyDual-Size: Cao and Irani, "Cost-Aware WWW Proxy Caching
Algorithms", 1997), so that what was dear long ago gives way to what is used now.
"""

from __future__ import annotations

import heapq
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from engine.signature import PLAIN

ENTRY_BYTES = 512
"""Charged for each entry on top of its values: key, lists and bookkeeping."""


SMALL_BYTES = 64


Outputs = tuple[tuple[Any, ...], ...]
"""One tuple per output slot: its elements, nearly always one."""


class Result(NamedTuple):
    """What a node run gave, and what it showed."""

    outputs: Outputs
    ui: dict[str, list[Any]] | None = None


Place = tuple[float, int, bytes]
"""Where an entry stands in the queue to leave: its priority, among equals when it was used last; and its key."""


class _Entry:
    __slots__ = ("bytes", "outputs", "place", "ui", "worth")

    def __init__(self, result: Result, size: int, worth: float, place: Place) -> None:
        self.outputs, self.ui = result
        self.bytes = size
        self.worth = worth
        self.place = place


class ResultCache:
    """Finished results. Safe to clear from another thread while a run uses it.

    budget_bytes: upper bound of all entries together; 0 keeps nothing. size_of: bytes of one output value.
    """

    def __init__(self, budget_bytes: int = 2 << 30, size_of: Callable[[Any], int] | None = None) -> None:
        self.budget_bytes = budget_bytes
        self.bytes = 0
        self.hits = 0
        self.stores = 0
        self.evictions = 0
        self._size_of = size_of or value_bytes
        self._entries: dict[bytes, _Entry] = {}
        self._queue: list[Place] = []
        self._age = 0.0
        self._uses = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: bytes) -> bool:
        return key in self._entries

    def get(self, key: bytes) -> Result | None:
        """Find a result and note its use."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._uses = uses = self._uses + 1
        entry.place = (self._age + entry.worth, uses, key)  # the queue is put right when it comes to its end
        self.hits += 1
        return Result(entry.outputs, entry.ui)

    def put(self, key: bytes, result: Result, seconds: float) -> None:
        """Keep a result that took `seconds` to make; a result larger than the whole budget is not kept."""
        size = ENTRY_BYTES
        for values in result.outputs:
            for value in values:
                size += self._size_of(value)
        if size > self.budget_bytes:
            return
        with self._lock:
            self._drop(key)
            worth = seconds / size
            self._uses = uses = self._uses + 1
            place = (self._age + worth, uses, key)
            self._entries[key] = _Entry(result, size, worth, place)
            self.bytes += size
            self.stores += 1
            heapq.heappush(self._queue, place)
            if self.bytes > self.budget_bytes:
                self._evict()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries = {}
            self._queue = []
            self.bytes = 0
            self._age = 0.0

    def resize(self, budget_bytes: int) -> None:
        """Change the budget and evict down to it."""
        with self._lock:
            self.budget_bytes = budget_bytes
            self._evict()

    def _evict(self) -> None:
        queue = self._queue
        while self.bytes > self.budget_bytes and queue:
            place = heapq.heappop(queue)
            entry = self._entries.get(place[2])
            if entry is None or entry.place < place:
                continue  # gone, or put again and queued anew
            if entry.place > place:
                heapq.heappush(queue, entry.place)
                continue
            self._age = place[0]
            self._drop(place[2])
            self.evictions += 1

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.bytes


def value_bytes(value: Any) -> int:
    """Estimate the memory behind a value: containers are walked, tensors and arrays count their whole storage.

    A thing that knows better has an attribute `cache_bytes`. Shared parts count once per value.
    """
    if type(value) in PLAIN:
        return SMALL_BYTES if type(value) is not str else SMALL_BYTES + len(value)
    total = 0
    seen: set[int] = set()
    pending = [value]
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        known = getattr(item, "cache_bytes", getattr(item, "nbytes", None))
        storage: Any = getattr(item, "untyped_storage", None)  # a torch view keeps all of its base alive
        if storage is not None:
            total += storage().nbytes()
        elif isinstance(known, int):
            total += known
        else:
            total += sys.getsizeof(item, 64)
            if isinstance(item, Mapping):
                pending.extend(item.keys())
                pending.extend(item.values())
            elif isinstance(item, list | tuple | set | frozenset):
                pending.extend(item)
    return total
