"""What can be watched of jobs while they run: the newest state of each, and streams of events. In memory only."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Self

import msgspec

from engine.events import Event, Executing, Failed, Interrupted, Preview, Progress, Started, Succeeded
from engine.jobs.job import now_ms

DROPPABLE_LIMIT = 64
"""Progress and previews that wait for one reader; older ones give way."""

EVENT_LIMIT = 50_000
"""Events that wait for one reader altogether; a reader that is further behind is cut off."""

KEPT_LIVES = 64
"""Jobs whose newest state is kept, running ones and the last finished."""


class QueueChanged(msgspec.Struct, frozen=True):
    """How many jobs wait and run now; told to those who watch all jobs."""

    waiting: int
    running: int


Watched = Event | QueueChanged
Opening = Callable[[], Awaitable[Event | None]]


class NodeProgress(msgspec.Struct, frozen=True):
    """How far a node is; `state` in ComfyUI's words."""

    value: float
    maximum: float
    state: str


class Live(msgspec.Struct, kw_only=True):
    """The newest state of a running job. node: what runs now, as clients know it."""

    job_id: str
    attempt: int = 0
    node: str | None = None
    value: float = 0.0
    maximum: float = 0.0
    text: str | None = None
    preview: bytes | None = None
    preview_format: str | None = None
    preview_width: int = 0
    preview_height: int = 0
    nodes: dict[str, NodeProgress] = {}
    updated_ms: int = 0

    def add(self, event: Event) -> None:
        """Bring the state up to date."""
        self.updated_ms = now_ms()
        match event:
            case Started():
                self.attempt += 1
                self.node, self.value, self.maximum, self.text, self.nodes = None, 0.0, 0.0, None, {}
            case Executing():
                self._leave_node("finished")
                self.node, self.value, self.maximum = event.display_node, 0.0, 0.0
                self.nodes[self.node] = NodeProgress(0.0, 1.0, "running")
            case Progress():
                self.node, self.value, self.maximum = event.node, event.value, event.maximum
                self.text = event.text if event.text is not None else self.text
                self.nodes[event.node] = NodeProgress(event.value, event.maximum, "running")
            case Preview():
                self.preview, self.preview_format = event.data, event.format
                self.preview_width, self.preview_height = event.width, event.height
            case Succeeded():
                self._leave_node("finished")
            case Failed() | Interrupted():
                self._leave_node("error")

    def _leave_node(self, state: str) -> None:
        known = self.nodes.get(self.node) if self.node is not None else None
        if self.node is not None and known is not None:
            value = known.maximum if state == "finished" else known.value
            self.nodes[self.node] = NodeProgress(value, known.maximum, state)


class Subscription:
    """Events of one job, or of all, in order. Ends with the job's last event; otherwise with `close`.

    Use it as `async with board.subscribe(…) as events: async for event in events`. Progress and previews that are not
    read in time give way to newer ones; everything else is kept until it is read.
    """

    def __init__(self, close: Callable[["Subscription"], None], opening: Opening | None) -> None:
        self._close = close
        self._opening = opening
        self._events: deque[Watched] = deque()
        self._droppable = 0
        self._filled = asyncio.Event()
        self._over = False

    def put(self, event: Watched) -> None:
        if self._over:
            return
        if isinstance(event, Progress | Preview):
            if self._droppable >= DROPPABLE_LIMIT:
                self._drop_oldest()
            self._droppable += 1
        self._events.append(event)
        self._over = len(self._events) > EVENT_LIMIT
        self._filled.set()

    def end(self) -> None:
        """No event will follow; what waits is still read."""
        self._over = True
        self._filled.set()

    def close(self) -> None:
        """Stop watching."""
        self._events.clear()
        self.end()
        self._close(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Watched:
        if self._opening is not None:
            opening, self._opening = self._opening, None
            last = await opening()
            if last is not None:
                self.close()
                return last
        while not self._events:
            if self._over:
                self._close(self)
                raise StopAsyncIteration
            self._filled.clear()
            await self._filled.wait()
        event = self._events.popleft()
        self._droppable -= isinstance(event, Progress | Preview)
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    def _drop_oldest(self) -> None:
        for index, event in enumerate(self._events):
            if isinstance(event, Progress | Preview):
                del self._events[index]
                self._droppable -= 1
                return


class LiveBoard:
    """The newest state of every running job, and everybody who watches."""

    def __init__(self) -> None:
        self._lives: OrderedDict[str, Live] = OrderedDict()
        self._watchers: dict[str | None, set[Subscription]] = {}

    def __getitem__(self, job_id: str) -> Live:
        """The newest state of a job; an empty one when nothing is known (any more)."""
        return self._lives.get(job_id) or Live(job_id=job_id)

    def publish(self, event: Event) -> None:
        """Tell an event of a job to all who watch it; its last event ends their streams."""
        live = self._lives.setdefault(event.job_id, Live(job_id=event.job_id))
        self._lives.move_to_end(event.job_id)
        live.add(event)
        while len(self._lives) > KEPT_LIVES:
            self._lives.popitem(last=False)
        is_last = isinstance(event, Succeeded | Failed | Interrupted)
        for watcher in self._watching(event.job_id):
            watcher.put(event)
            if is_last:
                watcher.end()
        self.tell_all(event)

    def tell_all(self, event: Watched) -> None:
        """Tell those who watch all jobs."""
        for watcher in self._watching(None):
            watcher.put(event)

    def forget(self, job_id: str) -> None:
        self._lives.pop(job_id, None)

    def subscribe(self, job_id: str | None, opening: Opening | None = None) -> Subscription:
        """Watch a job, or all with None, from now on. `opening` may say that there is only one event left to tell."""

        def close(subscription: Subscription) -> None:
            watchers = self._watchers.get(job_id, set())
            watchers.discard(subscription)
            if not watchers:
                self._watchers.pop(job_id, None)

        subscription = Subscription(close, opening)
        self._watchers.setdefault(job_id, set()).add(subscription)
        return subscription

    def close(self) -> None:
        """End every stream."""
        for watchers in list(self._watchers.values()):
            for watcher in list(watchers):
                watcher.end()

    def _watching(self, job_id: str | None) -> list[Subscription]:
        return list(self._watchers.get(job_id, ()))
