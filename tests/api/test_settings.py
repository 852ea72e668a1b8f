"""Settings: where a value comes from, and what is refused."""

from pathlib import Path

import pytest

from api.cli.arguments import parser, typed_settings
from api.flags import FOREIGN, absorb
from api.settings import FIELDS, BadSetting, Settings, load, parse_size


def test_each_source_overrides_the_one_before(tmp_path):
    toml = tmp_path / "focal.toml"
    toml.write_text('port = 1000\nhost = "file"\nqueue-size = 7\n')
    environ = {"FOCAL_PORT": "2000", "FOCAL_HOST": "environment"}
    loaded = load({"port": "3000", "apikey": None}, environ, toml)
    assert (loaded.settings.port, loaded.settings.host, loaded.settings.queue_size) == (3000, "environment", 7)
    assert loaded.sources["port"] == "command line"
    assert loaded.sources["host"] == "FOCAL_HOST"
    assert loaded.sources["queue_size"] == str(toml)
    assert loaded.sources["apikey"] == "default"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("persistent", "True", True),
        ("persistent", "on", True),
        ("persistent", "no", False),
        ("vram", "8GiB", 8 * 2**30),
        ("ram", "500M", 500 * 2**20),
        ("models", "/x", Path("/x")),
        ("adm_scaler_end", "0.3", 0.3),
    ],
)
def test_text_from_the_environment_becomes_the_settings_type(name, text, value):
    assert getattr(load({}, {f"FOCAL_{name.upper()}": text}).settings, name) == value


@pytest.mark.parametrize(("name", "text"), [("port", "abc"), ("port", "70000"), ("vram", "much"), ("queue_size", "0")])
def test_a_bad_value_names_the_setting_and_its_source(name, text):
    with pytest.raises(BadSetting, match=f"{name} from FOCAL_{name.upper()}"):
        load({}, {f"FOCAL_{name.upper()}": text})


def test_an_unknown_name_in_the_file_is_refused(tmp_path):
    (tmp_path / "focal.toml").write_text("prot = 1\n")
    with pytest.raises(BadSetting, match="prot"):
        load({}, {}, tmp_path / "focal.toml")


def test_a_named_file_that_is_missing_is_refused(tmp_path):
    with pytest.raises(BadSetting, match="does not exist"):
        load({}, {"FOCAL_CONFIG": str(tmp_path / "none.toml")})


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8888"),
        ({"host": "0.0.0.0", "port": 9}, "http://127.0.0.1:9"),
        ({"host": "::1"}, "http://[::1]:8888"),
        ({"base_url": "https://example.org/"}, "https://example.org"),
        ({"base_url": "localhost:8000"}, "http://localhost:8000"),
    ],
)
def test_the_public_url_never_ends_with_a_slash(given, url):
    assert load(given, {}).settings.public_url == url


@pytest.mark.parametrize(("text", "size"), [("1", 1), ("1k", 1024), ("1.5 GiB", 3 * 2**29), ("2TB", 2**41)])
def test_sizes_are_powers_of_1024(text, size):
    assert parse_size(text) == size


# Every flag of API contract §5 → what is typed, and the settings that follow; an empty dict: accepted with one line.
FLAGS: dict[str, tuple[list[str], dict[str, object]]] = {
    "--host": (["0.0.0.0"], {"host": "0.0.0.0"}),
    "--port": (["9000"], {"port": 9000}),
    "--base-url": (["example.org:80"], {"public_url": "http://example.org:80"}),
    "--log-level": (["debug"], {"log_level": "debug"}),
    "--queue-size": (["3"], {"queue_size": 3}),
    "--queue-history": (["6"], {"queue_history": 6}),
    "--webhook-url": (["http://a/b"], {"webhook_url": "http://a/b"}),
    "--webhook_url": (["http://a/b"], {"webhook_url": "http://a/b"}),
    "--persistent": ([], {"persistent": True}),
    "--presistent": ([], {"persistent": True}),
    "--apikey": (["k"], {"apikey": "k"}),
    "--preset": (["anime"], {"preset": "anime"}),
    "--strict": ([], {"strict": True}),
    "--base64-raw": ([], {"base64_raw": True}),
    "--strict-status": ([], {"strict_status": True}),
    "--allow-hosts": (["a,b"], {"allow_hosts": "a,b"}),
    "--compat": (["b"], {"compat": "b", "port": 7866}),
    "--also-port": (["7866"], {"also_port": 7866}),
    "--listen": (["10.0.0.1"], {"host": "10.0.0.1"}),
    "--output-path": (["/out"], {"outputs_dir": Path("/out")}),
    "--outdir": (["/out"], {"outputs_dir": Path("/out")}),
    "--temp-path": (["/tmp/x"], {"temp_dir": Path("/tmp/x")}),
    "--gpu-device-id": (["1"], {"device": "cuda:1"}),
    "--always-cpu": (["4"], {"device": "cpu"}),
    "--debug-mode": ([], {"log_level": "debug"}),
    "--disable-image-log": ([], {"disable_image_log": True}),
    "--disable-metadata": ([], {"disable_metadata": True}),
    "--preview-option": (["none"], {"previews": False}),
    "--web-upload-size": (["7"], {"max_upload": 7 * 2**20}),
    **{name: (["7"] if foreign.values else [], {}) for name, foreign in FOREIGN.items() if not foreign.setting},
}
OF_SECTION_5 = """
    --host --port --base-url --log-level --skip-pip --preload-pipeline --queue-size --queue-history --webhook-url
    --webhook_url --persistent --presistent --apikey --sync-repo --listen --nowebui --preset --output-path --temp-path
    --cache-path --gpu-device-id --hf-mirror --disable-offload-from-vram --always-gpu --always-high-vram
    --always-normal-vram --always-low-vram --always-no-vram --always-cpu --all-in-fp16 --all-in-fp32 --unet-in-bf16
    --unet-in-fp16 --unet-in-fp8-e4m3fn --unet-in-fp8-e5m2 --vae-in-fp16 --vae-in-fp32 --vae-in-bf16 --vae-in-cpu
    --clip-in-fp8-e4m3fn --clip-in-fp8-e5m2 --clip-in-fp16 --clip-in-fp32 --directml --async-cuda-allocation
    --disable-async-cuda-allocation --disable-attention-upcast --attention-split --attention-quad --attention-pytorch
    --disable-xformers --disable-image-log --disable-metadata --disable-preset-download --always-download-new-model
    --rebuild-hash-cache --preview-option --pytorch-deterministic --debug-mode --language --theme --share --in-browser
    --disable-in-browser --disable-analytics --disable-preset-selection --disable-enhance-output-sorting
    --enable-auto-describe-image --disable-server-log --disable-server-info --multi-user --web-upload-size
    --external-working-path
"""


def typed(*words: str, environ: dict[str, str] | None = None) -> tuple[Settings, list[str]]:
    """The settings that `focal serve` makes of a command line, and the lines it logs about it."""
    parsed, foreign = parser().parse_known_args(["serve", *words])
    taken, notes = absorb(foreign)
    return load({**taken, **typed_settings(parsed)}, environ or {}).settings, notes


def test_every_flag_of_both_servers_has_a_row_here():
    assert [flag for flag in OF_SECTION_5.split() if flag not in FLAGS] == []
    assert [flag for flag in FOREIGN if flag not in FLAGS] == []


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_does_its_work_or_says_in_one_line_what_replaces_it(flag):
    values, wanted = FLAGS[flag]
    settings, notes = typed(flag, *values)
    assert {name: getattr(settings, name) for name in wanted} == wanted
    if flag in FOREIGN:
        (note,) = notes
        assert note.startswith(f"{flag}: ")
        assert len(note) > len(flag) + 10
    else:
        assert notes == []
    if values:
        assert typed(f"{flag}={values[0]}") == (settings, notes)


def test_a_flag_with_an_optional_value_may_stand_alone():
    settings, notes = typed("--listen", "--always-cpu", "--rebuild-hash-cache", "--port", "9")
    assert (settings.host, settings.device, settings.port, len(notes)) == ("0.0.0.0", "cpu", 9, 3)


def test_unknown_flags_are_ignored_with_a_line():
    settings, notes = typed("--nonsense", "y", "--more=1", "--port", "9")
    assert (settings.port, notes) == (9, ["--nonsense y: unknown here, ignored", "--more=1: unknown here, ignored"])


@pytest.mark.parametrize(
    ("words", "environ", "port"),
    [
        ("", {"API_PORT": "5"}, 5),
        ("--port 9", {"API_PORT": "5"}, 5),
        ("--compat b --port 9", {"API_PORT": "5"}, 5),
        ("--compat b", {}, 7866),
        ("--compat b --port 7000", {}, 7001),
        ("--compat b", {"GRADIO_SERVER_PORT": "7100"}, 7101),
        ("--compat b --port 7000", {"GRADIO_SERVER_PORT": "7100"}, 7001),
        ("--compat b", {"FOCAL_PORT": "7200"}, 7200),
        ("", {"GRADIO_SERVER_PORT": "7100"}, 8888),
    ],
)
def test_the_port_follows_the_rules_of_both_servers(words, environ, port):
    assert typed(*words.split(), environ=environ)[0].port == port


@pytest.mark.parametrize(
    ("variable", "setting", "value"),
    [
        ("FOOOCUS_DB_CONF", "database", "sqlite:///x.db"),
        ("WEBHOOK_URL", "webhook_url", "http://a/b"),
        ("DATADIR", "data", "/content/data"),
    ],
)
def test_variables_of_both_servers_are_read_below_our_own(variable, setting, value):
    loaded = load({}, {variable: value})
    assert str(getattr(loaded.settings, setting)) == value
    assert loaded.sources[setting] == variable
    ours = load({}, {variable: value, f"FOCAL_{setting.upper()}": "http://ours/x"})
    assert "ours" in str(getattr(ours.settings, setting))


def test_every_setting_is_described():
    from api.cli.arguments import describe

    assert [name for name in FIELDS if not describe(name)] == []
