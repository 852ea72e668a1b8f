"""Vary, upscale, inpaint and outpaint over Fooocus-API's routes: JSON and forms, answers, what is refused."""

import base64
import json
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.api.test_input_images import encoded, fault, opened, picture
from tests.api.test_text_to_image import poll

VARY = "/v{}/generation/image-upscale-vary"
INPAINT = "/v{}/generation/image-inpaint-outpaint"
BLUE = (0, 0, 255)
RED = (255, 0, 0)


def as_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def half_mask(width: int, height: int) -> bytes:
    """White on the left half."""
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (0, 0, width // 2, height))
    return encoded(mask)


def graph_of(client: TestClient, url: str, **request: Any) -> dict[str, Any]:
    """The graph of an async job: class type → inputs of the last node of that class."""
    job = client.post(url, **request).json()
    assert job.get("job_id"), job
    poll(client, job["job_id"])
    graph = client.get(f"/v1/engines/jobs/{job['job_id']}/graph").json()
    return {node["class_type"]: node["inputs"] for node in graph.values()}


def test_json_without_a_method_enlarges_twice(client):
    reply = client.post(VARY.format(2), json={"input_image": as_text(picture(40, 24)), "image_seed": 3})
    (image,) = reply.json()
    assert image["finish_reason"] == "SUCCESS"
    assert image["seed"] == "3"
    assert opened(client, image["url"]).size == (80, 48)


@pytest.mark.parametrize("path", [VARY.format(1), VARY.format(2), VARY.format(1) + "/", VARY.format(2) + "/"])
def test_both_versions_take_json_and_forms_with_and_without_a_slash(client, path):
    asked = {"uov_method": "vary (subtle)", "prompt": "a"}
    form = client.post(path, data=asked, files={"input_image": picture()})
    body = client.post(path, json={**asked, "input_image": as_text(picture())})
    assert [reply.json()[0]["finish_reason"] for reply in (form, body)] == ["SUCCESS", "SUCCESS"]


def test_the_kinds_of_answer_are_those_of_text_to_image(client):
    body = {"input_image": as_text(picture()), "uov_method": "Vary (Strong)", "image_number": 2}
    job = client.post(VARY.format(2), json=body | {"async_process": True}).json()
    assert (job["job_type"], job["job_stage"]) == ("Image Upscale or Variation", "WAITING")
    assert len(poll(client, job["job_id"])["job_result"]) == 2
    binary = client.post(VARY.format(2), json=body, headers={"accept": "image/webp"})
    assert binary.headers["content-type"] == "image/webp"
    (first, _) = client.post(VARY.format(2), json=body | {"require_base64": True}).json()
    assert first["base64"].startswith("data:image/png;base64,")


def test_the_history_names_the_stored_picture_and_does_not_hold_it(make_client):
    client = make_client(persistent=True)
    client.post(VARY.format(2), json={"input_image": as_text(picture()), "uov_method": "Vary (Subtle)"})
    (entry,) = client.get("/v1/generation/job-history").json()["history"]
    assert entry["params"]["input_image"].endswith(".png")
    assert entry["params"]["image_prompts"] == []
    assert entry["task_info"]["task_type"] == "Image Upscale or Variation"


def test_a_custom_factor_without_a_value_is_two(client):
    body = {"input_image": as_text(picture(40, 24)), "uov_method": "Upscale (Custom)"}
    for value, size in ((None, (80, 48)), (1.5, (60, 36)), ("3", (120, 72))):
        reply = client.post(VARY.format(2), json=body | {"upscale_value": value})
        assert opened(client, reply.json()[0]["url"]).size == size


def test_strengths_reach_the_sampler(client):
    body = {"input_image": as_text(picture()), "uov_method": "Vary (Subtle)", "async_process": True}
    assert graph_of(client, VARY.format(2), json=body)["SampleLatent"]["denoise"] == 0.5
    body["advanced_params"] = {"overwrite_vary_strength": 0.25}
    assert graph_of(client, VARY.format(2), json=body)["SampleLatent"]["denoise"] == 0.25


def test_disabled_makes_a_picture_from_the_prompt_and_says_so(client):
    body = {"input_image": as_text(picture()), "uov_method": "disable", "prompt": "a"}
    reply = client.post(VARY.format(2), json=body)
    assert reply.json()[0]["finish_reason"] == "SUCCESS"
    assert "Disabled" in reply.headers["x-warning"]


def test_every_fault_of_a_body_is_named(client):
    reply = client.post(VARY.format(2), json={"uov_method": "Enlarge", "upscale_value": 9, "image_number": 99})
    assert reply.status_code == 422
    assert {item["loc"][1] for item in reply.json()["detail"]} == {"uov_method", "upscale_value", "image_number"}


def test_a_form_has_to_say_what_is_wanted(client):
    reply = client.post(VARY.format(1), data={"prompt": "a"}, files={"input_image": picture()})
    assert (fault(reply)["type"], fault(reply)["loc"]) == ("missing", ["body", "uov_method"])
    reply = client.post(VARY.format(1), data={"uov_method": "Vary (Subtle)", "prompt": "a"}, files={"x": b""})
    assert (fault(reply)["type"], fault(reply)["loc"]) == ("missing", ["body", "input_image"])


def test_empty_form_fields_mean_not_sent(client):
    names = (
        "cn_img1",
        "cn_stop1",
        "cn_weight1",
        "advanced_params",
        "upscale_value",
        "loras",
        "webhook_url",
        "image_seed",
    )
    asked = dict.fromkeys(names, "") | {"uov_method": "Vary (Subtle)", "async_process": "True"}
    plain = graph_of(client, VARY.format(1), data=asked, files={"input_image": picture()})
    assert plain["SampleLatent"]["seed"] >= 0


def test_lists_in_forms_come_repeated_with_commas_or_as_json(client):
    wanted = None
    for styles in (
        ["Fooocus V2, Fooocus Sharp"],
        ["Fooocus V2", "Fooocus Sharp"],
        ['["Fooocus V2", "Fooocus Sharp"]'],
    ):
        asked = {"uov_method": "Vary (Subtle)", "style_selections": styles, "async_process": "yes", "image_seed": "7"}
        asked["advanced_params"] = json.dumps({"overwrite_step": 2})
        graph = graph_of(client, VARY.format(1), data={**asked, "prompt": "a"}, files={"input_image": picture()})
        wanted = wanted or graph
        assert graph == wanted
    asked["style_selections"] = [""]
    none = graph_of(client, VARY.format(1), data={**asked, "prompt": "a"}, files={"input_image": picture()})
    assert none != wanted


def test_advanced_params_in_a_form_are_json_or_pythons_print(client):
    for text in ('{"overwrite_step": 3}', "{'overwrite_step': '3', 'freeu_enabled': False}"):
        asked = {"uov_method": "Vary (Subtle)", "advanced_params": text, "async_process": "1"}
        graph = graph_of(client, VARY.format(1), data=asked, files={"input_image": picture()})
        assert graph["SampleLatent"]["steps"] == 3
    for text, loc in (
        ("{overwrite_step: 3", ["body", "advanced_params"]),
        ('{"overwrite_step": 999}', ["body", "advanced_params", "overwrite_step"]),
        ("[" * 5000, ["body", "advanced_params"]),
    ):
        asked = {"uov_method": "Vary (Subtle)", "advanced_params": text}
        assert fault(client.post(VARY.format(1), data=asked, files={"input_image": picture()}))["loc"] == loc


def test_a_form_may_hold_the_picture_as_text(client):
    asked = {"uov_method": "Upscale (Fast 2x)", "input_image": as_text(picture(24, 16)) + "\n" * 2_000_000}
    reply = client.post(VARY.format(1), data=asked, files={"unused": b"x"})
    assert opened(client, reply.json()[0]["url"]).size == (48, 32)
    asked["input_image"] = as_text(picture(24, 16))
    assert opened(client, client.post(VARY.format(1), data=asked).json()[0]["url"]).size == (48, 32)


def test_json_under_curls_form_type_is_json(client):
    body = json.dumps({"input_image": as_text(picture()), "uov_method": "Vary (Subtle)"})
    reply = client.post(VARY.format(2), content=body, headers={"content-type": "application/x-www-form-urlencoded"})
    assert reply.json()[0]["finish_reason"] == "SUCCESS"


def test_a_file_above_the_limit_is_refused(make_client):
    client = make_client(max_upload=2000, max_body=2000)
    asked = {"uov_method": "Vary (Subtle)"}
    for size in (3000, 50_000):
        reply = client.post(VARY.format(1), data=asked, files={"input_image": b"x" * size})
        assert reply.status_code == 413


def test_a_full_queue_is_told_before_pictures_are_read(make_client):
    client = make_client(queue_size=1)
    body = {"prompt": "slow", "async_process": True, "advanced_params": {"overwrite_step": 100}}
    client.post("/v1/generation/text-to-image", json=body)
    reply = client.post(VARY.format(2), json={"input_image": "@@@"})
    assert reply.json()[0]["finish_reason"] == "QUEUE_IS_FULL"
    client.post("/v1/generation/stop")


@pytest.mark.parametrize("name", ["image-inpaint-outpaint", "image-inpait-outpaint"])
@pytest.mark.parametrize("version", [1, 2])
def test_the_white_of_a_mask_is_repainted_and_the_rest_is_kept(client, name, version):
    given = picture(64, 32, BLUE)
    url = f"/v{version}/generation/{name}"
    if version == 1:
        files = {"input_image": given, "input_mask": half_mask(64, 32)}
        reply = client.post(url, data={"prompt": "a"}, files=files)
    else:
        reply = client.post(url, json={"input_image": as_text(given), "input_mask": as_text(half_mask(64, 32))})
    image = opened(client, reply.json()[0]["url"])
    assert [image.getpixel(place) for place in ((3, 3), (60, 3))] == [RED, BLUE]


def test_inverting_repaints_the_rest(client):
    body = {"input_image": as_text(picture(64, 32, BLUE)), "input_mask": as_text(half_mask(64, 32))}
    body["advanced_params"] = {"invert_mask_checkbox": True}
    image = opened(client, client.post(INPAINT.format(2), json=body).json()[0]["url"])
    assert [image.getpixel(place) for place in ((3, 3), (60, 3))] == [BLUE, RED]


def test_a_picture_is_extended_on_the_sides_asked_for(client):
    body = {"input_image": as_text(picture(40, 20, BLUE)), "outpaint_distance_left": 16, "outpaint_distance_top": -1}
    for sides in (["Left", "Top"], "left, TOP", ["Left,Top"]):
        reply = client.post(INPAINT.format(2), json=body | {"outpaint_selections": sides})
        image = opened(client, reply.json()[0]["url"])
        assert image.size == (56, 26)
        assert image.getpixel((2, 2)) == RED
        assert image.getpixel((50, 20)) == BLUE
    asked = {"outpaint_selections": ["Left", "Right"], "outpaint_distance_left": "16"}
    form = client.post(INPAINT.format(1), data=asked, files={"input_image": picture(40, 20)})
    assert opened(client, form.json()[0]["url"]).size == (68, 20)


def test_an_unknown_side_is_refused(client):
    body = {"input_image": as_text(picture()), "outpaint_selections": ["Left", "Up"]}
    assert fault(client.post(INPAINT.format(2), json=body))["loc"][:2] == ["body", "outpaint_selections"]


@pytest.mark.parametrize("mask", ["", "None", None, as_text(encoded(Image.new("L", (24, 16), 127)))])
def test_nothing_to_repaint_is_text_to_image_with_a_warning(client, mask):
    body = {"input_image": as_text(picture()), "input_mask": mask, "prompt": "a", "async_process": True}
    reply = client.post(INPAINT.format(2), json=body)
    assert "not used" in reply.headers["x-warning"]
    job = reply.json()
    assert job["job_type"] == "Image Inpaint or Outpaint"
    poll(client, job["job_id"])
    graph = client.get(f"/v1/engines/jobs/{job['job_id']}/graph").json()
    assert "LoadImage" not in {node["class_type"] for node in graph.values()}


def test_a_mask_may_be_drawn_in_transparency(client):
    drawn = Image.new("RGBA", (64, 32), (0, 0, 0, 0))
    drawn.paste((0, 0, 0, 255), (0, 0, 32, 32))
    body = {"input_image": as_text(picture(64, 32, BLUE)), "input_mask": as_text(encoded(drawn))}
    image = opened(client, client.post(INPAINT.format(2), json=body).json()[0]["url"])
    assert [image.getpixel(place) for place in ((3, 3), (60, 3))] == [RED, BLUE]


def test_inpaint_settings_reach_the_graph(client):
    body = {
        "input_image": as_text(picture(64, 32)),
        "input_mask": as_text(half_mask(64, 32)),
        "inpaint_additional_prompt": "a hat",
        "advanced_params": {
            "inpaint_strength": 0.75,
            "inpaint_respective_field": 0.5,
            "inpaint_erode_or_dilate": -3,
            "inpaint_disable_initial_latent": True,
            "inpaint_engine": "v9",
        },
    }
    reply = client.post(INPAINT.format(2), json=body)
    assert "v9" in reply.headers["x-warning"]
    assert "no effect" not in reply.headers["x-warning"]
    graph = graph_of(client, INPAINT.format(2), json=body | {"async_process": True})
    assert graph["SampleLatent"]["denoise"] == 0.75
    assert graph["CropForInpaint"]["respective_field"] == 0.5
    assert graph["AssembleMask"]["erode_or_dilate"] == -3
    assert graph["EncodeInpaint"]["disable_initial_latent"] is True


def test_a_bad_mask_is_refused_with_its_field(client):
    body = {"input_image": as_text(picture()), "input_mask": "@@@"}
    assert fault(client.post(INPAINT.format(2), json=body))["loc"] == ["body", "input_mask"]
    assert fault(client.post(INPAINT.format(2), json={}))["loc"] == ["body", "input_image"]


def test_garbage_in_a_forms_image_prompts_is_ignored(client):
    asked = {"image_prompts": ["cn_stop", "cn_weight", "cn_type"], "outpaint_selections": ["Left", "Right"]}
    reply = client.post(INPAINT.format(1), data=asked, files={"input_image": picture()})
    assert reply.json()[0]["finish_reason"] == "SUCCESS"
