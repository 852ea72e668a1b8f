"""The server: settings in, a Starlette application out."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from api import docs_page, files
from api.auth import RequireKey, SameOriginGraphs
from api.contracts.comfy import routes as comfy
from api.contracts.comfy.socket import Hub
from api.contracts.fooocus_api import image_routes, tool_routes
from api.contracts.fooocus_api import routes as fooocus_api
from api.contracts.fooocusapi import routes as fooocusapi
from api.cors import OpenToAllOrigins
from api.engine_room import running, worker_config
from api.errors import on_focal_error, on_http_error, on_queue_full, on_unexpected
from api.library import Library
from api.progress_board import ProgressBoard
from api.retention import Retention
from api.services import Services
from api.settings import Settings
from api.webhooks import payloads
from engine.errors import FocalError
from engine.jobs.errors import QueueFull
from engine.jobs.job import Job
from engine.jobs.live import QueueChanged
from engine.jobs.messages import WorkerConfig
from engine.jobs.queue import JobService

log = logging.getLogger(__name__)


def create_app(settings: Settings, config: WorkerConfig | None = None, library: Library | None = None) -> Starlette:
    """Build the application. Its lifespan opens the job store and starts the worker, and does not wait for it.

    config: replaces what the settings tell the worker, for one with other nodes. library: one that is read already.
    """
    middleware = [
        Middleware(OpenToAllOrigins),
        Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5),
        Middleware(SameOriginGraphs),
    ]
    if settings.apikey:
        middleware.append(Middleware(RequireKey, key=settings.apikey))
    app = Starlette(
        routes=[
            *fooocus_api.routes(),
            *image_routes.routes(),
            *tool_routes.routes(),
            *fooocusapi.routes(),
            *files.routes(),
            *docs_page.routes(),
            *comfy.routes(),
        ],
        middleware=middleware,
        exception_handlers={
            QueueFull: on_queue_full,
            FocalError: on_focal_error,
            HTTPException: on_http_error,
            500: on_unexpected,
        },
        lifespan=_lifespan(settings, config, library),
    )
    app.router.redirect_slashes = False
    return app


def _lifespan(
    settings: Settings, config: WorkerConfig | None, known: Library | None
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        from engine.jobs.store import SqlStore  # a third of the start-up time is the database's
        from engine.jobs.webhooks import Webhooks

        for folder in (settings.outputs_dir, settings.input_dir, settings.temp_dir):
            folder.mkdir(parents=True, exist_ok=True)
        library = known or Library(settings)
        told = config or worker_config(settings, library, warm=True)
        store = SqlStore(settings.database or settings.data / "jobs.sqlite3")
        retention, webhooks = Retention(settings), Webhooks(store, payloads(settings))

        def job_ended(job: Job) -> None:
            retention.job_ended(job)
            webhooks.notify(job)

        async with running(settings, store, told, on_end=job_ended) as room:
            if settings.disable_image_log:  # not before the store is ours: another server's results stay
                _empty(settings.outputs_dir)
            board, hub = ProgressBoard(room.jobs), Hub(room.jobs)
            app.state.services = Services(settings, room.jobs, room.worker, library, board, hub)
            listener = asyncio.create_task(_listen(room.jobs, board, hub), name="events")
            library.prepare()
            try:
                await retention.start(room.jobs)
                await webhooks.start()
                yield
            finally:
                await webhooks.close()
                listener.cancel()
                await asyncio.gather(listener, return_exceptions=True)
                await retention.close()
                library.close()

    return lifespan


def _empty(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        log.warning("the results of the last start could not be removed: %s", error)
    folder.mkdir(parents=True, exist_ok=True)


async def _listen(jobs: JobService, board: ProgressBoard, hub: Hub) -> None:
    """Pass every event on to those who show it."""
    async with jobs.subscribe() as told:
        async for event in told:
            if isinstance(event, QueueChanged):
                hub.queue_changed(event)
            else:
                await board.feed(event)
                await hub.feed(event)
