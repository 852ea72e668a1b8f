"""The acceptance list of contract A (API contract §12), line by line: each test names the line that it stands for."""

import base64
import io
import json
import time
from typing import Any

import pytest
from PIL import Image

from api.contracts.fooocus_api import image_schemas
from api.contracts.fooocus_api.translate_images import refused_field
from api.decode import decode
from graphs.request import Refused
from tests.api.conftest import fake_settings
from tests.api.test_image_routes import INPAINT, VARY, as_text, graph_of, half_mask
from tests.api.test_input_images import encoded, fault, opened, picture
from tests.api.test_text_to_image import URL, poll
from tests.api.test_webhooks import Receiver, receiver

__all__ = ["receiver"]

PROMPT = "/v{}/generation/image-prompt"
ENHANCE = "/v{}/generation/image-enhance"
WITH_IP = "/v2/generation/text-to-image-with-ip"
DESCRIBE = "/v1/tools/describe-image"
MASK = "/v1/tools/generate_mask"
KEYS = ["base64", "url", "seed", "finish_reason"]
RED = (255, 0, 0)


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


def test_line_18_the_small_routes(client):
    models = client.get("/v1/engines/all-models").json()
    assert list(models) == ["model_filenames", "lora_filenames"]
    assert client.post("/v1/engines/refresh-models").json() == models
    assert client.post("/v1/engines/refresh-models", content=b"").json() == models
    for path in ("/v1/generation/job-queue", "/v1/engines/job-queue"):
        assert list(client.get(path).json()) == ["running_size", "finished_size", "last_job_id"]
    assert client.get("/ping").json() == "pong"
    assert client.get("/v1/engines/clean_vram").json() == {"message": "ok"}
    assert client.get("/v1/engines/styles").json()[:2] == ["Fooocus V2", "Random Style"]


@pytest.mark.parametrize("kind", ["Photo", "anime", "Art/Anime"])
def test_line_18_describe_takes_its_type_from_anywhere(client, kind):
    files, text = {"image": picture(colour=RED)}, as_text(picture(colour=RED))
    wanted = {"describe": "a picture of (255, 0, 0)" if kind == "Photo" else "255, 0, 0"}
    for request in (
        {"files": files, "params": {"type": kind}},
        {"files": files, "params": {"image_type": kind}},
        {"files": files, "data": {"type": kind}},
        {"files": files, "data": {"image_type": kind}},
        {"data": {"image": text, "image_type": kind}},
        {"json": {"image": text, "image_type": kind}},
        {"json": {"image": text, "type": kind}},
        {"json": {"image": text, "type": "Photo"}, "params": {"image_type": kind}},
    ):
        assert client.post(DESCRIBE, **request).json() == wanted
        assert client.post(f"{DESCRIBE}/", **request).status_code == 200
    assert client.post(DESCRIBE, files=files).json() == {"describe": "a picture of (255, 0, 0)"}
    assert fault(client.post(DESCRIBE, json={"image_type": "Photo"}))["loc"] == ["body", "image"]
    assert fault(client.post(DESCRIBE, files=files, params={"type": "Oil"}))["type"] == "enum"


def test_line_18_a_mask_is_raw_base64_of_a_png_and_leaves_no_job(client):
    before = client.get("/v1/generation/job-queue").json()
    for body in ({}, {"mask_model": "U2NET", "sam_max_detections": "3"}):
        text = client.post(MASK, json=body | {"image": as_text(picture(40, 20))}).json()
        mask = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
        assert mask.info == {}
        assert (mask.format, mask.size, mask.getpixel((1, 1)), mask.getpixel((39, 1))) == (
            *("PNG", (40, 20), (255, 255, 255)),
            (0, 0, 0),
        )
    assert client.get("/v1/generation/job-queue").json() == before
    assert fault(client.post(MASK, json={"image": "@@"}))["loc"] == ["body", "image"]
    reply = client.post(MASK, json={"image": as_text(picture()), "mask_model": "sam"})
    assert fault(reply)["loc"][0] == "body"


def test_line_18_a_mask_whose_file_is_gone_is_made_again(client):
    body = {"image": as_text(picture(48, 20))}
    first = client.post(MASK, json=body).json()
    for path in client.app.state.services.temp_dir.glob("mask_*"):
        path.unlink()
    assert client.post(MASK, json=body).json() == first


def test_line_19_stop_with_nothing_to_stop_leaves_nothing_behind(client):
    for _ in range(2):
        assert client.post("/v1/generation/stop", content=b"").json() == {"msg": "success"}
    succeeded(client.post(URL, json={"prompt": "a"}))


def test_line_20_webhooks_of_success_and_failure(client, receiver: Receiver):
    (image,) = succeeded(client.post(URL, json={"prompt": "a", "webhook_url": receiver.url}))
    client.post(URL, json={"prompt": "boom", "webhook_url": receiver.url})
    fine, failed = receiver.wait(2)
    assert list(fine)[:2] == ["job_id", "job_result"]
    assert [(item["url"], item["seed"]) for item in fine["job_result"]] == [(image["url"], image["seed"])]
    assert failed["job_result"] == []
    succeeded(client.post(URL, json={"prompt": "a", "webhook_url": "no address"}))


def test_line_21_the_key(make_client):
    client = make_client(apikey="secret")
    for path in ("/v1/engines/styles", "/v1/generation/job-queue"):
        assert client.get(path).json() == {"detail": "Forbidden"}
        assert client.get(path, headers={"x-api-key": "wrong"}).status_code == 403
        assert client.get(path, params={"x-api-key": "secret"}).status_code == 403
        assert client.get(path, headers={"x-api-key": "secret"}).status_code == 200
    assert client.post(URL, json={"image_number": 99}).status_code == 403
    for path in ("/ping", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200
    assert client.get("/files/2024-01-01/none.png").status_code == 404
    assert client.options(URL, headers={"origin": "http://a", "access-control-request-method": "POST"}).text == "OK"


def test_line_22_files(client):
    (image,) = succeeded(client.post(URL, json={"prompt": "a"}))
    url = image["url"]
    assert client.get(url.replace(".png", "x.png")).status_code == 404
    for accept, kind in (("image/jpeg", "image/jpeg"), ("image/jpg", "image/jpeg"), ("image/webp", "image/webp")):
        reply = client.get(url, headers={"accept": accept})
        assert reply.headers["content-type"] == kind
        Image.open(io.BytesIO(reply.content)).load()
    whole = client.get(url, headers={"accept": "image/avif,image/webp,*/*"})
    assert (
        whole.headers["content-type"],
        whole.headers.get("content-encoding", ""),
    ) == ("image/png", "")
    head = client.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(whole.content)))
    assert client.get(url + "?cacheBust=3").content == whole.content
    assert client.get(url, headers={"range": "bytes=0-3"}).content == whole.content[:4]
    for way in ("/files/../jobs.sqlite3", "/files/%2e%2e/jobs.sqlite3", "/files/a/%2e%2e%2fx.png", "/files/a/b.txt"):
        assert client.get(way).status_code == 404


def test_line_22_a_file_that_the_client_has_is_not_sent_again(client):
    url = succeeded(client.post(URL, json={"prompt": "a"}))[0]["url"]
    etag = client.get(url).headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        reply = client.get(url, headers={"if-none-match": known})
        assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", etag)
    assert client.get(url, headers={"if-none-match": '"other"'}).status_code == 200


def test_line_23_names_and_formats(client):
    for extension in ("png", "jpg", "jpeg", "webp"):
        (image,) = succeeded(client.post(URL, json={"save_name": "kitten", "save_extension": extension}))
        assert image["url"].endswith(f".{extension}")
        assert "/kitten-0" in image["url"]
    (image,) = succeeded(client.post(URL, json={"prompt": "a cat", "meta_scheme": "a1111"}))
    stored = Image.open(io.BytesIO(client.get(image["url"]).content))
    assert stored.text["fooocus_scheme"] == "a1111"
    assert stored.text["parameters"].startswith("a cat")
    (image,) = succeeded(client.post(URL, json={"prompt": "a cat", "image_seed": 5}))
    told = json.loads(Image.open(io.BytesIO(client.get(image["url"]).content)).text["parameters"])
    assert (told["prompt"], told["seed"]) == ("a cat", "5")
    assert fault(client.post(URL, json={"save_name": "../../x"}))["loc"] == ["body", "save_name"]


@pytest.mark.parametrize("url", [URL, VARY.format(2), INPAINT.format(2), PROMPT.format(2), WITH_IP, ENHANCE.format(2)])
def test_line_24_every_fault_is_told_at_once(client, url):
    body = {
        "image_number": 99,
        "sharpness": "much",
        "style_selections": "Fooocus V2",
        "loras": [{"weight": 1}, {"model_name": "a", "weight": 9}],
        "advanced_params": {"overwrite_step": 2.5, "canny_low_threshold": 0},
    }
    reply = client.post(url, json=body)
    assert reply.status_code == 422
    assert list(reply.json()) == ["detail"]
    found = {tuple(item["loc"]): (item["type"], item["msg"]) for item in reply.json()["detail"]}
    assert found == {
        ("body", "image_number"): ("less_than_equal", "Input should be less than or equal to 32"),
        ("body", "sharpness"): ("float_parsing", "Input should be a valid number, unable to parse string as a number"),
        ("body", "style_selections"): ("list_type", "Input should be a valid list"),
        ("body", "loras", 0, "model_name"): ("missing", "Field required"),
        ("body", "loras", 1, "weight"): ("less_than_equal", "Input should be less than or equal to 2"),
        ("body", "advanced_params", "overwrite_step"): (
            "int_from_float",
            "Input should be a valid integer, got a number with a fractional part",
        ),
        ("body", "advanced_params", "canny_low_threshold"): (
            "greater_than_equal",
            "Input should be greater than or equal to 1",
        ),
    }


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


@pytest.mark.parametrize(
    ("body", "loc", "near"),
    [
        ({"style_selections": ["Fooocus Enhanse"]}, ["body", "style_selections"], "Fooocus Enhance"),
        ({"base_model_name": "othr.safetensors"}, ["body", "base_model_name"], "other.safetensors"),
        ({"loras": [{"model_name": "sub/b.safetensors"}]}, ["body", "loras"], "sub/a.safetensors"),
        ({"refiner_model_name": "othr.safetensors"}, ["body", "refiner_model_name"], "other.safetensors"),
        ({"preset": "anim"}, ["body", "preset"], "anime"),
        ({"advanced_params": {"sampler_name": "eulr"}}, ["body", "advanced_params", "sampler_name"], "euler"),
        (
            {"advanced_params": {"refiner_swap_method": "joit"}},
            ["body", "advanced_params", "refiner_swap_method"],
            "joint",
        ),
    ],
)
def test_strict_refuses_unknown_names_with_the_nearest(strict_client, body, loc, near):
    found = fault(strict_client.post(URL, json={"prompt": "a", **body}))
    assert found["loc"] == loc
    assert near in found["msg"]


def test_strict_takes_what_is_known_and_the_documented_defaults(strict_client):
    for name in ("juggernautXL_version6Rundiffusion.safetensors", "None"):
        succeeded(strict_client.post(URL, json={"base_model_name": name, "style_selections": ["fooocus v2"]}))


@pytest.fixture(scope="module")
def strict_client(tmp_path_factory):
    from tests.api.conftest import open_client

    with open_client(fake_settings(tmp_path_factory.mktemp("strict"), strict=True)) as opened_client:
        yield opened_client


def test_input_pictures_of_forgotten_requests_go(make_client, tmp_path):
    import os

    from api.retention import sweep

    client = make_client()
    kept, gone = as_text(picture(40, 20)), as_text(picture(20, 40))
    jobs = [
        client.post(VARY.format(2), json={"input_image": text, "uov_method": "Vary (Subtle)", "async_process": True})
        for text in (kept, gone)
    ]
    ids = [job.json()["job_id"] for job in jobs]
    for job_id in ids:
        poll(client, job_id)
    own = tmp_path / "input" / "mine.png"
    own.write_bytes(encoded(Image.new("RGB", (4, 4))))
    client.get("/v1/generation/job-history", params={"job_id": ids[1], "delete": True})
    served = client.app.state.services

    def remaining(unused_s: float) -> int:
        client.portal.call(lambda: sweep(served.settings, served.jobs, unused_s=unused_s))
        return len(list((tmp_path / "input").glob("*.png")))

    assert remaining(3600) == 3
    for path in (tmp_path / "input").glob("*.png"):
        os.utime(path, (1, 1))
    assert remaining(3600) == 2
    assert own.exists()
    succeeded(client.post(VARY.format(2), json={"input_image": kept, "uov_method": "Upscale (Fast 2x)"}))
