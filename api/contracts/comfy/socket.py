"""WS /ws: every job's events to the client that queued it, the queue's length to everybody."""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import msgspec
from anyio import create_task_group
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.contracts.comfy.narration import Message, Narrator
from api.services import services
from engine import events
from engine.jobs.job import Job
from engine.jobs.live import QueueChanged
from engine.jobs.queue import JobService

log = logging.getLogger(__name__)

BACKLOG = 256  # messages kept for a client that reads slowly; beyond it the client is let go
REMEMBERED = 64  # jobs whose narration is kept
_ENDINGS = (events.Succeeded, events.Failed, events.Interrupted)


class Client:
    """One socket and what waits to be sent to it.

    previews: whether it has told its features, as the editor does. Scripts that tell none take every binary frame for a
    result, because stock ComfyUI sends them no previews.
    """

    def __init__(self, sid: str) -> None:
        self.sid = sid
        self.previews = self.with_metadata = False
        self.outbox: asyncio.Queue[Message | bytes | None] = asyncio.Queue(BACKLOG)

    def send(self, message: Message | bytes) -> None:
        """Queue a message; a client that does not read is disconnected, nobody waits for it."""
        try:
            self.outbox.put_nowait(message)
        except asyncio.QueueFull:
            log.warning("websocket client %s reads too slowly and is disconnected", self.sid)
            while not self.outbox.empty():
                self.outbox.get_nowait()
            self.outbox.put_nowait(None)


class Hub:
    """Knows the sockets by session id and passes events on."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs
        self._remaining = jobs.remaining
        self._clients: dict[str, Client] = {}
        self._told: OrderedDict[str, tuple[Narrator, Job]] = OrderedDict()
        self.executing: tuple[str, str] | None = None  # (session id, node) of what runs

    def join(self, client: Client) -> None:
        """Route a session's messages to this socket from now on, also when an older one of that id is still open."""
        self._clients[client.sid] = client

    def leave(self, client: Client) -> None:
        if self._clients.get(client.sid) is client:
            del self._clients[client.sid]

    def queue_changed(self, queue: QueueChanged) -> None:
        """Tell everybody how long the queue is."""
        self._remaining = queue.waiting + queue.running
        for client in self._clients.values():
            client.send(self.status())

    def status(self, **more: Any) -> Message:
        info = {"exec_info": {"queue_remaining": self._remaining}}
        return {"type": "status", "data": {"status": info, **more}}

    async def feed(self, event: events.Event) -> None:
        """Pass one event of any job on."""
        found = await self._narrator(event.job_id)
        if found is None:
            return
        narrator, job = found
        owner = self._clients.get(str(job.extra.get("client_id", "")))
        if isinstance(event, events.Preview):
            if owner and owner.previews:
                owner.send(narrator.picture(event, with_metadata=owner.with_metadata))
            return
        everybody = list(self._clients.values())
        for message in narrator.tell(event):
            broadcast = message["type"] == "execution_interrupted"
            for client in everybody if broadcast else filter(None, [owner]):
                client.send(message)
        self.executing = (owner.sid, narrator.running) if owner and narrator.running else None
        if isinstance(event, _ENDINGS):  # told when the end is stored: the message most clients wait for
            self._told.pop(event.job_id, None)
            if owner is not None:
                owner.send({"type": "executing", "data": {"node": None, "prompt_id": event.job_id}})

    async def _narrator(self, job_id: str) -> tuple[Narrator, Job] | None:
        if job_id not in self._told:
            job = await self._jobs.find(job_id)
            if job is None:
                return None
            self._told[job_id] = Narrator(job_id), job
            while len(self._told) > REMEMBERED:
                self._told.popitem(last=False)
        return self._told[job_id]


async def websocket(socket: WebSocket) -> None:
    """WS /ws?clientId= → status at once, then the events of the jobs that this client queues."""
    hub = services(socket).hub
    client = Client(socket.query_params.get("clientId") or uuid4().hex)
    await socket.accept()
    client.send(hub.status(sid=client.sid))
    if hub.executing and hub.executing[0] == client.sid:
        client.send({"type": "executing", "data": {"node": hub.executing[1]}})
    hub.join(client)
    try:
        async with create_task_group() as both:

            async def until_one_ends(talk: Callable[[WebSocket, Client], Awaitable[None]]) -> None:
                await talk(socket, client)
                both.cancel_scope.cancel()

            both.start_soon(until_one_ends, _deliver)
            both.start_soon(until_one_ends, _listen)
    finally:
        hub.leave(client)


async def _deliver(socket: WebSocket, client: Client) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # RuntimeError: closed while we send
        while (message := await client.outbox.get()) is not None:
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_text(msgspec.json.encode(message).decode())
        await socket.close(1013, "read faster")


async def _listen(socket: WebSocket, client: Client) -> None:
    """The first text frame may tell what the client understands; everything else it says is ignored."""
    first = True
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            received = await socket.receive()
            if received["type"] == "websocket.disconnect":
                return
            if first and received.get("text"):
                _negotiate(client, received["text"], services(socket).settings.max_upload)
            first = False


def _negotiate(client: Client, text: str, max_upload: int) -> None:
    try:
        said = msgspec.json.decode(text)
    except msgspec.DecodeError:
        log.info("websocket client %s sent no JSON", client.sid)
        return
    if isinstance(said, dict) and said.get("type") == "feature_flags" and isinstance(said.get("data"), dict):
        client.previews = True
        client.with_metadata = bool(said["data"].get("supports_preview_metadata"))
        features = {"supports_preview_metadata": True, "max_upload_size": max_upload}
        client.send({"type": "feature_flags", "data": features})


def socket_routes() -> list[BaseRoute]:
    return [WebSocketRoute(path, websocket) for path in ("/ws", "/api/ws")]
