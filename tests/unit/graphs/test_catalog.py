"""The catalog: what is installed, shipped data and the user's below one folder."""

import json

from graphs.catalog import Catalog


def test_the_users_files_below_the_data_folder_are_found(tmp_path):
    for name in ("styles", "presets", "wildcards"):
        (tmp_path / name).mkdir()
    (tmp_path / "styles" / "mine.json").write_text('[{"name": "mine", "prompt": "{prompt} mine"}]', encoding="utf-8")
    (tmp_path / "presets" / "mine.json").write_text(json.dumps({"default_model": "m.safetensors"}), encoding="utf-8")
    (tmp_path / "wildcards" / "color.txt").write_text("mauve\n", encoding="utf-8")
    catalog = Catalog.build(checkpoints=["m.safetensors"], data_dir=tmp_path, default_preset="MINE")
    assert catalog.styles.find("mine") == "Mine"
    assert catalog.wildcards.lines("color") == ("mauve",)
    assert catalog.wildcards.lines("animal")
    assert (catalog.preset_in_force.name, catalog.default_checkpoint) == ("mine", "m.safetensors")


def test_a_data_folder_without_user_files_is_fine(tmp_path):
    catalog = Catalog.build(checkpoints=[], data_dir=tmp_path / "absent")
    assert (catalog.preset_in_force.name, catalog.default_checkpoint) == ("tiny", None)


def test_the_tiny_model_is_the_last_resort_and_not_a_real_checkpoint():
    assert Catalog(checkpoints=("focal-tiny-sdxl.safetensors",)).real_checkpoints == []
    both = Catalog(checkpoints=("focal-tiny-sdxl.safetensors", "z.safetensors"))
    assert (both.preset_in_force.name, both.default_checkpoint) == ("default", "z.safetensors")


def test_an_unknown_configured_preset_leaves_the_choice_to_the_catalog():
    catalog = Catalog(checkpoints=("focal-tiny-sdxl.safetensors",), default_preset="no such preset")
    assert catalog.preset_in_force.name == "tiny"


def test_embedded_stand_ins_for_refiners_are_not_offered_and_the_users_own_refiner_is():
    kinds = {"focal-tiny-refiner.safetensors": "sdxl_refiner", "focal-tiny-sd15.safetensors": "sd1"}
    kinds |= {"focal-tiny-sdxl.safetensors": "sdxl", "sd_xl_refiner_1.0.safetensors": "sdxl_refiner", "x.ckpt": ""}
    catalog = Catalog(checkpoints=tuple(kinds), family_of=lambda name: kinds[name])
    assert catalog.offered_checkpoints == [
        *("focal-tiny-sdxl.safetensors", "sd_xl_refiner_1.0.safetensors", "x.ckpt"),
    ]
