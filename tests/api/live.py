"""The fake-node application behind a real port, for clients that speak HTTP themselves."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette


@contextlib.contextmanager
def listening(app: Starlette, port_socket: socket.socket) -> Iterator[str]:
    """Serve an application on a bound socket in a thread; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None, timeout_graceful_shutdown=2))
    serving: Any = threading.Thread(target=lambda: server.run(sockets=[port_socket]), name="live-server")
    serving.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert serving.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server did not start in time"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port_socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        serving.join(30)
        port_socket.close()
