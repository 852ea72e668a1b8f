"""Every field of CommonRequest: what it changes in the graph, or the test that looks at it, or that it does nothing."""

from typing import Any

import pytest

from api.contracts.fooocusapi.schemas import CommonRequest
from api.effects import ABOUT, NEVER
from tests.api.test_engine_generate import IMAGE, MASK, URL, faults, graph_of
from tests.api.test_fields import ADVANCED_HONOURED, ADVANCED_RANGES, HONOURED, RANGES

NAMES = {"save_meta": "save_metadata_to_images", "meta_scheme": "metadata_scheme", "save_extension": "output_format"}
PAINT = {"inpaint_input_image": IMAGE, "inpaint_mask_image_upload": MASK}
STEER = {"controlnet_image": [{"cn_img": IMAGE, "cn_type": "PyraCanny"}]}
VARY = {"uov_input_image": IMAGE, "uov_method": "Vary (Strong)"}

# field → (a value, what of the compiled graph it changes: node class, input, value)
SHARED = {NAMES.get(name, name): row for name, row in (HONOURED | ADVANCED_HONOURED).items()}
# field → (what is sent with it, a value, node class, input, value)
WITH_PICTURES: dict[str, tuple[dict[str, Any], Any, str, str, Any]] = {
    "uov_method": ({"uov_input_image": IMAGE}, "Vary (Subtle)", "SampleLatent", "denoise", 0.5),
    "overwrite_vary_strength": (VARY, 0.4, "SampleLatent", "denoise", 0.4),
    "overwrite_upscale_strength": (VARY | {"uov_method": "Upscale (2x)"}, 0.2, "SampleLatent", "denoise", 0.2),
    "upscale_multiple": (VARY | {"uov_method": "Upscale (Custom)"}, 2.5, "FitForUpscale", "factor", 2.5),
    "outpaint_selections": (PAINT, ["Left"], "PadForOutpaint", "left", 12),
    "outpaint_distance": (PAINT | {"outpaint_selections": ["Top"]}, [0, 24, 0, 0], "PadForOutpaint", "top", 24),
    "inpaint_additional_prompt": (PAINT, "a hat", "EncodePrompts", "texts", {"__value__": ["a hat", "x"]}),
    "inpaint_strength": (PAINT, 0.6, "SampleLatent", "denoise", 0.6),
    "inpaint_respective_field": (PAINT, 0.3, "CropForInpaint", "respective_field", 0.3),
    "inpaint_erode_or_dilate": (PAINT, 9, "AssembleMask", "erode_or_dilate", 9),
    "canny_low_threshold": (STEER, 50, "PyraCanny", "low_threshold", 50),
    "canny_high_threshold": (STEER, 200, "PyraCanny", "high_threshold", 200),
    "controlnet_softness": (STEER, 0.5, "ApplyControl", "softness", 0.5),
}
# Looked at by tests of their own: here, of the flows (tests/graphs), of neutral.advanced (test_fields.py).
ELSEWHERE = {
    *("style_selections", "image_number", "refiner_model_name", "refiner_switch", "refiner_swap_method"),
    *("overwrite_switch", "read_wildcards_in_order", "preset", "stream_output", "async_process", "webhook_url"),
    *("uov_input_image", "inpaint_input_image", "inpaint_mask_image_upload", "controlnet_image", "inpaint_engine"),
    *("mixing_image_prompt_and_vary_upscale", "mixing_image_prompt_and_inpaint", "skipping_cn_preprocessor"),
    *("debugging_cn_preprocessor", "debugging_inpaint_preprocessor", "inpaint_disable_initial_latent"),
    *("disable_preview", "disable_seed_increment", "black_out_nsfw", "generate_image_grid", "vae_name"),
    *("freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2", "enhance_input_image", "enhance_checkbox", "enhance_ctrls"),
    *("enhance_uov_method", "enhance_uov_processing_order", "enhance_uov_prompt_type"),
    *("save_final_enhanced_image_only", "debugging_dino", "dino_erode_or_dilate"),
}
NO_EFFECT = {
    *("input_image_checkbox", "current_tab", "inpaint_mask_upload_checkbox", "invert_mask_checkbox"),
    *("require_base64", "disable_intermediate_results", "debugging_enhance_masks_checkbox"),
}


def values(graph: dict[str, dict[str, Any]], class_type: str, name: str) -> Any:
    return graph.get(class_type, {}).get(name)


def test_every_field_has_a_row_in_this_file():
    rows = [set(SHARED), set(WITH_PICTURES), ELSEWHERE, NO_EFFECT]
    assert set(CommonRequest.__struct_fields__) == set().union(*rows)
    assert sum(map(len, rows)) == len(set().union(*rows))


@pytest.mark.parametrize("field", sorted(SHARED))
def test_a_field_changes_the_graph(client, field):
    value, class_type, name, expected = SHARED[field]
    changed = graph_of(client, **{"prompt": "", "image_seed": 2, field: value})
    plain = graph_of(client, prompt="", image_seed=2)
    if class_type == "EncodePrompts":  # the last of a class is the negative
        assert changed != plain
        return
    assert values(changed, class_type, name) == expected != values(plain, class_type, name)


@pytest.mark.parametrize("field", sorted(WITH_PICTURES))
def test_a_field_changes_the_graph_of_a_picture(client, field):
    sent, value, class_type, name, expected = WITH_PICTURES[field]
    changed = graph_of(client, **sent | {field: value, "negative_prompt": ""})
    if class_type == "EncodePrompts":
        assert changed != graph_of(client, **sent | {"negative_prompt": ""})
        return
    assert values(changed, class_type, name) == expected != values(graph_of(client, **sent), class_type, name)


@pytest.mark.parametrize("field", sorted(NO_EFFECT))
def test_a_field_that_does_nothing_does_nothing(client, field):
    value = "inpaint" if field == "current_tab" else not getattr(CommonRequest(), field)
    assert graph_of(client, **PAINT, **{field: value}) == graph_of(client, **PAINT)


@pytest.mark.parametrize("field", sorted(ABOUT.keys() | NEVER.keys()))
def test_a_setting_without_use_is_said_to_have_no_effect(client, field):
    plain = getattr(CommonRequest(), field)
    kinds = {bool: not plain, str: "v1", float: 0.75, int: 9}
    value = 0.75 if field.endswith("_strength") else kinds[type(plain)]
    sent = {field: value, "prompt": "x", "async_process": True}
    reply = client.post(URL, json=sent)
    assert f"{field} has no effect" in reply.headers["x-warning"]


def test_defaults_and_settings_of_use_are_no_reason_for_a_warning(client):
    defaults = {name: getattr(CommonRequest(), name) for name in (*ABOUT, *NEVER)}
    assert "x-warning" not in client.post(URL, json={"prompt": "x", **defaults, "async_process": True}).headers
    used = {"inpaint_strength": 0.6, "inpaint_erode_or_dilate": 9, "inpaint_engine": "None"}
    assert "x-warning" not in client.post(URL, json=PAINT | used | {"prompt": "x", "async_process": True}).headers


def test_ranges_are_those_of_the_document(client):
    unbounded = {"overwrite_step", "overwrite_switch"}
    ranges = {NAMES.get(name, name): bounds for name, bounds in (RANGES | ADVANCED_RANGES).items()}
    for name, (low, high) in ranges.items():
        for value in (low, high):
            if value is not None and name not in unbounded:
                (fault,) = faults(client, **{name: value})
                assert fault["loc"] == ["body", name]
    assert graph_of(client, overwrite_step=500)["SampleLatent"]["steps"] == 500
    (fault,) = faults(client, overwrite_step=0.5)
    assert fault["type"] == "int_from_float"
