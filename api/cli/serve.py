"""`focal serve`: the server."""

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import uvicorn
from starlette.applications import Starlette

from api.app import create_app
from api.cli.failure import Failure
from api.library import Library
from api.settings import Loaded, Settings

log = logging.getLogger("focal")


def run(parsed: argparse.Namespace, loaded: Loaded, notes: list[str]) -> int:
    logging.basicConfig(
        level=loaded.settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for note in notes:
        log.info("flag %s", note)
    given = loaded.settings
    listeners = [_listen(given.host, port) for port in dict.fromkeys((given.port, given.also_port or given.port))]
    settings = msgspec.structs.replace(given, port=listeners[0].getsockname()[1])
    library = Library(settings)
    _introduce(settings, library)
    asyncio.run(_serve(create_app(settings, library=library), settings, listeners))
    return 0


class Server(uvicorn.Server):
    """uvicorn's server, which ends with status 0 when it is told to stop: it does not raise the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


async def _serve(app: Starlette, settings: Settings, listeners: list[socket.socket]) -> None:
    """Run until told to stop. The lifespan is entered here, so that its errors reach the terminal as they are."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        log_level=settings.log_level,
        access_log=settings.log_level == "debug",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    async with app.router.lifespan_context(app):
        await Server(config).serve(sockets=listeners)


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is loaded: a taken one is told at once. Port 0 becomes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol's number asyncio leaves Nagle's algorithm on, and answers wait 40 ms for the client's ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Failure(
            f"Cannot listen on {host} port {port}: {error.strerror}. Stop what uses it, or choose another with --port."
        ) from error
    return listener


def _introduce(settings: Settings, library: Library) -> None:
    """Say what a new user wants to know: the address, the preset and its model, where models are looked for."""
    catalog = library.catalog
    preset, checkpoint = catalog.preset_in_force, catalog.default_checkpoint
    log.info("Focal on %s (pages and routes: %s/docs)", settings.public_url, settings.public_url)
    log.info("data in %s; checkpoints looked for in %s", settings.data.resolve(), _roots(settings, library))
    if checkpoint is None:
        log.error("no checkpoint was found: put one into %s", settings.models_dir.resolve() / "checkpoints")
    elif not catalog.real_checkpoints:
        log.warning(
            "no other checkpoint was found, so the embedded tiny model %s is used (preset %s, %s pixels): "
            "simple scenes only; put an SDXL .safetensors file into %s for real pictures",
            *(checkpoint, preset.name, preset.aspect_ratio, settings.models_dir.resolve() / "checkpoints"),
        )
    else:
        log.info("preset %s with checkpoint %s; %d found", preset.name, checkpoint, len(catalog.checkpoints))
    if library.fooocus.source is not None:
        log.info("defaults and folders from %s", library.fooocus.source)
    for note in library.fooocus.notes:
        log.info("Fooocus' configuration: %s", note)
    if settings.preset and catalog.preset(settings.preset) is None:
        log.warning("there is no preset %r; known: %s", settings.preset, ", ".join(sorted(catalog.presets)))
    if not settings.loopback and not settings.apikey:
        log.warning("ANYBODY WHO REACHES %s:%s MAY USE THIS SERVER: set --apikey", settings.host, settings.port)


def _roots(settings: Settings, library: Library) -> str:
    return ", ".join(map(str, library.roots())) or f"{settings.models_dir.resolve() / 'checkpoints'} (absent)"
