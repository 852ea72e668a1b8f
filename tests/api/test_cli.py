"""The terminal commands that need no model: help, config, listings, graphs on paper, exit statuses."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from api.cli import main
from api.cli.arguments import parser
from api.cli.terminal import ProgressLine
from api.settings import FIELDS
from tests.api.conftest import fake_settings

ROOT = Path(__file__).parents[2]
PHOTO = {"name": "photo.png", "width": 8, "height": 8}
HEAVY = ("torch", "numpy", "PIL", "diffusers", "transformers", "nodes")


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """A data folder with fake models; nothing of the caller's settings."""
    monkeypatch.chdir(tmp_path)
    for name in FIELDS:
        monkeypatch.delenv(f"FOCAL_{name.upper()}", raising=False)
    return fake_settings(tmp_path / "data").data


def cpu_seconds(code: str) -> tuple[float, str]:
    """Processor time that a fresh interpreter needs for `code`, and what it printed."""
    command = f"{code}\nimport os\nprint('\\n' + str(sum(os.times()[:2])))"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    printed, _, seconds = done.stdout.rstrip().rpartition("\n")
    return float(seconds), printed


def test_the_server_is_imported_without_torch_and_quickly():
    code = f"import api.app, sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    seconds, printed = min(cpu_seconds(code) for _ in range(2))
    assert printed.strip() == "[]"
    assert seconds < 0.5


def test_help_comes_quickly_and_without_torch():
    code = (
        "import sys, contextlib\nfrom api.cli import main\n"
        "with contextlib.suppress(SystemExit):\n    main(['--help'])\n"
        f"print([name for name in (*{HEAVY!r}, 'starlette', 'sqlalchemy') if name in sys.modules])"
    )
    seconds, printed = min(cpu_seconds(code) for _ in range(2))
    assert printed.strip().endswith("[]")
    assert "generate" in printed
    assert seconds < 0.3


def test_every_command_has_help(capsys):
    for command in ("serve", "generate", "graph", "models", "nodes", "config", "doctor"):
        with pytest.raises(SystemExit) as done:
            main([command, "--help"])
        assert done.value.code == 0
        assert "--data" in capsys.readouterr().out


def test_config_prints_every_setting_with_its_source(data, capsys, monkeypatch):
    monkeypatch.setenv("FOCAL_APIKEY", "secret")
    assert main(["config", "--data", str(data), "--port", "9000", "--webhook_url", "http://a.example", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == set(FIELDS)
    assert told["port"] == {"value": 9000, "source": "command line"}
    assert told["apikey"] == {"value": "(set)", "source": "FOCAL_APIKEY"}
    assert told["webhook_url"]["value"] == "http://a.example"
    assert told["host"]["source"] == "default"
    assert main(["config"]) == 0
    assert "queue_size" in capsys.readouterr().out


def test_the_openapi_document_is_printed_or_written_without_a_server(data, capsys, tmp_path):
    assert main(["openapi"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["openapi"], "/v1/engine/generate/" in told["paths"]) == ("3.1.0", True)
    assert main(["openapi", "--out", str(tmp_path / "focal.json")]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "focal.json").read_text()) == told
    assert main(["openapi", "--out", str(tmp_path / "absent" / "focal.json")]) == 1
    assert "absent" in capsys.readouterr().err


def test_a_bad_setting_is_exit_status_2(data, capsys):
    assert main(["config", "--port", "abc"]) == 2
    assert "port from command line" in capsys.readouterr().err
    with pytest.raises(SystemExit) as refused:
        main(["frobnicate"])
    assert refused.value.code == 2


def test_models_are_listed(data, capsys):
    assert main(["models", "list", "--data", str(data), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"focal-tiny-sdxl.safetensors", "other.safetensors"} <= set(told["checkpoints"]["files"])
    assert "sub/a.safetensors" in told["loras"]["files"]
    (fast,) = [use for use in told["loras"]["used"] if use["needed"] == "sdxl_lcm_lora.safetensors"]
    assert (fast["file"], fast["state"]) == ("", "only tiny" if fast["tiny"] else "missing")
    assert fast["url"].startswith("https://")
    assert main(["models", "list", "loras", "--data", str(data)]) == 0
    assert fast["url"] in capsys.readouterr().out
    assert main(["models", "list", "checkpoints", "--data", str(data)]) == 0
    assert "other.safetensors" in capsys.readouterr().out
    assert main(["models", "list", "nonsense", "--data", str(data)]) == 1
    assert "nonsense" in capsys.readouterr().err


def test_a_prompt_can_be_compiled_printed_shown_and_read_again(data, capsys, tmp_path):
    compile_it = ["generate", "a cat", "--data", str(data), "--preset", "tiny", "--seed", "3", "--print-graph"]
    assert main(compile_it) == 0
    printed = capsys.readouterr().out
    assert main(compile_it) == 0
    assert capsys.readouterr().out == printed
    file = tmp_path / "graph.json"
    file.write_text(json.dumps({"prompt": json.loads(printed)}))
    assert main(["graph", "show", str(file)]) == 0
    shown = capsys.readouterr().out
    assert 'texts={"__value__":["a cat"]}' in shown
    assert "nodes, hash " in shown
    assert main(["graph", "show", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(printed)


def test_a_picture_s_file_compiles_to_the_graph_that_made_it(data, capsys, tmp_path):
    told = ["--data", str(data), "--preset", "tiny", "--print-graph"]
    assert main(["generate", "a [[red,blue]] cat", "-n", "2", "--seed", "3", "--steps", "4", *told]) == 0
    graph = json.loads(capsys.readouterr().out)
    saving = [node["inputs"] for node in graph.values() if node["class_type"] == "SaveGeneration"]
    _, second = sorted(saving, key=lambda inputs: inputs["index"])
    file = saved(tmp_path / "cat.png", second["metadata"])
    assert main(["generate", "--from-image", str(file), *told]) == 0
    again = json.loads(capsys.readouterr().out)
    (sampler,) = [node["inputs"] for node in again.values() if node["class_type"] == "SampleLatent"]
    assert (sampler["seed"], sampler["steps"]) == (4, 4)
    (words,) = [node["inputs"]["texts"] for node in again.values() if "cat" in str(node["inputs"].get("texts"))]
    assert words == {"__value__": ["a blue cat"]}


def saved(path: Path, metadata: str | None) -> Path:
    """A small picture that carries metadata."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if metadata:
        info.add_text("parameters", metadata)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def test_a_picture_that_cannot_be_made_again_says_why(data, capsys, tmp_path):
    def refused(*words: str) -> str:
        assert main(["generate", *words, "--data", str(data)]) == 1
        return capsys.readouterr().err

    plain, text = saved(tmp_path / "plain.png", None), tmp_path / "text.png"
    text.write_text("no picture")
    varied = json.dumps({"seed": "3", "focal": {"uov_method": "Vary (Subtle)", "input_image": PHOTO}})
    assert "does not say how it was made" in refused("--from-image", str(plain))
    assert "does not say how it was made" in refused("--from-image", str(text))
    assert "cannot be read" in refused("--from-image", str(tmp_path / "absent.png"))
    assert "does not hold: photo.png" in refused("--from-image", str(saved(tmp_path / "varied.png", varied)))
    assert "leave out: prompt, --steps" in refused("a cat", "--steps", "3", "--from-image", str(plain))
    assert "--from-image" in refused()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--size", "abc"], "aspect_ratios_selection: 'abc' is not a size"),
        (["-n", "33"], "image_number"),
        (["--steps", "201"], "overwrite_step"),
        (["--guidance", "99"], "guidance_scale"),
        (["--performance", "Slow"], "performance_selection"),
        (["-o", "picture.bmp"], "picture.bmp has no picture's ending"),
        (["-o", "nowhere/picture.png"], "does not exist"),
    ],
)
def test_what_cannot_be_generated_is_said_and_exits_with_1(data, capsys, options, words):
    assert main(["generate", "a", "--data", str(data), *options]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"1": 5}', b"\xff"])
def test_a_file_that_is_no_graph_is_said_and_exits_with_1(data, capsys, tmp_path, content):
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    assert main(["graph", "show", str(file)]) == 1
    assert "bad.json" in capsys.readouterr().err
    assert main(["graph", "show", str(tmp_path / "absent.json")]) == 1


def test_a_taken_port_is_said_at_once(data, capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        started = time.monotonic()
        assert main(["serve", "--data", str(data), "--port", str(port)]) == 1
        assert time.monotonic() - started < 5
    assert f"port {port}" in capsys.readouterr().err


def test_flags_of_fooocus_are_parsed_by_serve_only():
    known, foreign = parser().parse_known_args(["serve", "--always-cpu", "--port", "1", "--outdir", "x"])
    assert (known.setting_port, foreign) == ("1", ["--always-cpu", "--outdir", "x"])
    with pytest.raises(SystemExit):
        main(["config", "--always-cpu"])


def test_a_pipe_gets_one_line_per_phase(capsys):
    line = ProgressLine(sys.stdout)
    for percent, text in ((0, "Loading"), (15, "Step 1/2"), (50, "Step 2/2"), (100, "Finished")):
        line.show(percent, text)
    line.end()
    assert capsys.readouterr().out.splitlines() == ["  0% Loading", " 15% Step 1/2", "100% Finished"]
