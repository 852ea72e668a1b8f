"""One life of a worker process, seen from the API process: start it, talk to it, notice its end."""

import asyncio
import contextlib
import itertools
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from engine.errors import FocalError
from engine.events import Event
from engine.jobs.errors import CallFailed, WorkerDied
from engine.jobs.messages import (
    FRAME_LIMIT_BYTES,
    LENGTH,
    Answer,
    Call,
    Configure,
    Ended,
    Happened,
    Interrupt,
    NotReady,
    Ping,
    Pong,
    Ready,
    Run,
    Skip,
    ToWorker,
    WorkerConfig,
    decode_from_worker,
    frame,
)
from engine.jobs.seal import sealed
from engine.jobs.worker_log import WorkerLog

log = logging.getLogger(__name__)

READ_BUFFER_BYTES = 1 << 20
DYING_S = 0.5


class WorkerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a worker may take, in seconds.

    start_s: from its start until it is ready (imports, disks that sleep). silence_s: without any sign of life.
    stop_s: from a stop until the run has ended; after that it is killed. interval_s: between signs of life.
    pauses_s: before the next start, by how many workers in a row died before they were of use.
    """

    start_s: float = 300.0
    silence_s: float = 30.0
    stop_s: float = 10.0
    interval_s: float = 5.0
    pauses_s: tuple[float, ...] = (0.0, 0.5, 2.0, 10.0, 30.0)


class WorkerProcess:
    """A started child. `ready` and `dead` are futures: what it said of itself, and why it ended."""

    def __init__(self, config: WorkerConfig, limits: WorkerLimits, worker_log: WorkerLog) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[Ready] = loop.create_future()
        self.dead: asyncio.Future[str] = loop.create_future()
        self.has_run = False
        self._ready_at: float | None = None
        self._config = config
        self._limits = limits
        self._log = worker_log
        self._heard = asyncio.Event()
        self._blame = ""
        self._is_told = False
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._asides: set[int] = set()
        self._call_ids = itertools.count(1)
        self._on_event: Callable[[Event], None] = lambda event: None
        self._ended: asyncio.Future[Ended] | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._life: asyncio.Task[None] | None = None

    async def start(self, environment: Mapping[str, str]) -> None:
        """Start the child and say what it is to be. Raises OSError when the system refuses."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "engine.jobs.worker", "--fd", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                env=sealed(environment),
                start_new_session=True,  # Ctrl-C in the terminal is for the server; it stops the worker itself
            )
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=READ_BUFFER_BYTES)
        self._send(Configure(self._config))
        self._life = asyncio.create_task(self._live(self._child, reader), name=f"worker-{self._child.pid}")

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def seconds_ready(self) -> float:
        """How long ago it became ready; 0 when it never did."""
        return time.monotonic() - self._ready_at if self._ready_at is not None else 0.0

    async def run(self, run: Run, on_event: Callable[[Event], None]) -> Ended:
        """Run a graph; `on_event` is called for everything that happens. Raises WorkerDied."""
        self._ended = asyncio.get_running_loop().create_future()
        self._on_event = on_event
        self.has_run = True
        try:
            self._send(run)
            return await self._ended
        finally:
            self._ended = None
            self._on_event = lambda event: None

    async def call(self, method: str, arguments: dict[str, Any]) -> Any:
        """Ask the worker, also while it runs a graph. Raises CallFailed with its error, or WorkerDied."""
        call_id = next(self._call_ids)
        self._calls[call_id] = answer = asyncio.get_running_loop().create_future()
        if method == "run_aside" and not arguments.get("alone"):  # one that shall be alone never runs beside a job
            self._asides.add(call_id)
        try:
            self._send(Call(call_id, method, arguments))
            return await answer
        finally:
            del self._calls[call_id]
            self._asides.discard(call_id)

    def interrupt(self, job_id: str) -> None:
        """Tell the run of this job to stop at its next step; nothing happens when it is not running."""
        if not self.dead.done():
            self._send(Interrupt(job_id))

    def skip(self, job_id: str) -> None:
        """Tell the run of this job to leave out the output it is at; nothing happens when it is not running."""
        if not self.dead.done():
            self._send(Skip(job_id))

    def kill(self, reason: str) -> None:
        """End the child now; `reason` becomes the cause of death."""
        if self._child is not None and self._child.returncode is None:
            self._blame = self._blame or reason
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()

    async def wait_dead(self) -> str:
        """Wait for the end and give its cause."""
        return await asyncio.shield(self.dead)

    def _send(self, message: ToWorker) -> None:
        if self.dead.done() or self._writer is None:
            raise WorkerDied(self.dead.result() if self.dead.done() else "it was not started")
        self._writer.write(frame(message))

    async def _live(self, child: asyncio.subprocess.Process, reader: asyncio.StreamReader) -> None:
        """Follow the child to its end, whichever of its signs comes first, and tell everybody who waits for it."""
        drain = asyncio.create_task(self._drain(child))
        watchers = [
            asyncio.create_task(self._read(reader)),
            asyncio.create_task(self._watch_start()),
            asyncio.create_task(self._watch_silence()),
        ]
        ended = asyncio.create_task(child.wait())
        await asyncio.wait([*watchers, ended], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([ended], timeout=DYING_S)  # its exit status says more than its closed connection
        self.kill("it closed its connection")
        status = await ended
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        await asyncio.wait([drain], timeout=1.0)  # a grandchild may hold the stream open
        drain.cancel()
        if self._writer is not None:
            self._writer.close()
        self._bury(self._cause(status))

    def _bury(self, cause: str) -> None:
        self.dead.set_result(cause)
        if not self.ready.done():
            self.ready.set_exception(WorkerDied(cause))
            self.ready.exception()  # seen: nobody has to wait for it
        for waiting in (*self._calls.values(), self._ended):
            if waiting is not None and not waiting.done():
                waiting.set_exception(WorkerDied(cause, beside=bool(self._asides)))

    def _cause(self, status: int) -> str:
        self._log.flush()
        if self._blame:
            how = self._blame
        elif status < 0:
            how = f"killed by {signal.Signals(-status).name}"
            how += ", as the system does when memory runs out" if status == -signal.SIGKILL else ""
        else:
            how = f"it ended with exit status {status}"
        tail = "" if self._is_told else self._log.tail()  # what it told is the last line of what it wrote
        return f"{how}. It last wrote:\n{tail}" if tail else f"{how}."

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                if length > FRAME_LIMIT_BYTES:
                    self.kill("it sent a message that is too long")
                    return
                self._receive(await reader.readexactly(length))

    def _receive(self, payload: bytes) -> None:
        self._heard.set()
        match decode_from_worker(payload):
            case Happened(event):
                self._on_event(event)
            case Ended() as ended:
                if self._ended is not None and not self._ended.done():
                    self._ended.set_result(ended)
            case Answer() as answer:
                self._settle(answer)
            case Ready() as ready:
                self._ready_at = time.monotonic()
                self.ready.set_result(ready)
            case NotReady(cause):
                self._blame, self._is_told = cause, True
            case Pong():
                pass

    def _settle(self, answer: Answer) -> None:
        waiting = self._calls.get(answer.call_id)
        if waiting is None or waiting.done():
            return
        if answer.error_code:
            waiting.set_exception(CallFailed(answer.error_code, answer.error_message, answer.error_hint))
        else:
            waiting.set_result(answer.value)

    async def _watch_start(self) -> None:
        try:
            async with asyncio.timeout(self._limits.start_s):
                await asyncio.shield(self.ready)
        except TimeoutError:
            self.kill(f"it was not ready within {self._limits.start_s:g} s")
            return
        except FocalError:
            return
        await asyncio.Event().wait()  # ready in time: nothing to watch any more

    async def _watch_silence(self) -> None:
        """Kill a child whose reader thread is stuck. It misses two halves, so that our own pause is not held
        against it. Until its first sign `start_s` is its limit."""
        self._send(Ping())
        await self._heard.wait()
        missed = 0
        while missed < 2:
            await asyncio.sleep(self._limits.interval_s if not missed else 0)
            self._heard.clear()
            self._send(Ping())
            try:
                async with asyncio.timeout(self._limits.silence_s / 2):
                    await self._heard.wait()
                missed = 0
            except TimeoutError:
                missed += 1
        self.kill(f"it gave no sign of life for {self._limits.silence_s:g} s")

    async def _drain(self, child: asyncio.subprocess.Process) -> None:
        assert child.stderr is not None
        while data := await child.stderr.read(8192):
            self._log.feed(data)
