"""Fooocus' config.txt, brought along: folders, defaults of requests, and which of them goes before which."""

import json

import pytest

from api.fooocus_config import WITH_EFFECT, WITHOUT_EFFECT, BadConfig, read_fooocus_config
from api.library import Library
from api.settings import BadSetting, load
from tests.api.conftest import fake_settings
from tests.api.test_input_images import opened

TEXT_TO_IMAGE, GENERATE = "/v1/generation/text-to-image", "/v1/engine/generate/"
FOOOCUS_KEYS = """
    path_checkpoints path_loras path_embeddings path_vae_approx path_vae path_upscale_models path_inpaint
    path_controlnet path_clip_vision path_fooocus_expansion path_wildcards path_safety_checker path_sam path_outputs
    temp_path temp_path_cleanup_on_launch default_model previous_default_models default_refiner default_refiner_switch
    default_loras_min_weight default_loras_max_weight default_loras default_max_lora_number default_cfg_scale
    default_sample_sharpness default_sampler default_scheduler default_vae default_styles default_prompt
    default_prompt_negative default_performance default_image_prompt_checkbox default_enhance_checkbox
    default_advanced_checkbox default_developer_debug_mode_checkbox default_image_prompt_advanced_checkbox
    default_max_image_number default_image_number default_output_format default_aspect_ratio available_aspect_ratios
    default_inpaint_engine_version default_selected_image_input_tab_id default_uov_method
    default_controlnet_image_count default_ip_image_1 default_ip_type_1 default_ip_stop_at_1 default_ip_weight_1
    default_inpaint_advanced_masking_checkbox default_inpaint_method default_cfg_tsnr default_clip_skip
    default_overwrite_step default_overwrite_switch default_overwrite_upscale default_enhance_tabs
    default_enhance_uov_method default_enhance_uov_processing_order default_enhance_uov_prompt_type
    default_sam_max_detections default_black_out_nsfw default_save_only_final_enhanced_image
    default_save_metadata_to_images default_metadata_scheme metadata_created_by default_invert_mask_checkbox
    default_inpaint_mask_model default_enhance_inpaint_mask_model default_inpaint_mask_cloth_category
    default_inpaint_mask_sam_model default_describe_apply_prompts_checkbox default_describe_content_type
    example_inpaint_prompts example_enhance_detection_prompts checkpoint_downloads lora_downloads
    embeddings_downloads vae_downloads
"""


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


def test_a_number_that_is_none_is_left_out(config, tmp_path, caplog):
    (tmp_path / "data" / "config.txt").write_text('{"default_clip_skip": 1e999, "default_cfg_scale": NaN}')
    plain = catalog_of(tmp_path / "elsewhere", preset="").preset_in_force
    assert catalog_of(tmp_path, preset="").preset_in_force.clip_skip == plain.clip_skip
    assert {"default_clip_skip", "default_cfg_scale"} <= set(caplog.text.split())


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


def test_how_pictures_are_made_and_kept_by_default_is_the_configurations(make_client, tmp_path):
    saved = {"default_output_format": "webp", "default_metadata_scheme": "a1111", "metadata_created_by": "somebody"}
    (tmp_path / "config.txt").write_text(json.dumps(saved | {"default_image_number": 2, "default_max_image_number": 3}))
    client = make_client(preset="")
    jobs = [client.post(url, json={"async_process": True}).json() for url in (TEXT_TO_IMAGE, GENERATE)]
    for id in (jobs[0]["job_id"], jobs[1]["task_id"]):
        graph = client.get(f"/v1/engines/jobs/{id}/graph").json()
        saving = [node["inputs"] for node in graph.values() if node["class_type"] == "SaveGeneration"]
        assert [(each["extension"], each["scheme"]) for each in saving] == [("webp", "a1111")] * 2
        assert "User: somebody" in saving[0]["metadata"]
        asked = {"image_number": 1, "async_process": True}
        png = {"save_extension": "png", "save_meta": False}  # both contracts take A's words
        told = client.post(TEXT_TO_IMAGE if id == jobs[0]["job_id"] else GENERATE, json=asked | png).json()
        graph = client.get(f"/v1/engines/jobs/{told.get('job_id') or told['task_id']}/graph").json()
        (saving,) = [node["inputs"] for node in graph.values() if node["class_type"] == "SaveGeneration"]
        assert saving["extension"] == "png"
    for url in (TEXT_TO_IMAGE, GENERATE):
        (fault,) = client.post(url, json={"image_number": 4}).json()["detail"]
        assert (fault["loc"], "at most 3" in fault["msg"]) == (["body", "image_number"], True)


def test_pictures_carry_no_parameters_where_the_configuration_says_so(make_client, tmp_path):
    (tmp_path / "config.txt").write_text(json.dumps({"default_save_metadata_to_images": False}))
    client = make_client(preset="")
    for asked, kept in ({}, False), ({"save_meta": True}, True), ({"save_meta": None}, False):
        (made,) = client.post(TEXT_TO_IMAGE, json=asked).json()
        assert ("parameters" in opened(client, made["url"]).info) == kept


def test_keys_that_do_nothing_are_named_with_the_reason(config, tmp_path):
    path = config(
        default_enhance_tabs=5,
        default_enhance_checkbox=True,
        default_uov_method="Disabled",
        example_inpaint_prompts=["a face"],
        temp_path_cleanup_on_launch=True,
        default_cfg_scale=4,
        path_sam="sam",
        shoe_size=43,
    )
    notes = read_fooocus_config(path, tmp_path, {}).notes
    assert notes == (
        "temp_path_cleanup_on_launch: old files of the temp folder are removed daily",
        "default_enhance_tabs: four image prompts and three stages of enhancing count, as the contracts say",
        "default_enhance_checkbox, default_uov_method: a request says it itself; where it does not, the contracts' own "
        "defaults hold",
        "example_inpaint_prompts: it is about Fooocus' page, which is not here",
        "shoe_size: unknown here, ignored",
    )


def test_every_key_of_fooocus_acts_or_has_its_reason():
    """The keys of behaviour §1.2 and §1.3."""
    beginnings = tuple(key for keys in WITHOUT_EFFECT.values() for key in keys)
    assert [key for key in FOOOCUS_KEYS.split() if key not in WITH_EFFECT and not key.startswith(beginnings)] == []
