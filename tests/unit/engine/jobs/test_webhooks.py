"""Webhooks reach a local server, or end as dead; nothing owed is forgotten."""

import asyncio
import contextlib
import json

import pytest

from engine.jobs.job import JobState, NewJob, Outcome
from engine.jobs.memory_store import MemoryStore
from engine.jobs.store import SqlStore
from engine.jobs.webhooks import Webhooks

pytestmark = pytest.mark.anyio


class Receiver:
    """An HTTP server that answers with the given statuses in turn, then 200; "hang" never answers."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.bodies = []
        self.arrived = asyncio.Event()
        self.over = asyncio.Event()
        self.answering = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/hook"
        return self

    async def __aexit__(self, *error):
        self.over.set()
        self.server.close()
        await asyncio.gather(*self.answering)

    async def answer(self, reader, writer):
        self.answering.add(asyncio.current_task())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(
            next(line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length"))
        )
        self.bodies.append(json.loads(await reader.readexactly(length)))
        self.arrived.set()
        status = self.answers.pop(0) if self.answers else 200
        if status == "hang":
            await self.over.wait()
        elif status != "close":
            writer.write(f"HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def payload_of(job):
    return job.webhook_url, {"job_id": job.id, "state": job.state}


@contextlib.asynccontextmanager
async def delivering(store, **settings):
    hooks = Webhooks(store, payload_of, **({"pauses_s": (0.02, 0.02), "timeout_s": 2.0} | settings))
    await hooks.start()
    try:
        yield hooks
    finally:
        await hooks.close()


async def ended_job(store, url):
    await store.submit(NewJob(kind="test", contract="cli", graph={}, webhook_url=url))
    job = await store.claim_next()
    return await store.finish(job.id, job.attempt, Outcome(state=JobState.SUCCEEDED))


async def settled(store, seconds=10.0):
    """Wait until nothing is owed any more."""
    async with asyncio.timeout(seconds):
        while await store.next_delivery_ms() is not None:
            await asyncio.sleep(0.01)


async def dead(store):
    """Whether a delivery was given up: then its job is not pruned as settled, but nothing is due."""
    return [delivery for delivery in store._deliveries.values() if delivery.dead]


async def test_ended_job_is_told_to_its_address():
    store = MemoryStore()
    async with Receiver() as receiver, delivering(store) as hooks:
        job = await ended_job(store, receiver.url)
        hooks.notify(job)
        await settled(store)
    assert receiver.bodies == [{"job_id": job.id, "state": "succeeded"}]
    assert await dead(store) == []


@pytest.mark.parametrize("first", [500, 503, 429, "close", "hang"])
async def test_a_failed_try_is_repeated(first):
    store = MemoryStore()
    async with Receiver(first) as receiver, delivering(store, timeout_s=1.0) as hooks:
        hooks.notify(await ended_job(store, receiver.url))
        await settled(store)
    assert len(receiver.bodies) == 2
    assert await dead(store) == []


@pytest.mark.parametrize("answer", [404, 410, 302])
async def test_a_refusal_is_final_and_redirects_are_not_followed(answer):
    store = MemoryStore()
    async with Receiver(answer) as receiver, delivering(store) as hooks:
        hooks.notify(await ended_job(store, receiver.url))
        await settled(store)
    assert len(receiver.bodies) == 1
    [delivery] = await dead(store)
    assert str(answer) in delivery.last_error


async def test_three_failed_tries_are_enough():
    store = MemoryStore()
    async with Receiver(500, 500, 500, 500) as receiver, delivering(store) as hooks:
        hooks.notify(await ended_job(store, receiver.url))
        await settled(store)
    assert len(receiver.bodies) == 3
    [delivery] = await dead(store)
    assert (delivery.tries, delivery.last_error) == (3, "OSError: its server answered 500")


@pytest.mark.parametrize("url", ["string", "None", "file:///etc/passwd", "ftp://host/x", "http://", "http:///x"])
async def test_what_is_no_web_address_is_never_asked(url):
    store = MemoryStore()
    async with delivering(store) as hooks:
        hooks.notify(await ended_job(store, url))
        await settled(store)
    assert len(await dead(store)) == 1


async def test_a_payload_that_cannot_be_made_is_given_up_like_a_failed_try():
    def broken(job):
        raise KeyError("no such field")

    store = MemoryStore()
    hooks = Webhooks(store, broken, pauses_s=(0.01, 0.01))
    await hooks.start()
    await ended_job(store, "http://127.0.0.1:9/")
    hooks._wake.set()
    await settled(store)
    await hooks.close()
    assert len(await dead(store)) == 1


async def test_a_slow_receiver_does_not_keep_others_waiting():
    store = MemoryStore()
    async with Receiver("hang") as slow, Receiver() as quick, delivering(store, timeout_s=5.0) as hooks:
        hooks.notify(await ended_job(store, slow.url))
        hooks.notify(await ended_job(store, quick.url))
        async with asyncio.timeout(4):
            await quick.arrived.wait()


async def test_what_was_owed_before_a_restart_is_delivered_after_it(tmp_path):
    store = SqlStore(tmp_path / "jobs.sqlite3")
    await store.open()
    async with Receiver() as receiver:
        job = await ended_job(store, receiver.url)
        await store.close()
        store = SqlStore(tmp_path / "jobs.sqlite3")
        await store.open()
        async with delivering(store):
            await settled(store)
        await store.close()
    assert [body["job_id"] for body in receiver.bodies] == [job.id]
