"""The acceptance list of contract A (API contract §12), lines 18 to 24: tools, webhooks, the key, files, faults."""

import base64
import io
import json

import pytest
from PIL import Image

from tests.api.test_acceptance_a import ENHANCE, PROMPT, WITH_IP, succeeded
from tests.api.test_image_routes import INPAINT, RED, VARY, as_text
from tests.api.test_input_images import fault, picture
from tests.api.test_text_to_image import URL
from tests.api.test_webhooks import Receiver, receiver

__all__ = ["receiver"]

DESCRIBE = "/v1/tools/describe-image"
MASK = "/v1/tools/generate_mask"


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
