"""One server with fake nodes for all API tests of a session: real queue, real store, real worker process, no torch."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from api.app import create_app
from api.engine_room import worker_config
from api.library import Library
from api.settings import Settings
from graphs.known_files import KNOWN_FILES, TINY_HEAD, TINY_PATCH

ENGINE = {f"inpaint/{name}" for name in (TINY_HEAD, TINY_PATCH)}  # no fake node applies one
FAKE_MODELS = (
    "checkpoints/focal-tiny-sdxl.safetensors",
    "checkpoints/other.safetensors",
    "loras/sub/a.safetensors",
    *sorted({f"{known.kind}/{known.tiny}" for known in KNOWN_FILES.values() if known.tiny} - ENGINE),
)


def fake_settings(data: Path, **changes: object) -> Settings:
    """Settings over a fresh data folder with empty files for models."""
    for name in FAKE_MODELS:
        path = data / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Settings(data=data, **{"preset": "tiny", **changes})  # type: ignore[arg-type]


def fake_app(settings: Settings) -> Starlette:
    """A new application whose worker has the fake nodes."""
    import msgspec

    config = worker_config(settings, Library(settings))
    modules = tuple(f"tests.api.fake_{kind}nodes" for kind in ("", "image_", "flow_", "text_"))
    fake = msgspec.structs.replace(config, modules=modules, runtime="", entry_points=False)
    return create_app(settings, fake)


def open_client(settings: Settings) -> TestClient:
    """A client of such an application."""
    return TestClient(fake_app(settings), base_url="http://127.0.0.1:8888")


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with open_client(fake_settings(tmp_path_factory.mktemp("data"))) as opened:
        yield opened


@pytest.fixture
def make_client(tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Makes a client with other settings; every one made is closed at the end of the test."""
    opened: list[TestClient] = []

    def make(**changes: object) -> TestClient:
        made = open_client(fake_settings(tmp_path, **changes))
        made.__enter__()
        opened.append(made)
        return made

    yield make
    for one in reversed(opened):
        one.__exit__(None, None, None)
