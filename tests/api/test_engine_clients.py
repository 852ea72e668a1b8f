"""Clients of FooocusAPI found in public, as they speak: what they send along, what they read."""

import json
import time
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.api.test_engine_generate import IMAGE, URL, record

EVERYTHING: dict[str, Any] = {
    **{"prompt": "a cat", "negative_prompt": "", "performance_selection": "Speed", "output_format": "png"},
    "style_selections": ["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"],
    **{"aspect_ratios_selection": "1152*896", "image_number": 1, "image_seed": -1, "read_wildcards_in_order": False},
    **{"sharpness": 2, "guidance_scale": 4, "base_model_name": "juggernautXL_v8Rundiffusion.safetensors"},
    **{"refiner_model_name": "None", "refiner_switch": 0.5},
    "loras": [{"enabled": True, "model_name": "sd_xl_offset_example-lora_1.0.safetensors", "weight": 0.1}],
    **{"input_image_checkbox": True, "current_tab": "uov", "uov_method": "Upscale (2x)", "uov_input_image": IMAGE},
    **{"outpaint_selections": [], "outpaint_distance": [0, 0, 0, 0], "inpaint_input_image": "None"},
    **{"inpaint_additional_prompt": "None", "inpaint_mask_image_upload": "None", "inpaint_mask_upload_checkbox": True},
    **{"disable_preview": False, "disable_intermediate_results": False, "disable_seed_increment": False},
    **{"black_out_nsfw": False, "adm_scaler_positive": 1.5, "adm_scaler_negative": 1.5, "adm_scaler_end": 0.8},
    **{"adaptive_cfg": 7, "clip_skip": 2, "sampler_name": "dpmpp_2m_sde_gpu", "scheduler_name": "karras"},
    **{"vae_name": "Default (model)", "overwrite_step": -1, "overwrite_switch": -1, "overwrite_width": -1},
    **{"overwrite_height": -1, "overwrite_vary_strength": -1, "overwrite_upscale_strength": -1},
    **{"mixing_image_prompt_and_vary_upscale": False, "mixing_image_prompt_and_inpaint": False},
    **{"debugging_cn_preprocessor": False, "skipping_cn_preprocessor": False, "canny_low_threshold": 64},
    **{"canny_high_threshold": 128, "refiner_swap_method": "joint", "controlnet_softness": 0.25},
    **{"freeu_enabled": False, "freeu_b1": 1.01, "freeu_b2": 1.02, "freeu_s1": 0.99, "freeu_s2": 0.95},
    **{"debugging_inpaint_preprocessor": False, "inpaint_disable_initial_latent": False, "inpaint_engine": "v2.6"},
    **{"inpaint_strength": 1, "inpaint_respective_field": 0.618, "invert_mask_checkbox": False},
    **{"inpaint_erode_or_dilate": 0, "save_metadata_to_images": True, "metadata_scheme": "fooocus"},
    "controlnet_image": [{"cn_stop": 0.6, "cn_weight": 0.6, "cn_type": "ImagePrompt"}],
    **{"generate_image_grid": False, "upscale_multiple": 1, "preset": "Realistic", "stream_output": False},
    **{"require_base64": False, "async_process": False, "webhook_url": ""},
}
"""What a script for upscaling sends: every field of the document with its default."""


def test_the_script_that_sends_every_field_finds_the_prompt_in_the_picture(client):
    task = client.post(URL, content=json.dumps(EVERYTHING)).json()
    assert task["task_status"] == "finished"
    image = Image.open(BytesIO(client.get(task["result"][0]).content))
    assert image.size == (80, 48)
    parameters = json.loads(image.info["parameters"])
    assert parameters["full_prompt"][1]
    assert parameters["prompt"] == "a cat"


def test_the_serverless_handler_passes_its_whole_envelope(client):
    """Probe with GET, then the input as it came, with keys of its own and base64 without a prefix."""
    assert client.get(URL).status_code == 405
    envelope = {"api_name": "txt2img", "inpaint_preset": "", "clear_output": True, "require_base64": True}
    task = client.post(URL, json={**envelope, "prompt": "a", "uov_input_image": IMAGE, "uov_method": "Vary (Subtle)"})
    assert task.json()["task_status"] == "finished"
    assert "api_name" not in task.json()["req_params"]
    for path in ("/v1/engines/all-models", "/v1/engines/styles", "/tasks", "/tasks?query=current"):
        assert client.get(path).status_code == 200
    for path in ("/v1/engine/control", "/v1/engine/control/"):
        assert client.post(path, params={"action": "stop"}).json() == {"message": "No task running"}


def test_axios_reads_json(client):
    headers = {"accept": "application/json, text/plain, */*", "origin": "http://localhost:5173"}
    reply = client.post(URL, json={"prompt": "a"}, headers=headers)
    assert reply.json()["result"][0].startswith("http://127.0.0.1:8888/outputs/")
    assert reply.headers["access-control-allow-origin"] in ("*", "http://localhost:5173")


def test_a_browser_may_ask_from_any_page(client):
    asked = {"origin": "http://a.example", "access-control-request-method": "POST"}
    for path in (URL, "/tasks", "/v1/engine/control/"):
        reply = client.options(path, headers=asked | {"access-control-request-headers": "x-api-key,content-type"})
        assert reply.status_code == 200, path
    (url,) = client.post(URL, json={"prompt": "a"}, headers={"origin": "http://a.example"}).json()["result"]
    assert client.get(f"{url}?cacheBust=17").status_code == 200
    gone = client.get("/tasks", params={"action": "delete", "start_at": "x"}, headers={"origin": "http://a.example"})
    assert gone.status_code == 200


def test_a_result_is_found_whatever_host_the_client_puts_in_front(client):
    (url,) = client.post(URL, json={"prompt": "a"}).json()["result"]
    day, name = url.split("/")[-2:]
    reply = client.get(f"/outputs/{day}/{name}", headers={"host": "pod-7.example:7866"})
    assert reply.status_code == 200
    assert reply.headers["etag"]
    assert client.head(f"/outputs/{day}/{name}").status_code == 200
    part = client.get(f"/outputs/{day}/{name}", headers={"range": "bytes=0-7"})
    assert (part.status_code, part.content) == (206, b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/jpg", "JPEG"), ("image/webp", "WEBP"), ("*/*", "PNG")],
)
def test_outputs_are_converted_by_accept(client, accept, kind):
    (url,) = client.post(URL, json={"prompt": "a", "image_seed": 4}).json()["result"]
    reply = client.get(url, headers={"accept": accept})
    assert reply.headers["content-type"] == f"image/{kind.lower()}"
    assert Image.open(BytesIO(reply.content)).format == kind
    if kind == "PNG":
        assert "parameters" in Image.open(BytesIO(reply.content)).info


def test_outputs_lead_nowhere_else(client):
    for path in (
        *("/outputs/x.txt", "/outputs/%2e%2e/jobs.sqlite3", "/outputs/..%2f..%2fx.png", "/outputs/2024-01-01/no.png"),
        *("/outputs/", "/outputs//x.png", "/outputs/a%5cb.png", "/outputs/.hidden/x.png"),
    ):
        reply = client.get(path)
        assert (reply.status_code, reply.json()) == (404, {"detail": "Not Found"}), path


def test_polling_reads_a_task_by_id_until_it_has_results(client):
    task_id = client.post(URL, json={"prompt": "slow", "overwrite_step": 4, "async_process": True}).json()["task_id"]
    deadline = time.monotonic() + 60
    while not client.get(f"/tasks/{task_id}").json()["result"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert record(client, task_id)["result"]
