"""Presets: the shipped table of fooocus-behaviour §1.7, and user files in the same format."""

import json

import pytest

from graphs.presets import KEYS, Preset, load_presets, read_preset
from graphs.request import Lora
from graphs.styles import StyleBook

PRESETS = load_presets()
OFFSET = "sd_xl_offset_example-lora_1.0.safetensors"

# name: model, CFG, first LoRA, styles, size, performance (Fooocus behaviour §1.7).
TABLE = {
    "default": (
        "juggernautXL_v8Rundiffusion",
        4.0,
        Lora(OFFSET, 0.1),
        ("Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"),
        (1152, 896),
        "Speed",
    ),
    "anime": (
        "animaPencilXL_v500",
        6.0,
        None,
        ("Fooocus V2", "Fooocus Semi Realistic", "Fooocus Masterpiece"),
        (896, 1152),
        "Speed",
    ),
    "realistic": (
        "realisticStockPhoto_v20",
        3.0,
        Lora("SDXL_FILM_PHOTOGRAPHY_STYLE_V1.safetensors", 0.25),
        ("Fooocus V2", "Fooocus Photograph", "Fooocus Negative"),
        (896, 1152),
        "Speed",
    ),
    "sai": (
        "sd_xl_base_1.0_0.9vae",
        7.0,
        Lora(OFFSET, 0.5),
        ("Fooocus V2", "Fooocus Cinematic"),
        (1152, 896),
        "Speed",
    ),
    "lcm": (
        "juggernautXL_v8Rundiffusion",
        4.0,
        None,
        ("Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"),
        (1152, 896),
        "Extreme Speed",
    ),
    "lightning": (
        "juggernautXL_v8Rundiffusion",
        4.0,
        None,
        ("Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"),
        (1152, 896),
        "Lightning",
    ),
    "playground_v2.5": (
        "playground-v2.5-1024px-aesthetic.fp16",
        2.0,
        None,
        ("Fooocus V2",),
        (1024, 1024),
        "Speed",
    ),
    "pony_v6": ("ponyDiffusionV6XL", 7.0, None, ("Fooocus Pony",), (896, 1152), "Speed"),
    "tiny": ("focal-tiny-sdxl", 4.0, None, (), (128, 128), "Speed"),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_shipped_preset_says_what_the_table_says(name):
    model, cfg, lora, styles, size, mode = TABLE[name]
    preset = PRESETS[name]
    assert preset.base_model == f"{model}.safetensors"
    assert preset.guidance_scale == cfg
    assert preset.loras == ((lora,) if lora else ())
    assert (preset.styles, preset.size, preset.performance) == (styles, size, mode)
    assert (preset.sharpness, preset.overwrite_step, preset.refiner_model) == (
        2.0,
        -1,
        "sd_xl_refiner_1.0_0.9vae.safetensors" if name == "sai" else "None",
    )


def test_presets_differ_where_the_table_has_its_last_column():
    playground = PRESETS["playground_v2.5"]
    assert (playground.sampler, playground.scheduler) == ("dpmpp_2m", "edm_playground_v2.5")
    assert playground.inpaint_engine_version == "None"
    assert PRESETS["pony_v6"].vae == "ponyDiffusionV6XL_vae.safetensors"
    assert PRESETS["sai"].refiner_switch == 0.75
    assert PRESETS["realistic"].negative_prompt
    assert len(PRESETS["default"].previous_default_models) == 5
    assert len(PRESETS["anime"].previous_default_models) == 7
    assert PRESETS["tiny"].available_aspect_ratios[-1] == "256*256"


def test_shipped_presets_name_only_known_styles_and_keys():
    book = StyleBook.load()
    for preset in PRESETS.values():
        assert all(book.find(name) == name for name in preset.styles)


def test_a_user_preset_loads_unchanged_and_replaces_a_shipped_one(tmp_path):
    content = {
        "default_model": "mine.safetensors",
        "default_loras": [["old-form.safetensors", 0.5], [False, "off.safetensors", 1.0], [True, "None", 1.0]],
        "default_cfg_scale": 5,
        "default_cfg_tsnr": 8.5,
        "default_clip_skip": 1,
        "default_vae": None,
        "some_key_of_a_later_fooocus": [1, 2],
    }
    (tmp_path / "anime.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "broken.json").write_text("[]", encoding="utf-8")
    presets = load_presets(tmp_path)
    assert "broken" not in presets
    anime = presets["anime"]
    assert (anime.base_model, anime.loras) == ("mine.safetensors", (Lora("old-form.safetensors", 0.5),))
    assert (anime.guidance_scale, anime.adaptive_cfg, anime.clip_skip, anime.vae) == (5, 8.5, 1, "None")
    assert anime.styles == PRESETS["default"].styles  # A key that is absent comes from the running configuration.
    assert anime.previous_default_models == ()


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", [{"a": 1}, "no such thing", -1e9, [[1, 2, 3, 4]], True])
def test_no_value_of_any_key_breaks_loading(key, value):
    preset = read_preset("odd", {key: value}, PRESETS["default"])
    assert isinstance(preset, Preset)
    assert preset.name == "odd"
    assert preset.size
