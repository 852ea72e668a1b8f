"""Styles, presets and wildcards that are put on the disk, changed or removed while the server runs."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.library import Library
from tests.api.conftest import fake_settings
from tests.api.test_engine_generate import graph_of
from tests.api.test_text_to_image import URL

PRESET = {"default_model": "focal-tiny-sdxl.safetensors"}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path) -> Write:
    """Writes a file below the data folder; a changed one has another time, however coarse the disk's clock is."""

    def put(name: str, content: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        if before:
            os.utime(path, ns=(before + 10**7, before + 10**7))
        return path

    return put


def texts(client: TestClient, **body: object) -> list[str]:
    """The words that a picture is made of, whichever contract it is asked for by."""
    job = client.post(URL, json={"style_selections": [], "image_seed": 1, "async_process": True, **body}).json()
    graph = client.get(f"/v1/engines/jobs/{job['job_id']}/graph").json()
    return next(node["inputs"]["texts"] for node in graph.values() if node["class_type"] == "EncodePrompts")[
        "__value__"
    ]


def test_a_style_counts_from_the_moment_it_is_there(make_client, write):
    client = make_client()
    asked = {"prompt": "a cat", "style_selections": ["My Style"]}
    assert texts(client, **asked) == ["a cat"]
    write("styles/mine.json", [{"name": "my-style", "prompt": "{prompt} in ink"}])
    assert texts(client, **asked) == ["a cat in ink"]
    assert "My Style" in client.get("/v1/engines/styles").json()
    path = write("styles/mine.json", [{"name": "my-style", "prompt": "{prompt} in oil"}])
    assert texts(client, **asked) == ["a cat in oil"]
    path.unlink()
    assert texts(client, **asked) == ["a cat"]
    assert "My Style" not in client.get("/v1/engines/styles").json()


def test_a_wildcard_counts_from_the_moment_it_is_there(make_client, write):
    client = make_client()
    asked = {"prompt": "a __pet__"}
    assert texts(client, **asked) == ["a pet"]
    write("wildcards/animals/pet.txt", "cat\n")
    assert texts(client, **asked) == ["a cat"]
    path = write("wildcards/animals/pet.txt", "dog\n")
    assert texts(client, **asked) == texts(client, **asked) == ["a dog"]
    path.rename(path.with_name("other.txt"))
    assert texts(client, **asked) == ["a pet"]
    write("wildcards/animals/tame/pet.txt", "fish\n")
    assert texts(client, **asked) == ["a fish"]


def test_a_preset_counts_from_the_moment_it_is_there(make_client, write):
    client = make_client()
    assert client.post(URL, json={"prompt": "a", "preset": "mine"}).headers["x-warning"]
    write("presets/mine.json", PRESET | {"default_overwrite_step": 7})
    assert graph_of(client, preset="mine")["SampleLatent"]["steps"] == 7
    write("presets/mine.json", PRESET | {"default_overwrite_step": 9})
    assert graph_of(client, preset="mine")["SampleLatent"]["steps"] == 9
    assert graph_of(client, preset="mine") == graph_of(client, preset="mine")


def test_a_wildcard_that_cannot_be_read_is_as_none(make_client, write, tmp_path, caplog):
    (tmp_path / "wildcards" / "pet.txt").mkdir(parents=True)
    assert texts(make_client(), prompt="a __pet__") == ["a pet"]
    assert "pet.txt was left out" in caplog.text


@pytest.mark.anyio
class TestLibrary:
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_nothing_is_read_again_while_nothing_changes(self, tmp_path, write):
        write("wildcards/sub/pet.txt", "cat")
        write("styles/mine.json", [])
        library = Library(fake_settings(tmp_path))
        first = await library.current()
        assert first.wildcards.lines("pet") == ("cat",)
        assert await library.current() is first
        refreshed = await library.refresh()
        assert await library.current() is refreshed is not first
        library.close()

    async def test_a_catalog_in_use_stays_as_it_was(self, tmp_path, write):
        library = Library(fake_settings(tmp_path))
        used = await library.current()
        write("presets/mine.json", PRESET)
        assert (used.preset("mine"), (await library.current()).preset("mine") is None) == (None, False)
        assert library.catalog.checkpoints is used.checkpoints
        library.close()
