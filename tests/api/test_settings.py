"""Settings: where a value comes from, and what is refused."""

from pathlib import Path

import pytest

from api.flags import FOREIGN, absorb
from api.settings import FIELDS, BadSetting, load, parse_size


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


def test_flags_of_other_programs_are_accepted_with_one_line_each():
    taken, lines = absorb(
        ["--listen", "--always-high-vram", "--gpu-device-id", "1", "--outdir", "x", "--nonsense", "y"]
    )
    assert taken == {"host": "0.0.0.0", "device": "cuda:1"}
    assert len(lines) == 5
    assert lines[-1] == "--nonsense y: unknown here, ignored"


def test_every_foreign_flag_is_absorbed_alone_and_with_a_value():
    for name, foreign in FOREIGN.items():
        value = ["7"] if foreign.values else []
        _, lines = absorb([name, *value])
        assert lines == [f"{name}: {foreign.note}"]
        assert not foreign.setting or foreign.setting in FIELDS


def test_every_setting_is_described():
    from api.cli.arguments import describe

    assert [name for name in FIELDS if not describe(name)] == []
