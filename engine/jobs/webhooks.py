"""Delivers webhooks from the outbox: rows that were written with the jobs' ends, and stay until they are delivered.

At least once: after a crash between sending and noting it, a webhook is sent again. A failed try is repeated after a
pause; what is refused for good, or fails too often, stays in the store as dead.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
from msgspec.structs import replace

from engine.errors import FocalError
from engine.jobs.interface import Delivery, JobStore
from engine.jobs.job import Job, now_ms

log = logging.getLogger(__name__)

PAUSES_S = (5.0, 30.0)
"""Before the second and the third try."""

TIMEOUT_S = 15.0
AT_ONCE = 4
AGAIN = frozenset({408, 429})
"""Statuses below 500 that say "later"; any other answer but 2xx will not change by asking again."""

PayloadOf = Callable[[Job], tuple[str, Any]]
"""Gives the URL to post to and what to post as JSON."""

Post = Callable[[str, bytes], Awaitable[int]]
"""Posts JSON text to a URL and gives the HTTP status. Raises OSError or HTTPError when nobody answers."""


class DeliveryRefused(FocalError):
    """The receiver does not want it, or cannot be a receiver: no further try."""

    def __init__(self, cause: str) -> None:
        super().__init__("webhook_refused", f"The webhook was refused: {cause}.", "Check the address and its server.")


class Webhooks:
    """The delivery loop. Give `notify` to the JobService as `on_end`, or call it from there.

    pauses_s: before each further try, so there is one try more than pauses. post: how to send, for tests.
    """

    def __init__(
        self,
        store: JobStore,
        payload_of: PayloadOf,
        *,
        pauses_s: tuple[float, ...] = PAUSES_S,
        timeout_s: float = TIMEOUT_S,
        post: Post | None = None,
    ) -> None:
        self._store = store
        self._payload_of = payload_of
        self._pauses_s = pauses_s
        self._timeout_s = timeout_s
        self._post = post or self._post_http
        self._client: httpx2.AsyncClient | None = None
        self._wake = asyncio.Event()
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to deliver, first of all what the last process left. The store must be open."""
        self._client = httpx2.AsyncClient(timeout=self._timeout_s, follow_redirects=False)
        self._loop = asyncio.create_task(self._deliver_all(), name="webhooks")

    async def close(self) -> None:
        """Stop; what is under way is tried again by the next process."""
        tasks = [task for task in (self._loop, *self._under_way.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def notify(self, job: Job) -> None:
        """Look at the outbox now: this job has ended."""
        if job.webhook_url:
            self._wake.set()

    async def _deliver_all(self) -> None:
        while True:
            self._wake.clear()
            try:
                pause_s = await self._start_due()
            except FocalError as error:
                log.error("Webhooks wait for the storage: %s", error)
                pause_s = self._pauses_s[0] if self._pauses_s else 1.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    async def _start_due(self) -> float | None:
        """Start what is due, as far as there is room, and give the seconds until more falls due."""
        due = await self._store.due_deliveries(now_ms(), AT_ONCE + len(self._under_way))
        for delivery in due:
            if delivery.id not in self._under_way and len(self._under_way) < AT_ONCE:
                task = asyncio.create_task(self._deliver(delivery), name=f"webhook-{delivery.id}")
                self._under_way[delivery.id] = task
                task.add_done_callback(lambda task, key=delivery.id: self._done(key, task))
        if len(self._under_way) >= AT_ONCE:
            return None  # the next to end wakes us
        next_ms = await self._store.next_delivery_ms()
        return None if next_ms is None else max(0.05, (next_ms - now_ms()) / 1000)

    def _done(self, delivery_id: int, task: "asyncio.Task[None]") -> None:
        del self._under_way[delivery_id]
        self._wake.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("A webhook could not be made", exc_info=error)

    async def _deliver(self, delivery: Delivery) -> None:
        """Try once. The try is noted before it is made, so that what breaks in it is not tried for ever."""
        job = await self._store.get(delivery.job_id)
        if job is None:
            await self._store.drop_delivery(delivery.id)
            return
        tried = self._after_try(delivery)
        await self._store.save_delivery(tried)
        try:
            if tried.dead:
                return
            await self._send(job)
        except DeliveryRefused as error:
            tried = replace(tried, dead=True, last_error=str(error))
        except (OSError, httpx2.HTTPError) as error:
            last = tried.tries > len(self._pauses_s)
            tried = replace(tried, dead=last, last_error=f"{type(error).__name__}: {error}")
        else:
            await self._store.drop_delivery(delivery.id)
            return
        log.warning("Webhook of job %s, try %d: %s", job.id, tried.tries, tried.last_error)
        await self._store.save_delivery(tried)

    def _after_try(self, delivery: Delivery) -> Delivery:
        if delivery.tries > len(self._pauses_s):  # its last try broke off
            return replace(delivery, dead=True)
        pause_s = (*self._pauses_s, 0.0)[delivery.tries]
        return replace(delivery, tries=delivery.tries + 1, due_ms=now_ms() + int(pause_s * 1000))

    async def _send(self, job: Job) -> None:
        url, payload = self._payload_of(job)
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise DeliveryRefused(f"{url[:200]!r} is not an http(s) address")
        status = await self._post(url, msgspec.json.encode(payload))
        if 200 <= status < 300:
            return
        if status < 500 and status not in AGAIN:
            raise DeliveryRefused(f"its server answered {status}")
        raise OSError(f"its server answered {status}")

    async def _post_http(self, url: str, body: bytes) -> int:
        """Post and look at the status only: the answer's body may be of any length."""
        assert self._client is not None
        headers = {"content-type": "application/json", "user-agent": "focal"}
        async with asyncio.timeout(self._timeout_s):  # httpx2 bounds each read, a trickle could last for ever
            async with self._client.stream("POST", url, content=body, headers=headers) as response:
                return response.status_code
