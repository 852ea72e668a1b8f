"""How a generation route answers: sync list, async job or one binary picture, and what stands there when it fails."""

from typing import Any, Literal

from anyio import to_thread
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from api.contracts.fooocus_api import replies
from api.contracts.fooocus_api.replies import GeneratedImage
from api.images import accepted_type
from api.json_response import Json
from api.results import first_picture
from api.services import Services, services
from engine.jobs.job import Job

STRICT_STATUS = {"QUEUE_IS_FULL": 409, "USER_CANCEL": 400, "ERROR": 500}


class Mode(Struct, frozen=True):
    """What kind of answer a request wants. media_type: of the binary picture."""

    kind: Literal["sync", "async", "binary"]
    media_type: str = ""
    base64_raw: bool | None = None


def mode_of(request: Request, *, async_process: bool) -> Mode:
    """Read the mode; who asks for a job id gets one, whatever Accept says. Kept on the request for a full queue."""
    accept = request.query_params.get("accept") or request.headers.get("accept", "")
    wanted = accepted_type(accept)
    asked = request.query_params.get("base64", "").lower()
    raw = {"raw": True, "data": False, "prefix": False}.get(asked)
    if async_process:
        mode = Mode("async", base64_raw=raw)
    elif wanted is not None:
        mode = Mode("binary", wanted, raw)
    else:
        mode = Mode("sync", base64_raw=raw)
    request.state.queue_full = lambda: queue_full(mode, services(request))
    return mode


async def answer(served: Services, job: Job, mode: Mode) -> Response:
    """Answer a submitted job: at once, or when it has ended."""
    if mode.kind == "async":
        return Json(replies.waiting(job))
    ended = await served.jobs.wait(job.id)
    if replies.reads_files(ended):
        images = await to_thread.run_sync(replies.images, ended, served.settings)
    else:
        images = replies.images(ended, served.settings)
    if mode.kind == "binary":
        return await _binary(served, ended, images, mode)
    return Json(images, _status(images, served))


async def _binary(served: Services, job: Job, images: list[GeneratedImage], mode: Mode) -> Response:
    if not images:
        return Response(status_code=204)
    if images[0].finish_reason != "SUCCESS":
        return PlainTextResponse(images[0].finish_reason, STRICT_STATUS[images[0].finish_reason])
    return Response(
        await to_thread.run_sync(first_picture, job, mode.media_type, served.settings), media_type=mode.media_type
    )


def queue_full(mode: Mode, served: Services) -> Response:
    """The three forms of a refusal: clients rely on status 200 in the JSON modes."""
    if mode.kind == "binary":
        return PlainTextResponse("QUEUE_IS_FULL", 409)
    body: Any = replies.QUEUE_FULL_JOB if mode.kind == "async" else replies.QUEUE_FULL
    return Json(body, _status(replies.QUEUE_FULL, served))


def _status(images: list[GeneratedImage], served: Services) -> int:
    if not served.settings.strict_status or not images:
        return 200
    return STRICT_STATUS.get(images[-1].finish_reason, 200)
