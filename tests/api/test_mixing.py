"""Pictures together with image prompts over contract A, and the settings of image prompts."""

import json

import pytest

from tests.api.test_acceptance_a import PROMPT, WITH_IP, adapters
from tests.api.test_image_routes import INPAINT, VARY, as_text, graph_of, half_mask
from tests.api.test_input_images import picture


@pytest.mark.parametrize(("url", "steered"), [(VARY.format(2), "FitForVary"), (INPAINT.format(2), "CropForInpaint")])
def test_a_picture_and_image_prompts_are_mixed_by_themselves(client, url, steered):
    body = {"input_image": as_text(picture(64, 32)), "uov_method": "Vary (Subtle)", "async_process": True}
    body |= {"input_mask": as_text(half_mask(64, 32)), "image_prompts": [{"cn_img": as_text(picture())}]}
    graph = graph_of(client, url, json=body)
    assert {steered, "ApplyImagePrompt"} <= graph.keys()
    form = {"uov_method": "Vary (Subtle)", "async_process": "1", "cn_type1": "PyraCanny"}
    files = {"input_image": picture(64, 32), "input_mask": half_mask(64, 32), "cn_img1": picture()}
    assert {steered, "ApplyControl"} <= graph_of(client, url.replace("v2", "v1"), data=form, files=files).keys()


def test_a_lists_numbers_may_stand_for_the_forms_pictures(client):
    """Contract §2.3, 11: a JSON array beside cn_img1 … says how each of them is to act."""
    config = json.dumps([{"cn_type": "FaceSwap", "cn_stop": 0.3}, {"cn_weight": 1.5}])
    asked = {"image_prompts": config, "async_process": "1"}
    found = adapters(client, PROMPT.format(1), data=asked, files={"cn_img1": picture(), "cn_img2": picture()})
    assert sorted(found) == [(0.3, 0.75), (0.6, 1.5)]


@pytest.mark.parametrize(
    ("settings", "node", "name", "value"),
    [
        ({"controlnet_softness": 0.75}, "ApplyControl", "softness", 0.75),
        ({"canny_low_threshold": 30}, "PyraCanny", "low_threshold", 30),
        ({"canny_high_threshold": 200}, "PyraCanny", "high_threshold", 200),
    ],
)
def test_settings_of_image_prompts_reach_the_graph(client, settings, node, name, value):
    prompts = [{"cn_img": as_text(picture()), "cn_type": "PyraCanny"}]
    body = {"image_prompts": prompts, "advanced_params": settings, "async_process": True}
    assert graph_of(client, WITH_IP, json=body)[node][name] == value
    beside = {"image_prompts": prompts, "async_process": True, **settings}
    assert graph_of(client, WITH_IP, json=beside)[node][name] == value
    assert "x-warning" not in client.post(WITH_IP, json=body).headers


def test_preprocessors_can_be_skipped_or_shown(client):
    prompts = [{"cn_img": as_text(picture()), "cn_type": "PyraCanny"}]
    body = {"image_prompts": prompts, "async_process": True}
    skipped = graph_of(client, WITH_IP, json=body | {"advanced_params": {"skipping_cn_preprocessor": True}})
    assert "PyraCanny" not in skipped
    shown = graph_of(client, WITH_IP, json=body | {"advanced_params": {"debugging_cn_preprocessor": True}})
    assert "SampleLatent" not in shown
