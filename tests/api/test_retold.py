"""Jobs in the words of another contract: what can be sent again, what the persistent history says of them."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from api.contracts.fooocusapi.schemas import CommonRequest
from api.decode import decode
from tests.api.test_engine_generate import URL as GENERATE
from tests.api.test_image_routes import as_text, half_mask
from tests.api.test_input_images import opened, picture

PICTURE, MASK = as_text(picture(64, 32)), as_text(half_mask(64, 32))
CANNY = {"cn_img": PICTURE, "cn_type": "PyraCanny", "cn_weight": 0.7}
STAGE = {"enhance_enabled": True, "enhance_mask_model": "u2net", "enhance_prompt": "a hat"}
ADVANCED = {
    **{"sampler_name": "euler", "scheduler_name": "simple", "adm_scaler_end": 0.2, "clip_skip": 3, "overwrite_step": 7},
    **{"freeu_enabled": True, "freeu_b1": 1.3, "adaptive_cfg": 5, "disable_seed_increment": True},
}
LORA = {"model_name": "sub/a.safetensors", "weight": 0.3}
# What is posted to Fooocus-API, and the picture fields that stand for it in FooocusAPI.
JOBS: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "words": (
        "/v1/generation/text-to-image",
        {
            **{"negative_prompt": "a dog", "style_selections": ["sai anime", "Nothing"], "loras": [LORA]},
            **{"image_number": 2, "aspect_ratios_selection": "256*192", "advanced_params": ADVANCED},
            **{"guidance_scale": 5, "sharpness": 3, "save_extension": "webp", "meta_scheme": "a1111"},
        },
        set(),
    ),
    "defaults": ("/v1/generation/text-to-image", {}, set()),
    "quick": ("/v1/generation/text-to-image", {"performance_selection": "Lightning"}, set()),
    "vary": (
        "/v2/generation/image-upscale-vary",
        {"input_image": PICTURE, "uov_method": "Vary (Subtle)", "advanced_params": {"overwrite_vary_strength": 0.3}},
        {"uov_input_image"},
    ),
    "upscale": (
        "/v2/generation/image-upscale-vary",
        {"input_image": PICTURE, "uov_method": "Upscale (Custom)", "image_prompts": [CANNY]},
        {"uov_input_image", "controlnet_image"},
    ),
    "inpaint": (
        "/v2/generation/image-inpaint-outpaint",
        {
            **{"input_image": PICTURE, "input_mask": MASK, "inpaint_additional_prompt": "a hat"},
            "advanced_params": {"inpaint_strength": 0.6, "inpaint_respective_field": 0.3, "inpaint_engine": "None"},
        },
        {"inpaint_input_image", "inpaint_mask_image_upload"},
    ),
    "outpaint": (
        "/v2/generation/image-inpaint-outpaint",
        {"input_image": PICTURE, "outpaint_selections": "left,Top", "outpaint_distance_left": 16},
        {"inpaint_input_image"},
    ),
    "mixed": (
        "/v2/generation/image-prompt",
        {"input_image": PICTURE, "input_mask": MASK, "image_prompts": [CANNY, {"cn_img": PICTURE}]},
        {"inpaint_input_image", "inpaint_mask_image_upload", "controlnet_image"},
    ),
    "enhance": (
        "/v2/generation/image-enhance",
        {"enhance_input_image": PICTURE, "enhance_uov_method": "Vary (Strong)", "enhance_ctrlnets": [STAGE, STAGE]},
        {"enhance_input_image"},
    ),
}
TINY = "focal-tiny-sdxl.safetensors"
PICTURES = ("uov_input_image", "inpaint_input_image", "inpaint_mask_image_upload", "enhance_input_image")


def graph_of(client: TestClient, id: str) -> dict[str, Any]:
    """The graph of a job, but for how its files are called and what is written into them."""
    graph = client.get(f"/v1/engines/jobs/{id}/graph").json()
    for node in graph.values():
        for name in ("by_time", "metadata"):
            node["inputs"].pop(name, None)
    return graph


@pytest.mark.parametrize("name", JOBS)
def test_a_job_of_fooocus_api_told_as_a_task_can_be_sent_again_and_compiles_to_the_same_graph(client, name):
    path, body, pictures = JOBS[name]
    job = client.post(path, json={"prompt": "a cat", "image_seed": 5, **body, "async_process": True}).json()
    params = client.get(f"/tasks/{job['job_id']}").json()["req_params"]
    assert list(params) == list(CommonRequest.__struct_fields__)
    decode(CommonRequest, params)
    assert (params["prompt"], params["image_seed"]) == ("a cat", 5)
    sent = {name for name in PICTURES if params[name]}
    assert sent | ({"controlnet_image"} if params["controlnet_image"] else set()) == pictures
    for field in sent:
        assert opened(client, params[field]).size == (64, 32)
    again = client.post(GENERATE, json=params | {"async_process": True}).json()
    assert graph_of(client, again["task_id"]) == graph_of(client, job["job_id"])
    told = client.get(f"/tasks/{again['task_id']}").json()["req_params"]
    assert told == params | {"async_process": True, "current_tab": told["current_tab"]}


def test_what_was_used_is_told_and_not_what_nothing_answered_to(client):
    body = {"style_selections": ["sai anime", "Nothing"], "base_model_name": "none.safetensors", "loras": [LORA, LORA]}
    body |= {"loras": [{"model_name": "absent"}, LORA], "advanced_params": {"sampler_name": "eular"}}
    job = client.post("/v1/generation/text-to-image", json={"prompt": "a", **body, "async_process": True}).json()
    params = client.get(f"/tasks/{job['job_id']}").json()["req_params"]
    assert params["style_selections"] == ["SAI Anime"]
    assert params["base_model_name"] == TINY
    assert params["loras"] == [{"model_name": "sub/a.safetensors", "enabled": True, "weight": 0.3}]
    assert params["sampler_name"] == "dpmpp_2m_sde_gpu"


def test_a_task_of_fooocusapi_has_the_persistent_records_keys(make_client):
    client = make_client(persistent=True)
    body = {
        **{"prompt": "a cat", "inpaint_input_image": PICTURE, "inpaint_mask_image_upload": MASK, "image_seed": 5},
        **{"outpaint_selections": ["Left"], "outpaint_distance": [8, 0, 0, 0], "inpaint_engine": "None"},
        **{"controlnet_image": [{"cn_img": PICTURE, "cn_type": "FaceSwap"}], "mixing_image_prompt_and_inpaint": True},
        **{"refiner_model_name": TINY, "refiner_switch": 0.7, "loras": [LORA], "overwrite_step": 3},
    }
    ours = {"prompt": "a", "enhance_input_image": PICTURE, "enhance_ctrlnets": [STAGE], "require_base64": True}
    client.post("/v2/generation/image-enhance", json=ours)
    client.post(GENERATE, json=body)
    theirs, own = (entry["params"] for entry in client.get("/v1/generation/job-history").json()["history"])
    assert list(theirs) == list(own)
    assert (theirs["prompt"], theirs["image_seed"], theirs["base_model_name"]) == ("a cat", "5", TINY)
    assert (theirs["refiner_model_name"], theirs["refiner_switch"]) == ("None", 0.7)  # the base cannot refine itself
    assert theirs["loras"] == [[True, "sub/a.safetensors", 0.3]]
    assert theirs["image_prompts"] == [[0.9, 0.75, "FaceSwap"]]
    assert (theirs["outpaint_selections"], theirs["outpaint_distance_left"]) == (["Left"], 8)
    assert theirs["input_mask"].endswith(".png")
    assert theirs["advanced_params"]["overwrite_step"] == 3
    assert (own["require_base64"], theirs["require_base64"]) == (True, False)


def test_the_refiner_that_worked_is_told(make_client, tmp_path):
    client = make_client(persistent=True)
    for name in ("base", "refiner"):
        (tmp_path / "models" / "checkpoints" / f"{name}.safetensors").touch()
    client.get("/v1/engines/all-models")
    body = {"prompt": "boom", "base_model_name": "base.safetensors", "refiner_model_name": "refiner"}
    job = client.post("/v1/generation/text-to-image", json=body | {"refiner_switch": 0.6, "async_process": True}).json()
    told = client.get(f"/tasks/{job['job_id']}").json()["req_params"]
    client.post("/v1/generation/text-to-image", json=body)  # behind the first: both are in the history now
    entries = client.get("/v1/generation/job-history").json()["history"]
    params = next(entry["params"] for entry in entries if entry["task_info"]["task_id"] == job["job_id"])
    for each in (told, params):
        assert (each["refiner_model_name"], each["refiner_switch"]) == ("refiner.safetensors", 0.6)
