"""The routes of FooocusAPI: one that makes pictures, one that stops them, and two that look back."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from api import body as bodies
from api import neutral
from api.contracts.fooocusapi import answers, records, tasks
from api.contracts.fooocusapi.pictures import read_pictures
from api.contracts.fooocusapi.schemas import CommonRequest, Control, Message, Tasks
from api.contracts.fooocusapi.submit import submit
from api.decode import decode
from api.errors import NotFound
from api.json_response import Json
from api.routing import both
from api.services import services
from api.submission import check_room
from api.warning_header import with_warnings
from engine.jobs.job import canonical_id

SMALL_BODY = 64 * 2**10  # bytes; an action, or what a client sends along with a query


async def generate(request: Request) -> Response:
    """POST /v1/engine/generate/ → one picture, a stream of events, a pending task or a finished one."""
    served = services(request)
    sent = await bodies.read_json(request, served.settings.max_body)
    catalog = await served.library.current()
    body = decode(CommonRequest, sent, bounds=neutral.bounds(catalog))
    mode = answers.mode_of(request, body)
    check_room(served)
    pictures = await read_pictures(body, served)
    waits = mode.kind in ("binary", "sync")
    job, warnings = await submit(served, body, pictures, catalog, one_image=mode.kind == "binary", waits=waits)
    return with_warnings(await answers.answer(served, job, mode), warnings)


async def control(request: Request) -> Response:
    """POST /v1/engine/control/ → `stop` ends the running task, `skip` the picture that it is at."""
    served = services(request)
    asked = decode(Control, await _parameters(request), ("query",))
    match asked.action:
        case "stop":
            done = await served.jobs.stop_current()
        case "skip":
            done = served.jobs.skip_current()
        case _:
            return Json(Message("Invalid control action"))
    said = {"stop": "task stopped", "skip": "task skipped"}
    return Json(Message(said[asked.action] if done else "No task running"))


async def list_tasks(request: Request) -> Response:
    """GET /tasks → finished, running and waiting tasks; `action=delete` forgets the finished ones of a window."""
    served = services(request)
    asked = decode(Tasks, dict(request.query_params), ("query",))
    if request.method == "DELETE" or asked.action.strip().lower() == "delete":
        return Json(await tasks.forget(served, asked))
    return Json(await tasks.listed(served, asked))


async def one_task(request: Request) -> Response:
    """GET /tasks/{id} → one task, with a preview while it runs."""
    served = services(request)
    id = request.path_params["id"]
    progress = served.progress.of(canonical_id(id))  # before the job: never newer than its state
    job = await served.jobs.find(id)
    if job is None:
        raise NotFound("Task not found", "")
    return Json(records.record(job, served.settings, progress))


async def _parameters(request: Request) -> dict[str, object]:
    """The query string, and what a JSON body says beside it."""
    raw = await bodies.read(request, SMALL_BODY)
    sent = bodies.parse(raw) if raw.strip().startswith(b"{") else {}
    return {**(sent if isinstance(sent, dict) else {}), **request.query_params}


def routes() -> list[BaseRoute]:
    """Contract B, each path with and without a trailing slash."""
    return [
        *both("/v1/engine/generate", generate, "POST"),
        *both("/v1/engine/control", control, "POST"),
        *both("/tasks", list_tasks, "GET", "DELETE"),
        *both("/tasks/{id}", one_task),
    ]
