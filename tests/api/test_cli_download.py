"""`focal models download` against a server on this machine that plays the hub."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from api.cli import main

LCM = "sdxl_lcm_lora.safetensors"
OFFSET = "sd_xl_offset_example-lora_1.0.safetensors"
MODEL = "juggernautXL_v8Rundiffusion.safetensors"
OLDER = "juggernautXL_v7Rundiffusion.safetensors"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Paths that were asked for, of a hub that has every file but those called absent."""
    paths: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            if "animaPencil" in self.path:
                self.send_error(404)
                return
            body = self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield paths
    server.shutdown()
    thread.join()
    server.server_close()


def download(data: Path, *words: str) -> int:
    return main(["models", "download", *words, "--data", str(data)])


def test_a_named_file_goes_into_its_folder_and_is_fetched_once(tmp_path: Path, asked: list[str], capsys) -> None:
    assert download(tmp_path, LCM) == 0
    assert (tmp_path / "models" / "loras" / LCM).read_bytes() == f"/lllyasviel/misc/resolve/main/{LCM}".encode()
    assert "100%" in capsys.readouterr().out
    assert download(tmp_path, LCM) == 0
    assert "already there" in capsys.readouterr().out
    assert len(asked) == 1


def test_a_preset_brings_its_files_and_its_modes_lora(tmp_path: Path, asked: list[str]) -> None:
    assert download(tmp_path, "--preset", "lcm") == 0
    there = {path.name for path in (tmp_path / "models").rglob("*") if path.is_file()}
    assert there == {MODEL, LCM} | ({OFFSET} & there)
    assert download(tmp_path, "--preset", "lcm") == 0
    assert len(asked) == len(there)


def test_an_older_model_of_the_preset_serves_instead_of_the_new_one(tmp_path: Path, asked: list[str], capsys) -> None:
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    (tmp_path / "models" / "checkpoints" / OLDER).write_bytes(b"")
    assert download(tmp_path, "--preset", "default") == 0
    assert f"{OLDER} is there" in capsys.readouterr().out
    assert not any(MODEL in path for path in asked)
    assert download(tmp_path, "--preset", "default", "--always-new") == 0
    assert any(MODEL in path for path in asked)


def test_what_cannot_be_had_is_said(tmp_path: Path, asked: list[str], capsys) -> None:
    assert download(tmp_path, "--preset", "anime") == 1
    assert "404" in capsys.readouterr().err
    assert download(tmp_path, "--preset", "defualt") == 1
    assert "Did you mean 'default'" in capsys.readouterr().err
    assert download(tmp_path, "sdxl_lcm_laro.safetensors") == 1
    assert LCM in capsys.readouterr().err
    assert download(tmp_path) == 1
    assert "--preset" in capsys.readouterr().err
