"""How /v1/engine/generate/ answers: one binary picture before a stream before a pending task before a finished one."""

from typing import Literal

from anyio import to_thread
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api import results
from api.contracts.fooocusapi import records, stream
from api.contracts.fooocusapi.schemas import CommonRequest
from api.images import MEDIA_TYPES
from api.json_response import Json
from api.services import Services
from engine.jobs.job import Job


class Mode(Struct, frozen=True):
    """What kind of answer a request wants. media_type: of the binary picture."""

    kind: Literal["binary", "stream", "async", "sync"]
    media_type: str = ""


def mode_of(request: Request, body: CommonRequest) -> Mode:
    """Read the mode, and leave word how a full queue is answered."""
    request.state.queue_full = lambda: Json({"detail": "QUEUE_IS_FULL"}, 409)
    media_type = picture_type(request.headers.get("accept", ""))
    if media_type is not None:
        return Mode("binary", media_type)
    if body.stream_output:
        return Mode("stream")
    return Mode("async" if body.async_process else "sync")


def picture_type(accept: str) -> str | None:
    """The type of picture that an Accept header asks for; PNG for one that is not made here, None for lists."""
    family, slash, kind = accept.partition(";")[0].strip().lower().partition("/")
    if family != "image" or "/" in kind or "," in kind:
        return None
    return MEDIA_TYPES.get(kind if slash else "png", "image/png")


async def answer(served: Services, job: Job, mode: Mode) -> Response:
    """Answer a submitted job: at once, bit by bit, or when it has ended."""
    match mode.kind:
        case "stream":
            told = stream.events(served, job)
            return StreamingResponse(told, media_type="text/event-stream", headers=stream.HEADERS)
        case "async":
            return Json(records.accepted(job))
    ended = await served.jobs.wait(job.id)
    if mode.kind == "sync":
        return Json(records.record(ended, served.settings))
    if not results.made(ended):
        return Response(status_code=204)
    data = await to_thread.run_sync(results.first_picture, ended, mode.media_type, served.settings)
    return Response(data, media_type=mode.media_type)
