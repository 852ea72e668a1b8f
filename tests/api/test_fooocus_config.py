"""Fooocus' config.txt, brought along: folders, defaults of requests, and which of them goes before which."""

import json

import pytest

from api.fooocus_config import BadConfig, read_fooocus_config
from api.library import Library
from api.settings import BadSetting, load
from tests.api.conftest import fake_settings


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes a config.txt into the data folder; nothing of the caller's own is found."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()

    def write(**values):
        path = tmp_path / "data" / "config.txt"
        path.write_text(json.dumps(values))
        return path

    return write


def catalog_of(tmp_path, **changes):
    return Library(fake_settings(tmp_path / "data", **changes)).catalog


def test_model_folders_are_added_relative_ones_from_the_files_own_folder(config, tmp_path):
    for place in ("fooocus/models/checkpoints/old.safetensors", "data/near/far.safetensors", "expansion/gpt/x.bin"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).touch()
    config(
        path_checkpoints=[str(tmp_path / "fooocus/models/checkpoints"), "absent"],
        path_loras="near",
        path_fooocus_expansion=str(tmp_path / "expansion/gpt"),
    )
    library = Library(fake_settings(tmp_path / "data"))
    assert "old.safetensors" in library.catalog.checkpoints
    assert "far.safetensors" in library.catalog.loras
    assert "gpt/x.bin" in library.folders.list("prompt_expansion")
    assert library.extra["loras"] == [tmp_path / "data" / "near"]


def test_its_defaults_go_before_the_default_preset_and_behind_a_chosen_one(config, tmp_path):
    config(default_cfg_scale=5.5, default_sample_sharpness=9.0, default_styles=["SAI Anime"], default_loras=[])
    assert catalog_of(tmp_path, preset="").preset_in_force.sharpness == 9.0
    realistic = catalog_of(tmp_path, preset="realistic").preset_in_force
    plain = catalog_of(tmp_path / "elsewhere", preset="realistic").preset_in_force
    assert realistic.guidance_scale == plain.guidance_scale != 5.5
    assert realistic.sharpness == plain.sharpness != 9.0


def test_a_variable_of_a_keys_name_goes_before_a_chosen_preset(config, tmp_path, monkeypatch):
    config(default_cfg_scale=5.5)
    monkeypatch.setenv("default_cfg_scale", "6.5")
    monkeypatch.setenv("default_styles", "['SAI Anime']")
    monkeypatch.setenv("default_prompt", "a cat, sitting")
    chosen = catalog_of(tmp_path, preset="realistic").preset_in_force
    assert (chosen.guidance_scale, chosen.styles, chosen.prompt) == (6.5, ("SAI Anime",), "a cat, sitting")


def test_the_safety_checker_is_switched_on_for_all(config, tmp_path, monkeypatch):
    assert not catalog_of(tmp_path).black_out_nsfw
    config(default_black_out_nsfw=True)
    assert catalog_of(tmp_path).black_out_nsfw
    monkeypatch.setenv("default_black_out_nsfw", "false")
    assert not catalog_of(tmp_path).black_out_nsfw


def test_its_folders_for_results_yield_to_a_setting(config, tmp_path):
    path = config(path_outputs=str(tmp_path / "out"), temp_path=str(tmp_path / "short"))
    loaded = load({"data": "data"}, {})
    assert (loaded.settings.outputs_dir, loaded.settings.temp_dir) == (tmp_path / "out", tmp_path / "short")
    assert loaded.sources["outputs"] == str(path)
    assert load({"data": "data", "outputs": "mine"}, {}).settings.outputs_dir.name == "mine"
    assert load({"data": "other"}, {"config_path": str(path)}).settings.outputs_dir == tmp_path / "out"


@pytest.mark.parametrize("content", ["{", "[1]", "{}", '{"name": "something else"}'])
def test_a_file_that_is_none_is_left_out_unless_it_was_named(config, tmp_path, content):
    path = config()
    path.write_text(content)
    assert read_fooocus_config(None, tmp_path / "data", {}).source is None
    if content.startswith("{}") or "name" in content:
        assert read_fooocus_config(path, tmp_path, {}).source == path
    else:
        with pytest.raises(BadConfig):
            read_fooocus_config(path, tmp_path, {})


def test_a_named_file_that_is_missing_is_refused(config, tmp_path):
    with pytest.raises(BadSetting, match="fooocus_config from command line"):
        load({"fooocus_config": str(tmp_path / "none.txt")}, {})


def test_the_range_of_lora_weights_is_the_configurations(make_client, tmp_path):
    (tmp_path / "config.txt").write_text(json.dumps({"default_loras_max_weight": 10, "default_loras_min_weight": -1}))
    client = make_client(preset="")
    url, lora = "/v1/generation/text-to-image", {"model_name": "sub/a.safetensors"}
    body = {"prompt": "x", "async_process": True}
    assert client.post(url, json=body | {"loras": [lora | {"weight": 10}]}).status_code == 200
    for weight in (10.5, -1.5):
        (fault,) = client.post(url, json=body | {"loras": [lora | {"weight": weight}]}).json()["detail"]
        assert fault["loc"] == ["body", "loras", 0, "weight"]
