"""The routes of Fooocus-API that make pictures from text, and those that look after jobs."""

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from api import body as bodies
from api.contracts.fooocus_api import histories, replies, schemas
from api.contracts.fooocus_api.submit import Door, generate
from api.contracts.fooocus_api.translate import TEXT_TO_IMAGE
from api.contracts.fooocus_api.translate_images import to_text_to_image
from api.decode import decode
from api.json_response import Json
from api.routing import both
from api.services import services
from engine.jobs.job import canonical_id

TEXT_TO_IMAGE_DOOR = Door(TEXT_TO_IMAGE, to_text_to_image, schemas.TextToImage, schemas.TextToImage)
QUERY_LIMIT = 2**20  # bytes of a body that stands for a query


async def text_to_image(request: Request) -> Response:
    """POST /v1/generation/text-to-image → pictures, one binary picture, or a job (async_process)."""
    return await generate(request, TEXT_TO_IMAGE_DOOR)


async def query_job(request: Request) -> Response:
    """GET /v1/generation/query-job → stage, progress, step preview and result of one job."""
    query = decode(schemas.QueryJob, await parameters(request), ("query",))
    served = services(request)
    progress = served.progress.of(canonical_id(query.job_id))  # before the job: never newer than its stage
    job = await served.jobs.find(query.job_id)
    if job is None:
        return Json(replies.NOT_FOUND_JOB, 404)
    preview = query.require_step_preview or query.require_step_preivew
    if not replies.reads_files(job):
        return Json(replies.async_job(job, progress, served.settings, preview=preview))
    reply = await to_thread.run_sync(lambda: replies.async_job(job, progress, served.settings, preview=preview))
    return Json(reply)


async def parameters(request: Request) -> dict[str, object]:
    """The query string, or for a POST the members of its JSON body beside it."""
    if request.method == "POST" and (raw := await bodies.read(request, QUERY_LIMIT)):
        sent = bodies.parse(raw)
        return {**(sent if isinstance(sent, dict) else {}), **request.query_params}
    return dict(request.query_params)


async def job_queue(request: Request) -> Response:
    """GET /v1/generation/job-queue → how many jobs wait or run, how many are finished, the last one's id."""
    served = services(request)
    return Json(await histories.queue_summary(served))


async def job_history(request: Request) -> Response:
    """GET /v1/generation/job-history → what waits and what is finished; `delete=true` removes one job and its files."""
    query = decode(schemas.JobHistory, dict(request.query_params), ("query",))
    served = services(request)
    if query.delete and query.job_id:
        return Json({"message": await histories.delete_job(served, query.job_id)})
    return Json(await histories.history(served, query))


async def stop(request: Request) -> Response:
    """POST /v1/generation/stop → the job that runs, if any, ends within one sampler step."""
    await services(request).jobs.stop_current()
    return Json({"msg": "success"})


async def job_graph(request: Request) -> Response:
    """GET /v1/engines/jobs/{id}/graph → the graph a job was compiled to; POST /prompt takes it as it is."""
    job = await services(request).jobs.get(request.path_params["id"])
    return Json(job.graph)


async def all_models(request: Request) -> Response:
    """GET /v1/engines/all-models → checkpoint and LoRA names, after a fresh look at the folders."""
    catalog = await services(request).library.refresh()
    offered = await to_thread.run_sync(lambda: catalog.offered_checkpoints)  # may read headers
    return Json({"model_filenames": offered, "lora_filenames": list(catalog.loras)})


async def styles(request: Request) -> Response:
    """GET /v1/engines/styles → every style name that a request may select."""
    catalog = await services(request).library.current()
    return Json(catalog.styles.names)


async def clean_vram(request: Request) -> Response:
    """GET /v1/engines/clean_vram → the worker lets go of its models."""
    await services(request).worker.call("free", models=True, results=False)
    return Json({"message": "ok"})


async def ping(request: Request) -> Response:
    """GET /ping → "pong" as soon as the server listens, whether or not the worker is ready."""
    return Json("pong")


def routes() -> list[BaseRoute]:
    """Contract A, each path with and without a trailing slash."""
    return [
        *both("/v1/generation/text-to-image", text_to_image, "POST"),
        *both("/v1/generation/query-job", query_job, "GET", "POST"),
        *both("/v1/generation/job-queue", job_queue),
        *both("/v1/engines/job-queue", job_queue),
        *both("/v1/generation/job-history", job_history),
        *both("/v1/generation/stop", stop, "POST"),
        *both("/v1/engines/jobs/{id}/graph", job_graph),
        *both("/v1/engines/all-models", all_models),
        *both("/v1/engines/refresh-models", all_models, "POST"),
        *both("/v1/engines/styles", styles),
        *both("/v1/engines/clean_vram", clean_vram),
        *both("/ping", ping),
    ]
