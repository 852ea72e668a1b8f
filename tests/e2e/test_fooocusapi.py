"""FooocusAPI's contract with the real nodes and the tiny models, over a real port."""

import base64
import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import PATIENCE_S
from tests.e2e.test_from_a_picture import PROMPT, pixels

URL = "/v1/engine/generate/"


def made(server: Any, **body: Any) -> list[np.ndarray]:
    """The pictures of a finished task."""
    task = server.client.post(URL, json={"prompt": PROMPT, "image_seed": 5, **body}).json()
    assert task["task_status"] == "finished", task
    return [pixels(server.picture(url)) for url in task["result"]]


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.fixture(scope="module")
def drawn(server) -> tuple[str, np.ndarray]:
    """The address of a generated picture, and its pixels."""
    task = server.client.post(URL, json={"prompt": PROMPT, "image_seed": 5}).json()
    return task["result"][0], pixels(server.picture(task["result"][0]))


def test_all_kinds_of_answer_give_the_same_picture(server, drawn):
    body = {"prompt": PROMPT, "image_seed": 5}
    binary = server.client.post(URL, json=body, headers={"accept": "image/png"})
    assert np.array_equal(pixels(binary.content), drawn[1])
    events = [
        json.loads(line[6:])
        for line in server.client.post(URL, json={**body, "stream_output": True}).text.splitlines()
        if line.startswith("data: {")
    ]
    assert events[-1]["message"] == "Finished"
    assert np.array_equal(pixels(server.picture(events[-1]["images"][0])), drawn[1])
    queued = server.client.post(URL, json={**body, "async_process": True}).json()["task_id"]
    server.until(lambda: task(server, queued)["task_status"] == "finished", PATIENCE_S, "finish")
    assert np.array_equal(pixels(server.picture(task(server, queued)["result"][0])), drawn[1])


def test_a_stream_shows_previews_of_the_steps(server):
    text = server.client.post(URL, json={"prompt": PROMPT, "overwrite_step": 30, "stream_output": True}).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert any(event["preview"] for event in events)
    assert any(event["message"].startswith("Sampling step") for event in events)


def test_varying_keeps_the_layout(server, drawn):
    (varied,) = made(server, uov_input_image=drawn[0], uov_method="Vary (Subtle)", image_seed=6)
    assert varied.shape == drawn[1].shape
    assert 0.6 < likeness(varied, drawn[1]) < 1


def test_upscaling_takes_the_multiple(server, drawn):
    (large,) = made(server, uov_input_image=drawn[0], uov_method="Upscale (Custom)", upscale_multiple=1.5)
    assert large.shape == (192, 192, 3)


def test_a_mask_repaints_its_white_part_and_leaves_the_rest_bit_for_bit(server, drawn):
    mask = np.zeros((256, 256, 3))  # twice the picture's size: it is brought to it
    mask[:, :96] = 255
    paint = {"inpaint_input_image": drawn[0], "inpaint_mask_image_upload": base64.b64encode(png(mask)).decode()}
    (painted,) = made(server, **paint, prompt="a green square on a red background", overwrite_step=3)
    assert np.array_equal(painted[:, 112:], drawn[1][:, 112:])
    assert np.abs(painted[:, :40] - drawn[1][:, :40]).mean() > 5


def test_outpainting_extends_by_distance(server, drawn):
    sides = {"outpaint_selections": ["Left"], "outpaint_distance": [32, 0, 0, 0]}
    (wide,) = made(server, inpaint_input_image=drawn[0], **sides)
    assert wide.shape == (128, 160, 3)


def test_results_are_converted_and_pictures_of_requests_are_served(server, drawn):
    reply = server.client.get(drawn[0], headers={"accept": "image/webp"})
    assert Image.open(BytesIO(reply.content)).format == "WEBP"
    sent = server.client.post(URL, json={"prompt": PROMPT, "uov_input_image": drawn[0]}).json()["req_params"]
    assert np.array_equal(pixels(server.picture(sent["uov_input_image"])), drawn[1])


@pytest.mark.parametrize("kind", ["PyraCanny", "CPDS"])
def test_a_control_picture_steers_and_its_preprocessing_can_be_looked_at(server, drawn, kind):
    prompt = {"cn_img": drawn[0], "cn_type": kind, "cn_stop": 1.0, "cn_weight": 1.0}
    plain = made(server, image_seed=77, overwrite_step=8)[0]
    (steered,) = made(server, image_seed=77, overwrite_step=8, controlnet_image=[prompt])
    assert not np.array_equal(steered, plain)
    (shown,) = made(server, controlnet_image=[prompt], debugging_cn_preprocessor=True)
    assert np.ptp(shown, axis=2).max() <= 2  # grey, as both preprocessors make it


def test_control_and_variation_are_mixed(server, drawn):
    prompt = {"cn_img": drawn[0], "cn_type": "PyraCanny", "cn_stop": 1.0, "cn_weight": 1.0}
    vary = {"uov_input_image": drawn[0], "uov_method": "Vary (Subtle)", "overwrite_step": 8}
    alone = made(server, **vary)[0]
    (mixed,) = made(server, **vary, controlnet_image=[prompt], mixing_image_prompt_and_vary_upscale=True)
    assert mixed.shape == alone.shape
    assert not np.array_equal(mixed, alone)


def test_a_refiner_takes_over(server):
    body = {"overwrite_step": 10, "overwrite_switch": 5}
    plain = made(server, **body)[0]
    (refined,) = made(server, **body, refiner_model_name="focal-tiny-sdxl-refiner.safetensors")
    assert refined.shape == plain.shape
    assert not np.array_equal(refined, plain)


def test_enhancing_repaints_what_a_mask_finds(server, drawn):
    stage = {"enhance_enabled": True, "enhance_mask_model": "u2net", "enhance_prompt": "a green circle"}
    body = {"enhance_input_image": drawn[0], "enhance_checkbox": True, "enhance_ctrls": [stage], "overwrite_step": 8}
    pictures = made(server, **body)
    assert pictures
    assert not np.array_equal(pictures[-1], drawn[1])


def test_tools_answer_beside_the_queue(server, drawn):
    mask = server.client.post("/v1/tools/generate_mask", json={"image": drawn[0], "mask_model": "u2net"}).json()
    found = Image.open(BytesIO(base64.b64decode(mask)))
    assert (found.format, found.size) == ("PNG", (128, 128))
    for request in ({"json": {"image": drawn[0], "image_type": "Photo"}}, {"files": {"image": png(drawn[1])}}):
        reply = server.client.post("/v1/tools/describe-image", **request)
        assert reply.json()["describe"]


def test_a_skipped_picture_is_left_out(server):
    body = {"prompt": PROMPT, "image_number": 2, "overwrite_step": 60}
    queued = server.client.post(URL, json={**body, "async_process": True}).json()["task_id"]
    server.until(lambda: "image 1/2" in (server.query(queued)["job_status"] or ""), PATIENCE_S, "sample")
    assert server.client.post("/v1/engine/control/?action=skip").json() == {"message": "task skipped"}
    server.until(lambda: task(server, queued)["task_status"] == "finished", PATIENCE_S, "finish")
    assert len(task(server, queued)["result"]) == 1


def task(server: Any, id: str) -> dict[str, Any]:
    return server.client.get(f"/tasks/{id}").json()


def png(picture: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(out, "PNG")
    return out.getvalue()
