"""The acceptance list of contract A (API contract §12), lines 1 to 17: each test names the line that it stands for."""

import base64
import io
import time
from typing import Any

import pytest
from PIL import Image

from tests.api.test_image_routes import VARY, as_text, half_mask
from tests.api.test_input_images import fault, opened, picture
from tests.api.test_text_to_image import URL, poll

PROMPT = "/v{}/generation/image-prompt"
ENHANCE = "/v{}/generation/image-enhance"
WITH_IP = "/v2/generation/text-to-image-with-ip"
KEYS = ["base64", "url", "seed", "finish_reason"]


def succeeded(reply: Any, count: int = 1) -> list[dict[str, Any]]:
    """The pictures of a sync answer, checked for keys, types and success."""
    assert reply.status_code == 200, reply.text
    images = reply.json()
    assert len(images) == count
    for image in images:
        assert list(image) == KEYS
        assert image["finish_reason"] == "SUCCESS"
        assert isinstance(image["seed"], str)
        assert image["url"].startswith("http://127.0.0.1:8888/files/")
    return images


def adapters(client: Any, url: str, **request: Any) -> list[tuple[float, float]]:
    """Stop and weight of every image prompt in the graph of an async job."""
    job = client.post(url, **request).json()
    assert job.get("job_id"), job
    poll(client, job["job_id"])
    graph = client.get(f"/v1/engines/jobs/{job['job_id']}/graph").json()
    applied = [node for node in graph.values() if node["class_type"] in ("ApplyImagePrompt", "ApplyControl")]
    return [(node["inputs"]["stop"], node["inputs"]["weight"]) for node in applied]


def test_line_1_an_empty_object_gives_one_picture(client):
    succeeded(client.post(URL, json={}))


@pytest.mark.parametrize("kind", [None, "text/plain", "application/octet-stream", "application/json; charset=utf-8"])
def test_line_2_the_content_type_does_not_matter(client, kind):
    headers = {"content-type": kind} if kind else {}
    succeeded(client.post(URL, content=b'{"prompt": "a"}', headers=headers))


def test_line_3_loras_without_enabled_none_empty_and_six(client):
    lora = {"model_name": "sub/a.safetensors"}
    six = [lora | {"weight": n / 10} for n in range(6)]
    for loras in ([lora], [{"model_name": "None"}], [], six, [lora | {"enabled": False}]):
        succeeded(client.post(URL, json={"loras": loras}))
    assert "first 5" in client.post(URL, json={"loras": six}).headers["x-warning"]


def test_line_4_style_in_every_dress(client):
    for body in (
        {"style": ["SAI Anime"]},
        {"style": ["SAI Anime"], "style_selections": ["Fooocus V2"]},
        {"style_selections": ["Fooocus Enhance,Fooocus Sharp"]},
    ):
        assert "x-warning" not in client.post(URL, json=body | {"prompt": ""}).headers
    reply = client.post(URL, json={"style_selections": ["Fooocus Enhanse"]})
    succeeded(reply)
    assert "Fooocus Enhance" in reply.headers["x-warning"]


def test_line_5_a_job_goes_from_waiting_to_success_and_shows_its_steps(client):
    body = {"prompt": "slow", "async_process": True, "advanced_params": {"overwrite_step": 8}}
    job = client.post(URL, json=body).json()
    assert (job["job_stage"], job["job_progress"], job["job_result"]) == ("WAITING", 0, None)
    seen = []
    while not seen or seen[-1]["job_stage"] in ("WAITING", "RUNNING"):
        spelling = ("require_step_preview", "require_step_preivew")[len(seen) % 2]
        seen.append(client.get("/v1/generation/query-job", params={"job_id": job["job_id"], spelling: "True"}).json())
        time.sleep(0.02)
    running = [one for one in seen if one["job_stage"] == "RUNNING"]
    assert any(one["job_progress"] > 0 and one["job_status"] for one in running)
    shown = next(one["job_step_preview"] for one in running if one["job_step_preview"])
    assert Image.open(io.BytesIO(base64.b64decode(shown))).format == "PNG"
    assert [one["job_progress"] for one in seen] == sorted(one["job_progress"] for one in seen)
    assert all(isinstance(one["job_progress"], int) for one in seen)
    last = client.get("/v1/generation/query-job", params={"job_id": job["job_id"]}).json()
    assert (last["job_progress"], last["job_status"], last["job_step_preview"]) == (100, "Finished", None)
    assert list(last["job_result"][0]) == KEYS


def test_line_6_an_unknown_job_is_404_and_none_422(client):
    reply = client.get("/v1/generation/query-job", params={"job_id": "cac3914a-926d-4b6f-a46a-83794a0ce1d4"})
    assert reply.status_code == 404
    assert reply.json() == {
        "job_id": "",
        "job_type": "Not Found",
        "job_stage": "ERROR",
        "job_progress": 0,
        "job_status": "Job not found",
        "job_step_preview": None,
        "job_result": None,
    }
    assert fault(client.get("/v1/generation/query-job"))["loc"] == ["query", "job_id"]


def test_line_7_a_full_queue_says_so_in_three_forms_before_pictures_are_read(make_client):
    client = make_client(queue_size=1)
    client.post(URL, json={"prompt": "slow", "async_process": True, "advanced_params": {"overwrite_step": 200}})
    full = [{"base64": None, "url": None, "seed": "", "finish_reason": "QUEUE_IS_FULL"}]
    for url in (URL, PROMPT.format(2), ENHANCE.format(2), WITH_IP):
        body = {"image_prompts": [{"cn_img": "@@@"}], "enhance_input_image": "@@@"}
        assert client.post(url, json=body).json() == full
        job = client.post(url, json=body | {"async_process": True}).json()
        assert (job["job_id"], job["job_stage"], job["job_progress"], job["job_status"]) == ("", "ERROR", 0, None)
        assert job["job_result"] == full
        binary = client.post(url, json=body, headers={"accept": "image/png"})
        assert (binary.status_code, binary.text) == (409, "QUEUE_IS_FULL")
    client.post("/v1/generation/stop")


@pytest.mark.parametrize("how", [{"headers": {"accept": "image/png"}}, {"params": {"accept": "image/png"}}])
def test_line_8_binary_is_one_png(client, how):
    reply = client.post(URL, json={"image_number": 4, "save_extension": "jpg"}, **how)
    assert reply.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(reply.content)).format == "PNG"


def test_line_9_the_upscale_form(client):
    files = {"input_image": picture()}
    asked = {"uov_method": "Upscale (Fast 2x)", "upscale_value": ""}
    succeeded(client.post(VARY.format(1), data=asked, files=files))
    assert fault(client.post(VARY.format(1), data={"prompt": "a"}, files=files))["loc"] == ["body", "uov_method"]
    assert fault(client.post(VARY.format(1), data=asked, files={"x": b""}))["loc"] == ["body", "input_image"]
    reply = client.post(VARY.format(1), data=asked | {"upscale_value": "9"}, files=files)
    assert fault(reply)["loc"] == ["body", "upscale_value"]


@pytest.mark.parametrize("name", ["image-inpaint-outpaint", "image-inpait-outpaint"])
@pytest.mark.parametrize("sides", ["Left, Right", ["Left", "Right"], '["left", "right"]', "LEFT,right,"])
def test_line_10_the_inpaint_form_on_both_spellings(client, name, sides):
    asked = {"outpaint_selections": sides, "outpaint_distance_left": "-1"}
    reply = client.post(f"/v1/generation/{name}", data=asked, files={"input_image": picture(40, 20)})
    (image,) = succeeded(reply)
    assert opened(client, image["url"]).size == (40 + 12 + 12, 20)
    reply = client.post(
        f"/v1/generation/{name}", data=asked | {"outpaint_selections": "Up"}, files={"input_image": picture()}
    )
    assert fault(reply)["loc"][:2] == ["body", "outpaint_selections"]


def test_line_11_the_image_prompt_form(client):
    url, asked = PROMPT.format(1), {"prompt": "a", "async_process": "True"}
    assert adapters(client, url, data=asked) == []
    assert adapters(client, url, data=asked, files={"cn_img2": picture()}) == [(0.6, 0.6)]
    face = asked | {"cn_type1": "faceswap"}
    assert adapters(client, url, data=face, files={"cn_img1": picture()}) == [(0.9, 0.75)]
    canny = asked | {"cn_type1": "PyraCanny", "cn_stop1": "0.4", "cn_weight1": "1.5"}
    assert adapters(client, url, data=canny, files={"cn_img1": picture()}) == [(0.4, 1.5)]
    names = [f"cn_{part}{n}" for n in range(1, 5) for part in ("img", "stop", "weight", "type")]
    empty = dict.fromkeys([*names, "input_image", "input_mask", "loras", "advanced_params", "image_prompts"], "")
    succeeded(client.post(url, data=empty | {"prompt": "a"}))
    assert fault(client.post(url, data=asked | {"cn_stop2": "7"}))["loc"] == ["body", "cn_stop2"]
    bad = client.post(url, data=asked, files={"cn_img3": b"no picture", "cn_img4": b"neither"})
    assert [item["loc"] for item in bad.json()["detail"]] == [["body", "cn_img3"], ["body", "cn_img4"]]


def test_line_12_text_that_should_be_an_object(client):
    url, files = VARY.format(1), {"input_image": picture()}
    asked = {"uov_method": "Upscale (Fast 2x)"}
    for name in ("loras", "advanced_params"):
        reply = client.post(url, data=asked | {name: "{broken"}, files=files)
        assert fault(reply)["loc"] == ["body", name]
        succeeded(client.post(url, data=asked | {name: ""}, files=files))
    reply = client.post(url, data=asked | {"loras": '[{"weight": 9, "model_name": "x"}]'}, files=files)
    assert fault(reply)["loc"] == ["body", "loras", 0, "weight"]


def test_line_13_pictures_in_json(client):
    packed = base64.b64encode(picture()).decode()
    body = {"uov_method": "Upscale (Fast 2x)"}
    address = succeeded(client.post(URL, json={}))[0]["url"]
    for text in (packed, f"data:image/png;base64,{packed}", packed.rstrip("="), address):
        succeeded(client.post(VARY.format(2), json=body | {"input_image": text}))
    for text in ("", "None", "null", "none", "string"):
        reply = client.post(VARY.format(2), json=body | {"input_image": text})
        assert (fault(reply)["type"], fault(reply)["loc"]) == ("missing", ["body", "input_image"])
    for text in ("garbage!", "http://127.0.0.1:1/none.png", packed[:40]):
        assert fault(client.post(VARY.format(2), json=body | {"input_image": text}))["loc"] == ["body", "input_image"]


def test_line_14_image_prompts_none_six_and_their_numbers(client):
    url, asked = PROMPT.format(2), {"prompt": "a", "async_process": True}
    one = {"cn_img": as_text(picture())}
    for none in ([], None, [{"cn_img": ""}, {"cn_img": None}]):
        assert adapters(client, url, json=asked | {"image_prompts": none}) == []
    assert len(adapters(client, url, json=asked | {"image_prompts": [one] * 6})) == 4
    for given, numbers in (
        ({}, (0.5, 1.0)),
        ({"cn_stop": None, "cn_weight": 0}, (0.5, 0.6)),
        ({"cn_stop": 0.3, "cn_weight": "1.2"}, (0.3, 1.2)),
        ({"cn_type": "FaceSwap"}, (0.9, 0.75)),
        ({"cn_type": "CPDS"}, (0.5, 1.0)),
    ):
        assert adapters(client, WITH_IP, json=asked | {"image_prompts": [one | given]}) == [numbers]
    reply = client.post(url, json=asked | {"image_prompts": [one, {"cn_img": "@@", "cn_type": "FaceSwap"}]})
    assert fault(reply)["loc"] == ["body", "image_prompts", 1, "cn_img"]
    job = client.post(url, json=asked).json()
    assert job["job_type"] == "Image Prompt"
    assert client.post(WITH_IP, json=asked).json()["job_type"] == "Text to Image"


@pytest.mark.parametrize(("text", "size"), [("1024x1024", 1024), ("1152×896", 1152), ("abc", None), ("1*1", None)])
def test_line_15_aspect_ratios(client, text, size):
    reply = client.post(URL, json={"aspect_ratios_selection": text, "async_process": True})
    if size is None:
        assert fault(reply)["loc"] == ["body", "aspect_ratios_selection"]
    else:
        graph = client.get(f"/v1/engines/jobs/{reply.json()['job_id']}/graph").json()
        assert [n["inputs"]["width"] for n in graph.values() if n["class_type"] == "EmptyLatentImage"] == [size]


@pytest.mark.parametrize("seed", [-1, "9223372036854775807", 2**63, -5, 2**80])
def test_line_16_a_seed_comes_back_as_text_that_can_be_sent_again(client, seed):
    (first,) = succeeded(client.post(URL, json={"image_seed": seed}))
    assert 0 <= int(first["seed"]) < 2**63
    (again,) = succeeded(client.post(URL, json={"image_seed": first["seed"]}))
    assert again["seed"] == first["seed"]
    assert (first["seed"] == str(seed)) == (seed == "9223372036854775807")


@pytest.mark.parametrize("persistent", [False, True])
def test_line_17_history_by_id_by_page_and_forgotten(make_client, persistent):
    client = make_client(persistent=persistent)
    ids = []
    for number in range(3):
        job = client.post(URL, json={"prompt": str(number), "async_process": True}).json()
        ids.append(job["job_id"])
        poll(client, job["job_id"])

    def listed(**query: Any) -> list[str]:
        found = client.get("/v1/generation/job-history", params=query).json()
        assert found["queue"] == []
        return [e["task_info"]["task_id"] if persistent else e["job_id"] for e in found["history"]]

    assert listed() == (ids[::-1] if persistent else ids)
    assert listed(job_id=ids[1]) == [ids[1]]
    assert listed(job_id=ids[1].replace("-", "")) == [ids[1]]
    assert listed(page=1, page_size=2) == ([ids[0]] if persistent else [ids[2]])
    assert listed(page=10**9, page_size=10**9) == []
    assert client.get("/v1/generation/job-history", params={"page": 10**19}).status_code == 422
    url = client.get("/v1/generation/query-job", params={"job_id": ids[1]}).json()["job_result"][0]["url"]
    gone = client.get("/v1/generation/job-history", params={"job_id": ids[1], "delete": "true"})
    assert gone.json() == {"message": "Deleted"}
    assert client.get(url).status_code == 404
    assert client.get("/v1/generation/job-history", params={"job_id": ids[1], "delete": 1}).json() == {
        "message": "Not found"
    }
    assert len(listed(delete="true")) == 2


def test_line_17_the_persistent_record_has_the_contracts_keys(make_client):
    client = make_client(persistent=True)
    body = {"input_image": as_text(picture(64, 32)), "input_mask": as_text(half_mask(64, 32)), "prompt": "a"}
    body |= {"image_prompts": [{"cn_img": as_text(picture())}], "image_seed": 3}
    (image,) = succeeded(client.post(PROMPT.format(2), json=body))
    (entry,) = client.get("/v1/generation/job-history").json()["history"]
    wanted = (
        "prompt negative_prompt style_selections performance_selection aspect_ratios_selection base_model_name "
        "refiner_model_name refiner_switch loras image_number image_seed sharpness guidance_scale advanced_params "
        "input_image input_mask image_prompts inpaint_additional_prompt outpaint_selections outpaint_distance_left "
        "outpaint_distance_right outpaint_distance_top outpaint_distance_bottom uov_method upscale_value webhook_url "
        "require_base64 async_process"
    )
    assert set(entry["params"]) == set(wanted.split())
    assert entry["params"]["image_prompts"] == [[0.5, 1.0, "ImagePrompt"]]
    assert entry["params"]["image_seed"] == "3"
    info = entry["task_info"]
    assert (info["task_type"], info["result_url"], info["finish_reason"]) == ("Image Prompt", image["url"], "SUCCESS")
