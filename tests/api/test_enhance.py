"""Enhancing over both contracts: how it is sent, nothing to do, masks as pictures, black-out, the sheet."""

from typing import Any

import pytest
from PIL import Image

from api.contracts.fooocus_api import image_schemas
from api.contracts.fooocus_api.translate_images import refused_field
from api.decode import decode
from graphs.request import Refused
from tests.api.test_image_routes import as_text, graph_of
from tests.api.test_input_images import fault, opened, picture
from tests.api.test_text_to_image import poll

ENHANCE = "/v{}/generation/image-enhance"
GENERATE = "/v1/engine/generate/"
PICTURE = as_text(picture(64, 32))
STAGE = {"enhance_enabled": True, "enhance_mask_model": "u2net", "enhance_prompt": "a hat"}
BLIND = {"enhance_enabled": True, "enhance_mask_model": "sam", "enhance_mask_dino_prompt": ""}
OFF = {"enhance_input_image": PICTURE, "enhance_uov_method": "Disabled"}
BLACK, LIGHT = (0, 0, 0), (255, 255, 255)


def pictures_of(client: Any, contract: str, **body: Any) -> list[Image.Image]:
    """The pictures of a request that enhances, over one contract or the other."""
    if contract == "a":
        stages = {"enhance_ctrlnets": body.pop("stages", [STAGE])}
        reply = client.post(ENHANCE.format(2), json=OFF | {"save_final_enhanced_image_only": False} | stages | body)
        urls = [image["url"] for image in reply.json()]
    else:
        advanced = body.pop("advanced_params", {})
        sent = {"enhance_ctrls": body.pop("stages", [STAGE]), "enhance_checkbox": True}
        reply = client.post(GENERATE, json=OFF | sent | advanced | body)
        urls = reply.json()["result"]
    return [opened(client, url).convert("RGB") for url in urls]


@pytest.mark.parametrize("stages", [[], [BLIND], [STAGE | {"enhance_enabled": False}]])
def test_without_an_active_stage_there_is_no_picture_and_no_error(client, stages):
    reply = client.post(ENHANCE.format(2), json=OFF | {"enhance_ctrlnets": stages})
    assert (reply.status_code, reply.json()) == (200, [])
    assert "Nothing was done" in reply.headers["x-warning"]
    job = client.post(ENHANCE.format(2), json=OFF | {"enhance_ctrlnets": stages, "async_process": True}).json()
    ended = poll(client, job["job_id"])
    assert (ended["job_stage"], ended["job_result"]) == ("SUCCESS", [])
    assert client.post(ENHANCE.format(2), json=OFF, headers={"accept": "image/png"}).status_code == 204
    task = client.post(GENERATE, json=OFF | {"enhance_checkbox": True, "enhance_ctrls": stages}).json()
    assert (task["task_status"], task["progress"], task["result"]) == ("finished", 100, [])


def test_the_switch_turns_the_method_off_as_well(client):
    body = {"enhance_input_image": PICTURE, "enhance_uov_method": "Vary (Strong)", "enhance_checkbox": False}
    reply = client.post(ENHANCE.format(2), json=body | {"enhance_ctrlnets": [STAGE]})
    assert (reply.status_code, reply.json()) == (200, [])
    assert "enhance_checkbox is false" in reply.headers["x-warning"]


@pytest.mark.parametrize("contract", ["a", "b"])
def test_the_masks_of_the_stages_are_pictures_too(client, contract):
    plain = pictures_of(client, contract, stages=[STAGE, STAGE])
    shown = pictures_of(
        client, contract, stages=[STAGE, STAGE], advanced_params={"debugging_enhance_masks_checkbox": True}
    )
    assert (len(plain), len(shown)) == (2, 4)
    for mask in (shown[0], shown[2]):
        assert [mask.getpixel(place) for place in ((2, 2), (60, 2))] == [LIGHT, BLACK]


@pytest.mark.parametrize("contract", ["a", "b"])
def test_what_is_blacked_out_is_black_in_every_stage_and_on_the_sheet(client, contract):
    switches = {"black_out_nsfw": True, "generate_image_grid": True}
    pictures = pictures_of(client, contract, stages=[STAGE, STAGE], advanced_params=switches)
    assert [picture.size for picture in pictures] == [(64, 32), (64, 32), (128, 32)]
    assert {colour for picture in pictures for colour in picture.getcolors() or []} == {
        (picture.width * picture.height, BLACK) for picture in pictures
    }


@pytest.mark.parametrize("contract", ["a", "b"])
def test_the_sheet_is_a_last_picture_that_shows_the_others(client, contract):
    body = {"prompt": "a", "image_number": 3, "image_seed": 5}
    size = {"aspect_ratios_selection": "256*128"}
    if contract == "a":
        sent = body | size | {"advanced_params": {"generate_image_grid": True}}
        urls = [image["url"] for image in client.post("/v1/generation/text-to-image", json=sent).json()]
    else:
        urls = client.post(GENERATE, json=body | size | {"generate_image_grid": True}).json()["result"]
    *pictures, sheet = [opened(client, url).convert("RGB") for url in urls]
    (width, height) = pictures[0].size
    assert len(pictures) == 3
    assert sheet.size == (2 * width, 2 * height)
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    shown = [sheet.getpixel(place) for place in corners]
    assert shown == [*(picture.getpixel((0, 0)) for picture in pictures), BLACK]


def test_one_picture_needs_no_sheet(client):
    body = {"prompt": "a", "advanced_params": {"generate_image_grid": True}}
    assert len(client.post("/v1/generation/text-to-image", json=body).json()) == 1


def test_enhancing_over_the_form_and_json(client):
    """Contract A9 and A10."""
    stage = {"enhance_enabled": True, "enhance_mask_model": "u2net", "enhance_prompt": "a hat"}
    body = {"enhance_input_image": as_text(picture(64, 32)), "enhance_uov_method": "Disabled", "async_process": True}
    graph = graph_of(client, ENHANCE.format(2), json=body | {"enhance_ctrlnets": [stage]})
    assert graph["MaskModelLoader"]["model_name"].endswith("u2net.onnx")
    form = {"enhance_uov_method": "Disabled", "async_process": "true", "enhance_prompt_1": "a hat"}
    form |= {"enhance_enabled_1": "True", "enhance_mask_model_1": "u2net", "enhance_inpaint_strength_2": ""}
    files = {"enhance_input_image": picture(64, 32)}
    again = graph_of(client, ENHANCE.format(1), data=form, files=files)
    assert again.keys() == graph.keys()
    job = client.post(ENHANCE.format(1), data=form, files=files).json()
    assert job["job_type"] == "Image Enhancement"
    assert len(poll(client, job["job_id"])["job_result"]) == 1
    reply = client.post(ENHANCE.format(1), data=form | {"enhance_mask_box_threshold_3": "2"}, files=files)
    assert fault(reply)["loc"] == ["body", "enhance_mask_box_threshold_3"]


@pytest.mark.parametrize(("schema", "loc"), [("Enhance", ("enhance_ctrlnets", 2)), ("EnhanceForm", ())])
def test_a_stage_that_is_refused_is_named_as_it_was_sent(schema, loc):
    """The first stage is off, the second says nothing to look for: the third is the builder's first."""
    third = {"enhance_enabled": True, "enhance_mask_model": "silueta"}
    stages = [{}, {"enhance_enabled": True, "enhance_mask_dino_prompt": ""}, third]
    numbered = {f"{name}_{n}": value for n, stage in enumerate(stages, 1) for name, value in stage.items()}
    body = decode(getattr(image_schemas, schema), {"enhance_ctrlnets": stages, **numbered})
    (found,) = refused_field(Refused("enhance.stages.0.masking.model", "No file.", "Get it."), body).faults
    assert found.loc == ("body", *loc, "enhance_mask_model" if loc else "enhance_mask_model_3")
    assert found.input == "silueta"
