"""Every field of the base schema and of advanced_params: honoured in the graph or the answer, or refused."""

import pytest

from api.contracts.fooocus_api.schemas import AdvancedParams, Lora, TextToImage
from api.effects import ABOUT, NEVER
from graphs.request import SAMPLERS, SCHEDULERS

NO_EFFECT = {**ABOUT, **NEVER}
URL = "/v1/generation/text-to-image"

# field → (a value, what of the compiled graph it changes: node class, input, value)
HONOURED: dict[str, tuple[object, str, str, object]] = {
    "prompt": ("a cat", "EncodePrompts", "texts", {"__value__": ["a cat"]}),
    "negative_prompt": ("a dog", "EncodePrompts", "texts", {"__value__": ["a dog"]}),
    "performance_selection": ("Quality", "SampleLatent", "steps", 60),
    "aspect_ratios_selection": ("256*192", "EmptyLatentImage", "width", 256),
    "image_seed": (77, "SampleLatent", "seed", 77),
    "sharpness": (7.5, "AdaptiveGuidance", "sharpness", 7.5),
    "guidance_scale": (9.0, "SampleLatent", "cfg", 9.0),
    "base_model_name": ("other.safetensors", "CheckpointLoaderSimple", "ckpt_name", "other.safetensors"),
    "loras": ([{"model_name": "sub/a.safetensors", "weight": 0.7}], "LoraLoader", "strength_model", 0.7),
    "save_meta": (False, "SaveGeneration", "scheme", ""),
    "meta_scheme": ("a111", "SaveGeneration", "scheme", "a1111"),
    "save_extension": ("webp", "SaveGeneration", "extension", "webp"),
    "save_name": ("kitten", "SaveGeneration", "name", "kitten"),
}
ADVANCED_HONOURED: dict[str, tuple[object, str, str, object]] = {
    "adm_scaler_positive": (1.1, "ScaleSizeConditioning", "positive", 1.1),
    "adm_scaler_negative": (0.9, "ScaleSizeConditioning", "negative", 0.9),
    "adm_scaler_end": (0.2, "ScaleSizeConditioning", "end", 0.2),
    "adaptive_cfg": (5.0, "AdaptiveGuidance", "adaptive_cfg", 5.0),
    "clip_skip": (3, "CLIPSetLastLayer", "stop_at_clip_layer", -3),
    "sampler_name": ("euler", "SampleLatent", "sampler_name", "euler"),
    "scheduler_name": ("simple", "SampleLatent", "scheduler", "simple"),
    "overwrite_step": (7, "SampleLatent", "steps", 7),
    "overwrite_width": (320, "EmptyLatentImage", "width", 320),
    "overwrite_height": (192, "EmptyLatentImage", "height", 192),
    "freeu_enabled": (True, "FreeU_V2", "b1", 1.01),
}
# Answered by tests of their own (test_text_to_image.py and below), since they show elsewhere than in one node's input.
ELSEWHERE = {
    *("style_selections", "image_number", "refiner_model_name", "refiner_switch", "advanced_params"),
    *("read_wildcards_in_order", "require_base64", "async_process", "webhook_url", "preset"),
}
ADVANCED_ELSEWHERE = {
    *(
        "disable_preview",
        "disable_seed_increment",
        "black_out_nsfw",
        "vae_name",
    ),
    *("freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2"),
}
# field → (just too small, just too large); None: no such bound
RANGES = {
    "image_number": (0, 33),
    "sharpness": (-0.1, 30.1),
    "guidance_scale": (0.9, 30.1),
    "refiner_switch": (0.09, 1.01),
}
ADVANCED_RANGES = {
    "adm_scaler_positive": (-0.1, 3.1),
    "adm_scaler_negative": (-0.1, 3.1),
    "adm_scaler_end": (-0.1, 1.1),
    "adaptive_cfg": (0.9, 30.1),
    "clip_skip": (0, 13),
    "overwrite_step": (-2, 201),
    "overwrite_switch": (-1.1, 200.5),
    "overwrite_width": (-2, 2049),
    "overwrite_height": (-2, 2049),
    "overwrite_vary_strength": (-1.1, 1.1),
    "overwrite_upscale_strength": (-1.1, 1.1),
    "controlnet_softness": (-0.1, 1.1),
    "canny_low_threshold": (0, 256),
    "canny_high_threshold": (0, 256),
    "inpaint_strength": (-0.1, 1.1),
    "inpaint_respective_field": (-0.1, 1.1),
    "inpaint_erode_or_dilate": (-65, 65),
    "dino_erode_or_dilate": (-65, 65),
}


def graph_of(client, body: dict) -> dict:
    """The graph a body is compiled to; the job itself is fast."""
    reply = client.post(URL, json={"prompt": "x", "image_seed": 1, **body, "async_process": True})
    assert reply.status_code == 200, reply.text
    return client.get(f"/v1/engines/jobs/{reply.json()['job_id']}/graph").json()


def inputs_of(graph: dict, class_type: str, name: str) -> list:
    return [node["inputs"][name] for node in graph.values() if node["class_type"] == class_type]


def test_every_field_has_a_row_in_this_file():
    assert set(TextToImage.__struct_fields__) == set(HONOURED) | ELSEWHERE
    advanced = set(AdvancedParams.__struct_fields__)
    known = set(ADVANCED_HONOURED) | ADVANCED_ELSEWHERE | set(NO_EFFECT)
    assert advanced == known & advanced
    assert advanced <= known


@pytest.mark.parametrize("field", HONOURED)
def test_a_field_changes_the_graph(client, field):
    value, class_type, name, expected = HONOURED[field]
    assert expected in inputs_of(graph_of(client, {field: value}), class_type, name)
    plain = graph_of(client, {} if field != "image_seed" else {"image_seed": 2})
    assert expected not in inputs_of(plain, class_type, name)


@pytest.mark.parametrize("field", ADVANCED_HONOURED)
def test_an_advanced_field_changes_the_graph(client, field):
    value, class_type, name, expected = ADVANCED_HONOURED[field]
    assert expected in inputs_of(graph_of(client, {"advanced_params": {field: value}}), class_type, name)
    assert expected not in inputs_of(graph_of(client, {}), class_type, name)


@pytest.mark.parametrize(("factor", "value"), [("b1", 1.3), ("b2", 1.4), ("s1", 0.9), ("s2", 0.2)])
def test_freeu_factors_reach_the_node(client, factor, value):
    graph = graph_of(client, {"advanced_params": {"freeu_enabled": True, f"freeu_{factor}": value}})
    assert inputs_of(graph, "FreeU_V2", factor) == [value]


@pytest.mark.parametrize("field", [name for name in NO_EFFECT if name in AdvancedParams.__struct_fields__])
def test_a_setting_for_other_routes_is_accepted_and_said_to_have_no_effect(client, field):
    plain = getattr(AdvancedParams(), field)
    other = (not plain) if isinstance(plain, bool) else "v1" if isinstance(plain, str) else plain + 0.25 - plain // 1
    if isinstance(plain, int) and not isinstance(plain, bool):
        other = 1 if plain != 1 else 2
    reply = client.post(URL, json={"prompt": "x", "advanced_params": {field: other}})
    assert reply.status_code == 200, reply.text
    assert f"advanced_params.{field} has no effect" in reply.headers["x-warning"]


@pytest.mark.parametrize("field", RANGES)
def test_a_number_out_of_range_is_refused(client, field):
    for value in RANGES[field]:
        detail = client.post(URL, json={field: value}).json()["detail"]
        assert [fault["loc"] for fault in detail] == [["body", field]]
        assert detail[0]["type"] in ("greater_than_equal", "less_than_equal")


@pytest.mark.parametrize("field", ADVANCED_RANGES)
def test_an_advanced_number_out_of_range_is_refused(client, field):
    for value in ADVANCED_RANGES[field]:
        reply = client.post(URL, json={"advanced_params": {field: value}})
        assert reply.status_code == 422
        assert [fault["loc"] for fault in reply.json()["detail"]] == [["body", "advanced_params", field]]


@pytest.mark.parametrize("struct", [TextToImage, AdvancedParams, Lora])
def test_every_field_refuses_an_object_in_its_place_and_takes_null_as_absent(client, struct):
    wrap = {TextToImage: lambda sent: sent, AdvancedParams: lambda sent: {"advanced_params": sent}}.get(
        struct, lambda sent: {"loras": [{"model_name": "a", **sent}]}
    )
    for field in struct.__struct_fields__:
        wrong = 5 if field == "advanced_params" else {"a": 1}
        reply = client.post(URL, json=wrap({field: wrong}))
        assert reply.status_code == 422, field
        assert reply.json()["detail"][0]["loc"][-1] == field
    nulls = {field: None for field in struct.__struct_fields__ if field != "model_name"}
    assert client.post(URL, json=wrap(nulls)).status_code == 200


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"aspect_ratios_selection": "abc"}, ["body", "aspect_ratios_selection"]),
        ({"aspect_ratios_selection": "0*0"}, ["body", "aspect_ratios_selection"]),
        ({"performance_selection": "Slow"}, ["body", "performance_selection"]),
        (
            {"performance_selection": "Lightning", "base_model_name": "other.safetensors"},
            ["body", "performance_selection"],
        ),
        ({"save_extension": "bmp"}, ["body", "save_extension"]),
        ({"meta_scheme": "nonsense"}, ["body", "meta_scheme"]),
        ({"refiner_model_name": "other.safetensors"}, ["body", "refiner_model_name"]),
        ({"style_selections": "Fooocus V2"}, ["body", "style_selections"]),
        ({"loras": [{"model_name": "a", "weight": 3}]}, ["body", "loras", 0, "weight"]),
        ({"loras": [{"weight": 1}]}, ["body", "loras", 0, "model_name"]),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_field_named(client, body, loc):
    reply = client.post(URL, json=body)
    assert reply.status_code == 422, reply.text
    assert [fault["loc"] for fault in reply.json()["detail"]] == [loc]
    assert reply.json()["detail"][0]["msg"]
    assert "body" not in reply.json()


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_taken(client, name):
    graph = graph_of(client, {"advanced_params": {"sampler_name": name.upper()}})
    assert inputs_of(graph, "SampleLatent", "sampler_name") == [name]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_is_taken(client, name):
    graph = graph_of(client, {"advanced_params": {"scheduler_name": name}})
    assert inputs_of(graph, "SampleLatent", "scheduler") == [name]


def test_the_documented_default_words_mean_the_default(client):
    words = {"sampler_name": "default_sampler", "scheduler_name": "default_scheduler"}
    assert graph_of(client, {"advanced_params": words}) == graph_of(client, {})


def test_styles_are_taken_under_both_names_split_at_commas_and_in_any_case(client):
    plain = graph_of(client, {"style_selections": ["Fooocus Enhance", "Fooocus Sharp"]})
    assert graph_of(client, {"style": ["fooocus enhance, FOOOCUS SHARP"]}) == plain
    both = {"style": ["SAI Anime"], "style_selections": ["Fooocus Enhance", "Fooocus Sharp"]}
    assert graph_of(client, both) == plain
    assert graph_of(client, {"style_selections": []}) != plain


def test_a_preset_fills_what_the_request_leaves_open(client):
    steps = {"lightning": "Lightning", "lcm": "Extreme Speed"}
    assert steps.keys() <= set(client.app.state.services.library.catalog.presets)
    plain = graph_of(client, {"prompt": "x"})
    assert graph_of(client, {"prompt": "x", "preset": "anime"}) != plain
    assert graph_of(client, {"prompt": "x", "preset": "INITIAL"}) == plain
    reply = client.post(URL, json={"prompt": "x", "preset": "no such one"})
    assert "no such one" in reply.headers["x-warning"]


def test_wildcards_are_taken_in_order_when_asked(client):
    body = {"prompt": "__color__", "image_number": 2, "read_wildcards_in_order": True}
    texts = inputs_of(graph_of(client, body), "EncodePrompts", "texts")
    assert graph_of(client, {**body, "image_seed": 99}) != graph_of(client, body)
    assert texts == inputs_of(graph_of(client, {**body, "image_seed": 99}), "EncodePrompts", "texts")


def test_a_lora_without_enabled_is_used_and_a_disabled_or_empty_one_is_not(client):
    lora = {"model_name": "sub/a.safetensors"}
    assert inputs_of(graph_of(client, {"loras": [lora]}), "LoraLoader", "strength_model") == [0.5]
    for empty in ([{**lora, "enabled": False}], [{"model_name": "None"}], [{"model_name": ""}], []):
        assert inputs_of(graph_of(client, {"loras": empty}), "LoraLoader", "lora_name") == []


def test_at_most_five_loras_are_used(client):
    graph = graph_of(client, {"loras": [{"model_name": "sub/a.safetensors", "weight": i / 10} for i in range(1, 8)]})
    assert len(inputs_of(graph, "LoraLoader", "lora_name")) == 5


def test_an_empty_refiner_is_none_and_an_unknown_one_is_left_out_with_a_warning(client):
    for name in ("None", "", "none"):
        assert "x-warning" not in client.post(URL, json={"prompt": "x", "refiner_model_name": name}).headers
    assert "refiner" in client.post(URL, json={"refiner_model_name": "absent.safetensors"}).headers["x-warning"]


def test_a_named_vae_that_is_absent_is_said_and_the_default_is_used(client):
    plain = graph_of(client, {})
    assert graph_of(client, {"advanced_params": {"vae_name": "Default (model)"}}) == plain
    reply = client.post(URL, json={"prompt": "x", "advanced_params": {"vae_name": "absent.safetensors"}})
    assert "absent.safetensors" in reply.headers["x-warning"]


def test_the_same_request_compiles_to_the_same_graph(client):
    body = {"prompt": "a __color__ cat", "style_selections": ["Random Style"], "image_number": 2}
    assert graph_of(client, body) == graph_of(client, body)


def test_names_of_older_documents_fall_back_to_the_installed_default(client):
    reply = client.post(URL, json={"prompt": "x", "base_model_name": "juggernautXL_version6Rundiffusion.safetensors"})
    assert reply.json()[0]["finish_reason"] == "SUCCESS"
    assert "juggernautXL_version6Rundiffusion" in reply.headers["x-warning"]
