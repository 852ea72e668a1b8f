"""The terminal commands with the real nodes: a picture without a server, and the demo."""

import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image

from tests.e2e.conftest import PATIENCE_S, ROOT, TEXT_TO_IMAGE

PROMPT = "a red circle on a blue background"


def focal(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "api.cli", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_generate_makes_the_very_bytes_that_the_server_makes_and_again_from_the_file(server, tmp_path):
    picture = tmp_path / "out.png"
    done = focal("generate", PROMPT, "-o", str(picture), "--seed", "7", "--data", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert str(picture) in done.stdout
    assert "100%" in done.stderr
    (image,) = server.client.post(TEXT_TO_IMAGE, json={"prompt": PROMPT, "image_seed": 7}).json()
    assert picture.read_bytes() == server.picture(image["url"])
    again = focal("generate", "--from-image", str(picture), "-o", str(tmp_path / "again.png"), "--data", str(tmp_path))
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.png").read_bytes() == picture.read_bytes()


def test_a_graph_is_validated_and_run_and_a_broken_one_is_refused(tmp_path):
    data = ["--data", str(tmp_path / "data")]
    compiled = focal("generate", PROMPT, "--print-graph", *data)
    graph = json.loads(compiled.stdout)
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(compiled.stdout)
    sampler = next(node for node in graph.values() if "steps" in node["inputs"])
    sampler["inputs"]["steps"] = 0
    bad.write_text(json.dumps(graph))
    done = focal("graph", "run", str(good), *data)
    assert done.returncode == 0, done.stderr
    assert Image.open(BytesIO(Path(done.stdout.strip()).read_bytes())).size == (128, 128)
    refused = focal("graph", "validate", str(bad), "--json", *data)
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["error"]["type"] == "prompt_outputs_failed_validation"


def test_the_demo_saves_a_picture_and_says_how_to_do_it_by_hand(tmp_path):
    command = [sys.executable, "-m", "api.demo", "--data", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    picture = (tmp_path / "demo.png").read_bytes()
    assert Image.open(BytesIO(picture)).size == (128, 128)
    assert str(tmp_path / "demo.png") in done.stdout
    assert "curl -s http://127.0.0.1:8888/v1/generation/text-to-image" in done.stdout
    assert "100%" in done.stdout


def test_the_doctor_finds_everything_that_is_needed(tmp_path):
    done = focal("doctor", "--json", "--data", str(tmp_path / "data"))
    assert done.returncode == 0, done.stdout
    states = {finding["subject"]: finding["state"] for finding in json.loads(done.stdout)}
    assert states["device"] == "ok"
    assert states["preset"] == "ok"
