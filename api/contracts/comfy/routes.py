"""ComfyUI's HTTP routes for running graphs: /prompt, /queue, /history, /interrupt, /object_info, models.

Every route is there twice, as `/x` and as `/api/x`.
"""

import math
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from api import body as bodies
from api.contracts.comfy import pictures, shapes, stats
from api.contracts.comfy.socket import socket_routes
from api.errors import Fault, InvalidRequest, NotFound, shown
from api.json_response import Json
from api.routing import Handler, both
from api.services import services
from api.settings import Settings
from engine.jobs.interface import JobFilter
from engine.jobs.job import FINAL_STATES, NewJob
from models.errors import ModelError

CONTRACT = "comfy"
HISTORY_LIMIT = 10_000
_FINISHED = JobFilter(states=FINAL_STATES)


async def post_prompt(request: Request) -> Response:
    """POST /prompt → the graph is validated and queued: its id, place and the errors of outputs left out."""
    served = services(request)
    body = await bodies.read_json(request, served.settings.max_body)
    if not isinstance(body, dict) or body.get("prompt") is None:
        error = shapes.prompt_error("no_prompt", "No prompt provided", "No prompt provided")
        return Json(error, 400)
    bodies.require_64_bits(body)
    targets = body.get("partial_execution_targets")
    wanted = [str(target) for target in targets] if isinstance(targets, list) else None
    verdict = await served.worker.call("validate", graph=body["prompt"], targets=wanted)
    if not verdict["outputs"]:
        error = verdict["error"] or shapes.prompt_error("prompt_no_outputs", "Prompt has no outputs")["error"]
        return Json({"error": error, "node_errors": verdict["node_errors"]}, 400)
    job = await served.jobs.submit(_new_job(body, verdict, served.settings))
    return Json({"prompt_id": job.id, "number": shapes.number(job), "node_errors": verdict["node_errors"]})


def _new_job(body: dict[str, Any], verdict: dict[str, Any], settings: Settings) -> NewJob:
    extra = dict(body["extra_data"]) if isinstance(body.get("extra_data"), dict) else {}
    if body.get("client_id") is not None:
        extra["client_id"] = str(body["client_id"])
    if not settings.previews:
        extra["previews"] = False
    number = _number(body.get("number"))
    return NewJob(
        kind="Graph",
        contract=CONTRACT,
        graph=verdict["graph"] if isinstance(verdict.get("graph"), dict) else body["prompt"],
        outputs=tuple(verdict["outputs"]),
        extra=extra,
        number=number,
        at_front=number is None and bool(body.get("front")),
        id=str(body["prompt_id"])[:128] if body.get("prompt_id") else None,
    )


def _number(given: Any) -> float | None:
    try:
        number = float(given)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


async def get_prompt(request: Request) -> Response:
    """GET /prompt → how many graphs wait or run."""
    return Json({"exec_info": {"queue_remaining": services(request).jobs.remaining}})


async def get_queue(request: Request) -> Response:
    """GET /queue → what runs and what waits, in the order in which it will run."""
    now = await services(request).jobs.snapshot()
    told = {"queue_running": now.running, "queue_pending": now.queued}
    return Json({name: [shapes.item(job) for job in jobs] for name, jobs in told.items()})


async def post_queue(request: Request) -> Response:
    """POST /queue → `clear` cancels all that wait, `delete` those named; what runs is left alone."""
    served = services(request)
    body = await _optional_object(request)
    named = _named(body)
    for job in (await served.jobs.snapshot()).queued:
        if body.get("clear") or job.id in named:
            await served.jobs.cancel(job.id)
    return Response()


async def interrupt(request: Request) -> Response:
    """POST /interrupt → end what runs; with `prompt_id` only if it is that job."""
    served = services(request)
    wanted = (await _optional_object(request)).get("prompt_id")
    for job in (await served.jobs.snapshot()).running:
        if wanted in (None, "", job.id):
            await served.jobs.cancel(job.id)
    return Response()


async def free(request: Request) -> Response:
    """POST /free → between two jobs, unload models and (free_memory) forget cached results."""
    body = await _optional_object(request)
    drop = bool(body.get("free_memory"))
    await services(request).worker.call("free", models=drop or bool(body.get("unload_models")), results=drop)
    return Response()


async def history(request: Request) -> Response:
    """GET /history → finished jobs by id, oldest first; `max_items` alone gives the last ones."""
    most = _integer(request.query_params.get("max_items"))
    offset = _integer(request.query_params.get("offset"))
    jobs = services(request).jobs
    count = min(most if most is not None and most >= 0 else HISTORY_LIMIT, HISTORY_LIMIT)
    if offset is not None and offset >= 0:
        everything = await jobs.list_jobs(newest_first=False, order="finished", where=_FINISHED)
        chosen = everything[offset : offset + count]
    else:
        newest = await jobs.list_jobs(page_size=count, order="finished", where=_FINISHED) if count else []
        chosen = newest[::-1]
    return Json({job.id: shapes.history(job) for job in chosen})


async def history_of(request: Request) -> Response:
    """GET /history/{id} → `{id: entry}`, `{}` when unknown or unfinished."""
    job = await services(request).jobs.store.get(request.path_params["id"])
    return Json({request.path_params["id"]: shapes.history(job)} if job is not None and job.is_final else {})


async def post_history(request: Request) -> Response:
    """POST /history → `clear` or `delete` entries; the pictures stay, as in ComfyUI."""
    jobs = services(request).jobs
    body = await _optional_object(request)
    named = _named(body)
    if body.get("clear"):
        named = [job.id for job in await jobs.list_jobs(where=_FINISHED)]
    for id in named:
        job = await jobs.store.get(id)
        if job is not None and job.is_final:
            await jobs.delete(id)
    return Response()


async def object_info(request: Request) -> Response:
    """GET /object_info and /object_info/{class} → nodes with their inputs, outputs, bounds and choices."""
    name = request.path_params.get("name")
    return Json(await services(request).worker.call("object_info", class_type=name))


async def model_kinds(request: Request) -> Response:
    """GET /models → the kinds of model files."""
    return Json(list(services(request).library.folders.kinds))


async def model_files(request: Request) -> Response:
    """GET /models/{kind} → names of that kind's files."""
    try:
        return Json(services(request).library.folders.list(request.path_params["kind"]))
    except ModelError as error:
        raise NotFound(error.message, error.hint) from error


async def embeddings(request: Request) -> Response:
    """GET /embeddings → names without their extension."""
    names = services(request).library.folders.list("embeddings")
    return Json([name.rpartition(".")[0] for name in names])


async def features(request: Request) -> Response:
    """GET /features → what this server understands."""
    return Json({"supports_preview_metadata": True, "max_upload_size": services(request).settings.max_upload})


async def _optional_object(request: Request) -> dict[str, Any]:
    """The JSON object sent, {} for an empty body."""
    raw = await bodies.read(request, services(request).settings.max_body)
    sent = bodies.parse(raw) if raw.strip() else {}
    return sent if isinstance(sent, dict) else {}


def _named(body: dict[str, Any]) -> list[str]:
    """The ids below `delete`."""
    named = body.get("delete") or []
    if not isinstance(named, list):
        raise InvalidRequest([Fault("list_type", ("body", "delete"), "Input should be a valid list", shown(named))])
    return [str(id) for id in named]


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() and len(text) < 12 else None


TABLE: list[tuple[str, str, Handler]] = [
    ("POST", "/prompt", post_prompt),
    ("GET", "/prompt", get_prompt),
    ("GET", "/queue", get_queue),
    ("POST", "/queue", post_queue),
    ("POST", "/interrupt", interrupt),
    ("POST", "/free", free),
    ("GET", "/history", history),
    ("GET", "/history/{id}", history_of),
    ("POST", "/history", post_history),
    ("GET", "/object_info", object_info),
    ("GET", "/object_info/{name}", object_info),
    ("GET", "/models", model_kinds),
    ("GET", "/models/{kind}", model_files),
    ("GET", "/embeddings", embeddings),
    ("GET", "/features", features),
    ("GET", "/system_stats", stats.system_stats),
    ("GET", "/view", pictures.view),
    ("POST", "/upload/image", pictures.upload_image),
]


def routes() -> list[BaseRoute]:
    """Contract C below / and below /api."""
    http = [
        route
        for prefix in ("", "/api")
        for method, path, handler in TABLE
        for route in both(f"{prefix}{path}", handler, method)
    ]
    return [*http, *socket_routes()]
