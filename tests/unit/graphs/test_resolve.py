"""From request to generation: presets, fallbacks, forced settings, refusals (behaviour §1, contract §2.7)."""

import pytest
from msgspec.structs import replace

from graphs.catalog import Catalog
from graphs.presets import load_presets
from graphs.request import LIMITS, GenerationRequest, Lora, Refused
from graphs.resolve import resolve
from graphs.text_to_image import text_to_image

JUGGERNAUT = "juggernautXL_v8Rundiffusion.safetensors"
TINY = "focal-tiny-sdxl.safetensors"
OFFSET = "sd_xl_offset_example-lora_1.0.safetensors"
LIGHTNING = "sdxl_lightning_4step_lora.safetensors"

EXPANSION_FILES = tuple(f"focal-tiny-expansion/{name}" for name in ("pytorch_model.bin", "vocab.json", "merges.txt"))
TINY_ONLY = Catalog(checkpoints=(TINY,))
FULL = Catalog(
    checkpoints=("photo/realisticStockPhoto_v20.safetensors", JUGGERNAUT, "sd_xl_refiner_1.0_0.9vae.safetensors", TINY),
    loras=(OFFSET, LIGHTNING, "hey.safetensors"),
    vaes=("mine.safetensors",),
)
REQUEST = GenerationRequest(prompt="a cat", seed=1)


def test_without_a_real_checkpoint_the_tiny_preset_is_in_force():
    generation, warnings = resolve(REQUEST, TINY_ONLY)
    assert (generation.checkpoint, generation.width, generation.height) == (TINY, 128, 128)
    assert (generation.styles, generation.steps, generation.guidance_scale) == ([], 30, 4.0)
    assert warnings == []


def test_with_a_real_checkpoint_the_default_preset_is_in_force():
    generation, warnings = resolve(REQUEST, FULL)
    assert (generation.checkpoint, generation.width, generation.height) == (JUGGERNAUT, 1152, 896)
    assert generation.styles == ["Fooocus Enhance", "Fooocus Sharp"]
    assert generation.loras == [Lora(OFFSET, 0.1)]
    assert len(warnings) == 1
    assert "Fooocus V2" in warnings[0]


def test_any_other_checkpoint_stands_in_for_the_presets_own():
    catalog = Catalog(checkpoints=(TINY, "someones.safetensors"))
    generation, warnings = resolve(REQUEST, catalog)
    assert (generation.checkpoint, generation.width) == ("someones.safetensors", 1152)
    assert any(JUGGERNAUT in warning for warning in warnings)


def test_an_older_name_of_the_default_model_is_found_on_disk():
    catalog = Catalog(checkpoints=("juggernautXL_version6Rundiffusion.safetensors", "a.safetensors"))
    assert resolve(REQUEST, catalog)[0].checkpoint == "juggernautXL_version6Rundiffusion.safetensors"


def test_an_absent_model_falls_back_to_the_default_with_a_warning():
    asked = replace(REQUEST, base_model="juggernautXL_version6Rundiffusion.safetensors")
    generation, warnings = resolve(asked, TINY_ONLY)
    assert (generation.checkpoint, generation.width) == (TINY, 128)
    assert "juggernautXL_version6Rundiffusion.safetensors" in warnings[0]


def test_a_model_in_a_sub_folder_is_found_by_its_bare_name():
    asked = replace(REQUEST, base_model="realisticStockPhoto_v20.safetensors")
    assert resolve(asked, FULL)[0].checkpoint == "photo/realisticStockPhoto_v20.safetensors"


def test_the_request_beats_the_preset_and_the_preset_beats_the_default():
    asked = replace(REQUEST, preset="Realistic", guidance_scale=9, styles=["sai-anime"], loras=[])
    generation, _ = resolve(asked, FULL)
    assert generation.checkpoint == "photo/realisticStockPhoto_v20.safetensors"
    assert (generation.guidance_scale, generation.styles, generation.loras) == (9.0, ["SAI Anime"], [])
    assert (generation.width, generation.height) == (896, 1152)
    assert generation.negative == load_presets()["realistic"].negative_prompt


def test_an_unknown_preset_is_ignored_with_a_warning():
    generation, warnings = resolve(replace(REQUEST, preset="../realistc"), FULL)
    assert generation.checkpoint == JUGGERNAUT
    assert "realistc" in warnings[0]
    initial, _ = resolve(replace(REQUEST, preset="initial"), FULL)
    assert replace(initial, request=REQUEST) == resolve(REQUEST, FULL)[0]


@pytest.mark.parametrize(
    ("mode", "lora", "weight", "sampler", "scheduler", "steps"),
    [
        ("Extreme Speed", "sdxl_lcm_lora.safetensors", 1.0, "lcm", "lcm", 8),
        ("lightning", LIGHTNING, 1.0, "euler", "sgm_uniform", 4),
        ("Hyper-SD", "sdxl_hyper_sd_4step_lora.safetensors", 0.8, "dpmpp_sde_gpu", "karras", 4),
    ],
)
def test_a_distilled_mode_forces_its_sampling_and_adds_its_lora_last(mode, lora, weight, sampler, scheduler, steps):
    catalog = replace_catalog(FULL, loras=(lora, OFFSET))
    asked = replace(REQUEST, performance=mode, guidance_scale=8, sharpness=9, sampler="heun", refiner_model="absent")
    generation, _ = resolve(asked, catalog)
    assert generation.loras == [Lora(OFFSET, 0.1), Lora(lora, weight)]
    assert (generation.sampler, generation.scheduler, generation.steps) == (sampler, scheduler, steps)
    assert (generation.guidance_scale, generation.sharpness, generation.adaptive_cfg) == (1.0, 0.0, 1.0)
    assert generation.adm_scaler == (1.0, 1.0, 0.0)
    assert generation.refiner_switch == 1.0


def replace_catalog(catalog, **changes):
    fields = {name: getattr(catalog, name) for name in catalog.__dataclass_fields__}
    return Catalog(**{**fields, **changes})


def test_a_distilled_mode_without_its_lora_is_refused_by_name():
    with pytest.raises(Refused, match=r"sdxl_lcm_lora\.safetensors") as caught:
        resolve(replace(REQUEST, performance="Extreme Speed"), FULL)
    assert caught.value.field == "performance"


def test_the_modes_own_lora_cannot_be_added_twice_by_a_token():
    asked = replace(REQUEST, performance="Lightning", prompt=f"a cat <lora:{LIGHTNING[:-12]}:0.3>", loras=[])
    generation, warnings = resolve(asked, FULL)
    assert generation.loras == [Lora(LIGHTNING, 1.0)]
    assert generation.prompt == "a cat"
    assert any("token" in warning for warning in warnings)


@pytest.mark.parametrize(("overwrite", "steps"), [(-1, 30), (0, 30), (7, 7)])
def test_overwrite_step_counts_when_positive(overwrite, steps):
    assert resolve(replace(REQUEST, overwrite_step=overwrite), FULL)[0].steps == steps


def test_overwritten_size_beats_the_aspect_and_comes_down_to_multiples_of_8():
    asked = replace(REQUEST, width=512, height=512, overwrite_width=333)
    assert (resolve(asked, FULL)[0].width, resolve(asked, FULL)[0].height) == (328, 512)


def test_unknown_names_are_left_out_with_a_warning_each():
    asked = replace(
        REQUEST,
        styles=["SAI Anim", "Fooocus Sharp"],
        loras=[Lora("absent.safetensors"), Lora("None"), Lora("hey", 0.5), Lora("hey", enabled=False)],
        sampler="karas",
        scheduler="default_scheduler",
        performance="Fast",
        vae="absent",
        refiner_model="absent",
    )
    generation, warnings = resolve(asked, FULL)
    assert generation.styles == ["Fooocus Sharp"]
    assert generation.loras == [Lora("hey.safetensors", 0.5)]
    assert (generation.sampler, generation.scheduler) == ("dpmpp_2m_sde_gpu", "karras")
    assert (generation.performance, generation.vae) == ("Speed", None)
    assert len(warnings) == 6
    assert any("'SAI Anime'" in warning for warning in warnings)


def test_only_five_loras_are_used():
    asked = replace(REQUEST, loras=[Lora("hey.safetensors", n / 10) for n in range(7)])
    generation, warnings = resolve(asked, FULL)
    assert len(generation.loras) == 5
    assert any("first 5" in warning for warning in warnings)


def test_what_cannot_be_done_is_refused_by_field():
    for field, changes in {
        "refiner_model": {"base_model": TINY, "refiner_model": "sd_xl_refiner_1.0_0.9vae.safetensors"},
        "seed": {"seed": None},
        "width": {"width": 8},
    }.items():
        with pytest.raises(Refused) as caught:
            resolve(replace(REQUEST, **changes), FULL)
        assert caught.value.field == field
        assert caught.value.hint


@pytest.mark.parametrize("name", LIMITS)
def test_a_number_outside_its_limits_is_refused_by_field(name):
    low, high = LIMITS[name]
    for value in (low - 2, high + 1, float("nan")):
        with pytest.raises(Refused) as caught:
            resolve(replace(REQUEST, **{name: value}), FULL)
        assert caught.value.field == name


@pytest.mark.parametrize(
    ("field", "value"), [("prompt", "a" * 100_001), ("negative_prompt", "a\n" * 400), ("styles", ["SAI Anime"] * 301)]
)
def test_more_words_than_anyone_writes_are_refused(field, value):
    with pytest.raises(Refused) as caught:
        resolve(replace(REQUEST, **{field: value}), FULL)
    assert caught.value.field == field


@pytest.mark.timeout(10)
@pytest.mark.parametrize("piece", ["[[", "[[a]]", "<lora:", "<lora:hey:1>", "__", "__color__ ", "(", ", "])
def test_hostile_prompts_take_no_long_time(piece):
    text_to_image(replace(REQUEST, prompt=piece * (100_000 // len(piece))), FULL)


def test_a_refiner_equal_to_the_base_is_none():
    generation, warnings = resolve(replace(REQUEST, base_model=JUGGERNAUT, refiner_model=JUGGERNAUT), FULL)
    assert generation.checkpoint == JUGGERNAUT
    assert not any("refiner" in warning for warning in warnings)


def test_no_checkpoint_at_all_is_refused():
    with pytest.raises(Refused) as caught:
        resolve(REQUEST, Catalog())
    assert caught.value.field == "base_model"


def test_seeds_follow_each_other_and_wrap():
    generation, _ = resolve(replace(REQUEST, seed=2**63 - 1, image_number=3), TINY_ONLY)
    assert [generation.seed_of(index) for index in range(3)] == [2**63 - 1, 0, 1]
    generation, _ = resolve(replace(REQUEST, seed=9, disable_seed_increment=True), TINY_ONLY)
    assert [generation.seed_of(index) for index in range(3)] == [9, 9, 9]


@pytest.mark.parametrize("seed", [None, -1, 2**63])
def test_a_missing_or_impossible_seed_is_drawn(seed):
    assert replace(REQUEST, seed=seed).seeded(lambda: 5).seed == 5
    assert 0 <= (replace(REQUEST, seed=seed).seeded().seed or 0) < 2**63
    assert REQUEST.seeded(lambda: 5).seed == 1


def test_an_empty_prompt_switches_expansion_off():
    expanding = replace_catalog(TINY_ONLY, files={"prompt_expansion": EXPANSION_FILES})
    asked = replace(REQUEST, styles=["Fooocus V2"])
    assert resolve(asked, expanding)[0].expansion == EXPANSION_FILES[0]
    assert resolve(replace(asked, prompt=" ,. "), expanding)[0].expansion == ""


def test_expansion_needs_its_vocabulary_and_the_tiny_one_a_tiny_checkpoint():
    asked = replace(REQUEST, prompt="a cat", styles=["Fooocus V2"])
    for catalog in (
        replace_catalog(TINY_ONLY, files={"prompt_expansion": EXPANSION_FILES[:2]}),
        replace_catalog(FULL, files={"prompt_expansion": EXPANSION_FILES}),
    ):
        generation, warnings = resolve(asked, catalog)
        assert generation.expansion == ""
        assert any("no prompt-expansion model" in warning for warning in warnings)
