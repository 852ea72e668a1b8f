"""A task's progress as server-sent events, in the bytes that clients of FooocusAPI parse.

Each event is a `data:` line with JSON, an empty `data:` line and a blank line, written on its own and at most five
times a second; every 15 seconds there is a comment. Clients stop at the message "Finished".
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from api.contracts.fooocusapi import records
from api.services import Services
from engine.jobs.job import Job, JobState

PAUSE_S = 0.2
PING_S = 15.0
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "keep-alive"}
PNG = b"\x89PNG"


async def events(served: Services, job: Job) -> AsyncIterator[bytes]:
    """Tell of a job until its end. Who leaves ends the telling and not the job."""
    end = asyncio.ensure_future(served.jobs.wait(job.id))
    last, pinged = None, time.monotonic()
    try:
        while not end.done():
            shown = served.progress.of(job.id)
            if shown != last and shown.text is not None:
                last = shown
                yield event(min(shown.percent, 99), shown.text, preview=data_uri(shown.preview))
            if time.monotonic() - pinged >= PING_S:
                pinged = time.monotonic()
                yield f": ping - {datetime.now(UTC)}\r\n\r\n".encode()
            await asyncio.wait({end}, timeout=PAUSE_S)
        yield ending(end.result(), served)
    finally:
        end.cancel()


def ending(job: Job, served: Services) -> bytes:
    """The last event: the pictures, and why there are no more."""
    message = {JobState.SUCCEEDED: "Finished", JobState.CANCELLED: "Stopped"}.get(job.state)
    if message is None:
        message = f"Error: {job.error.message if job.error else 'the task failed'}"
    images = [] if job.state is JobState.FAILED else records.urls(job, served.settings)
    return event(100, message, images=images)


def event(progress: int, message: str, *, preview: str | None = None, images: list[str] | None = None) -> bytes:
    """One event, byte for byte as FooocusAPI writes it."""
    body = {"progress": progress, "preview": preview, "message": message, "images": images or []}
    return f"data: {json.dumps(body)}\r\ndata: \r\n\r\n".encode()


def data_uri(preview: bytes | None) -> str | None:
    """An encoded preview with its type in front."""
    if preview is None:
        return None
    kind = "png" if preview.startswith(PNG) else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(preview).decode()}"
