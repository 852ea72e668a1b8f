"""Image prompts, enhancing, masks and describing over REST with the real nodes and the tiny models."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import TEXT_TO_IMAGE
from tests.e2e.test_from_a_picture import pixels

FEW = {"overwrite_step": 6}
WITH_PROMPTS = "/v2/generation/text-to-image-with-ip"


@pytest.fixture(scope="module")
def square() -> bytes:
    """A green square on yellow."""
    image = Image.new("RGB", (128, 128), "yellow")
    image.paste("green", (40, 40, 88, 88))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def made(server: Any, path: str, **request: Any) -> list[np.ndarray]:
    reply = server.client.post(path, **request)
    assert reply.status_code == 200, reply.text
    images = reply.json()
    assert {image["finish_reason"] for image in images} == {"SUCCESS"}, images
    return [pixels(server.picture(image["url"])) for image in images]


@pytest.mark.parametrize("kind", ["PyraCanny", "CPDS"])
def test_an_image_prompt_changes_the_picture(server, square, kind):
    body = {"prompt": "a red circle on a blue background", "image_seed": 3, "advanced_params": FEW}
    (plain,) = made(server, TEXT_TO_IMAGE, json=body)
    form = {"prompt": body["prompt"], "image_seed": "3", "cn_type1": kind, "advanced_params": '{"overwrite_step": 6}'}
    (steered,) = made(server, "/v1/generation/image-prompt", data=form, files={"cn_img1": square})
    assert steered.shape == plain.shape
    assert np.abs(steered - plain).mean() > 3


def test_the_preprocessors_can_be_looked_at(server, square):
    prompts = [{"cn_img": base64.b64encode(square).decode(), "cn_type": kind} for kind in ("PyraCanny", "CPDS")]
    shown = made(
        server, WITH_PROMPTS, json={"image_prompts": prompts, "advanced_params": {"debugging_cn_preprocessor": True}}
    )
    assert len(shown) == 2
    edges = shown[0].mean(2)
    assert edges[60:68, 60:68].max() == 0  # nothing inside the square
    assert edges[35:45, 50:78].max() > 100  # its upper edge


def test_a_mask_is_found_and_a_stage_repaints_only_there(server, square):
    text = base64.b64encode(square).decode()
    reply = server.client.post("/v1/tools/generate_mask", json={"image": text, "mask_model": "u2net"}).json()
    mask = pixels(base64.b64decode(reply))[..., 0]
    assert mask[64, 64] > 200
    assert mask[5, 5] < 50
    stage = {"enhance_enabled": True, "enhance_mask_model": "u2net", "enhance_prompt": "a red square"}
    body = {"enhance_input_image": text, "enhance_uov_method": "Disabled", "enhance_ctrlnets": [stage]}
    (changed,) = made(server, "/v2/generation/image-enhance", json=body | {"advanced_params": FEW, "image_seed": 1})
    before = pixels(square)
    difference = np.abs(changed - before).mean(2)
    assert difference[56:72, 56:72].mean() > 20
    assert difference[:4].max() == 0


def test_a_picture_is_put_into_words_and_leaves_no_job(server, square):
    before = server.client.get("/v1/generation/job-queue").json()
    reply = server.client.post("/v1/tools/describe-image", files={"image": square}, params={"type": "Photo"})
    words = reply.json()["describe"]
    assert "green" in words or "square" in words or "yellow" in words
    assert server.client.get("/v1/generation/job-queue").json() == before


def test_a_refiner_goes_on_from_its_share_of_the_default_steps(server):
    body = {"prompt": "a red circle on a blue background", "image_seed": 3}
    refined = {"refiner_model_name": "focal-tiny-sdxl-refiner", "refiner_switch": 0.8}
    reply = server.client.post(TEXT_TO_IMAGE, json=body | refined | {"save_meta": True})
    (image,) = reply.json()
    assert image["finish_reason"] == "SUCCESS"
    data = server.picture(image["url"])
    graph = json.loads(Image.open(io.BytesIO(data)).info["prompt"])
    (sampled,) = [node["inputs"] for node in graph.values() if node["class_type"] == "SampleWithRefiner"]
    assert (sampled["steps"], sampled["switch"], sampled["method"]) == (30, 24, "joint")
    (plain,) = made(server, TEXT_TO_IMAGE, json=body)
    assert 0.1 < np.abs(pixels(data) - plain).mean() < 20  # the same picture in other detail
