"""POST /v1/engine/generate/: the kinds of answer, presets, names of files, faults."""

import time
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.api.test_image_routes import as_text, half_mask
from tests.api.test_input_images import picture

URL = "/v1/engine/generate/"
IMAGE = as_text(picture(40, 24))
MASK = as_text(half_mask(40, 24))
PENDING = {
    "id": -1,
    "task_id": "",
    "req_params": {},
    "in_queue_mills": -1,
    "start_mills": -1,
    "finish_mills": -1,
    "task_status": "pending",
    "progress": -1,
    "preview": "",
    "webhook_url": "",
    "result": [],
}


def record(client: TestClient, task_id: str, until: tuple[str, ...] = ("finished", "stop", "error")) -> dict[str, Any]:
    """Ask for a task until it has one of these states."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        task = client.get(f"/tasks/{task_id}").json()
        if task["task_status"] in until:
            return task
        time.sleep(0.02)
    raise AssertionError(f"task {task_id} did not reach {until}")


def graph_of(client: TestClient, **body: Any) -> dict[str, dict[str, Any]]:
    """The graph of a task: class type → inputs of the last node of that class."""
    reply = client.post(URL, json={"prompt": "x", "image_seed": 1, **body, "async_process": True})
    assert reply.status_code == 200, reply.text
    graph = client.get(f"/v1/engines/jobs/{reply.json()['task_id']}/graph").json()
    return {node["class_type"]: node["inputs"] for node in graph.values()}


def made(client: TestClient, **body: Any) -> dict[str, Any]:
    """The finished task."""
    reply = client.post(URL, json={"prompt": "x", **body})
    assert reply.status_code == 200, reply.text
    assert reply.json()["task_status"] == "finished", reply.text
    return reply.json()


def opened(client: TestClient, url: str) -> Image.Image:
    return Image.open(BytesIO(client.get(url).content))


def faults(client: TestClient, **body: Any) -> list[dict[str, Any]]:
    reply = client.post(URL, json=body)
    assert reply.status_code == 422, reply.text
    return reply.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/engine/generate", "/v1/engine/generate/"])
def test_an_empty_body_gives_a_finished_task_without_a_redirect(client, path):
    reply = client.post(path, json={}, follow_redirects=False)
    task = reply.json()
    assert reply.status_code == 200
    assert list(task) == [
        *("id", "task_id", "req_params", "in_queue_mills", "start_mills", "finish_mills", "task_status", "progress"),
        *("webhook_url", "result"),
    ]
    assert (task["task_status"], task["progress"]) == ("finished", 100)
    assert len(task["task_id"]) == 32
    assert task["in_queue_mills"] <= task["start_mills"] <= task["finish_mills"]
    (url,) = task["result"]
    assert url.startswith("http://127.0.0.1:8888/outputs/20")
    assert opened(client, url).format == "PNG"


def test_async_process_gives_exactly_the_pending_record(client):
    reply = client.post(URL, json={"prompt": "a", "async_process": True})
    assert reply.json() | {"task_id": ""} == PENDING
    assert list(reply.json()) == list(PENDING)
    assert len(reply.json()["task_id"]) == 32
    done = record(client, reply.json()["task_id"])
    assert done["task_status"] == "finished"
    assert "preview" not in done


def test_a_failing_job_is_an_error_with_no_results(client):
    task = client.post(URL, json={"prompt": "boom"}).json()
    assert (task["task_status"], task["result"]) == ("error", [])
    assert client.post(URL, json={"prompt": "boom"}, headers={"accept": "image/png"}).status_code == 204


def test_a_body_without_a_content_type_is_json(client):
    for kind in ("", "text/plain", "application/x-www-form-urlencoded"):
        reply = client.post(URL, content=b'{"prompt": "a", "unknown": [1]}', headers={"content-type": kind})
        assert reply.json()["task_status"] == "finished", kind


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("image/png", "PNG"),
        ("image/jpeg", "JPEG"),
        ("image/jpg", "JPEG"),
        ("image/webp", "WEBP"),
        ("image/*", "PNG"),
        ("image/gif", "PNG"),
        ("image/webp;q=0.9", "WEBP"),
        ("IMAGE/PNG", "PNG"),
        ("image", "PNG"),
    ],
)
def test_a_picture_type_in_accept_gives_one_binary_picture(client, accept, kind):
    body = {"prompt": "a", "image_number": 3, "stream_output": True, "async_process": True, "output_format": "png"}
    reply = client.post(URL, json=body, headers={"accept": accept})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == f"image/{kind.lower()}"
    assert Image.open(BytesIO(reply.content)).format == kind


@pytest.mark.parametrize(
    "accept",
    [
        *("", "*/*", "text/event-stream", "text/html", "application/json, text/plain, */*"),
        "text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8",
    ],
)
def test_lists_in_accept_leave_the_kind_of_answer_to_the_body(client, accept):
    reply = client.post(URL, json={"prompt": "a", "async_process": True}, headers={"accept": accept})
    assert reply.json()["task_status"] == "pending"


def test_a_stream_comes_before_async_process(client):
    reply = client.post(URL, json={"prompt": "a", "stream_output": True, "async_process": True})
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"


def test_a_full_queue_is_409_in_every_mode(make_client):
    client = make_client(queue_size=1)
    first = client.post(URL, json={"prompt": "slow", "overwrite_step": 200, "async_process": True}).json()
    for change, accept in (
        ({}, "*/*"),
        ({"async_process": True}, "*/*"),
        ({"stream_output": True}, "*/*"),
        ({}, "image/png"),
    ):
        reply = client.post(URL, json={"prompt": "a", **change}, headers={"accept": accept})
        assert (reply.status_code, reply.json()) == (409, {"detail": "QUEUE_IS_FULL"})
    record(client, first["task_id"], ("running",))
    client.post("/v1/engine/control/?action=stop")


class TestPresets:
    def test_a_preset_fills_what_is_not_given(self, client):
        graph = graph_of(client, preset="Playground_V2.5")
        assert (graph["SampleLatent"]["sampler_name"], graph["SampleLatent"]["cfg"]) == ("dpmpp_2m", 2.0)
        assert (graph["EmptyLatentImage"]["width"], graph["EmptyLatentImage"]["height"]) == (1024, 1024)
        params = made(client, preset="playground_v2.5", aspect_ratios_selection="64*64")["req_params"]
        assert (params["sampler_name"], params["guidance_scale"]) == ("dpmpp_2m", 2.0)

    def test_a_given_field_comes_before_the_preset(self, client):
        graph = graph_of(client, preset="playground_v2.5", guidance_scale=5, sampler_name="euler")
        assert (graph["SampleLatent"]["sampler_name"], graph["SampleLatent"]["cfg"]) == ("euler", 5.0)

    def test_a_field_that_equals_its_default_counts_as_not_given(self, client):
        same = {"guidance_scale": 4.0, "sampler_name": "dpmpp_2m_sde_gpu", "aspect_ratios_selection": "1152×896"}
        graph = graph_of(client, preset="playground_v2.5", **same)
        assert (graph["SampleLatent"]["sampler_name"], graph["SampleLatent"]["cfg"]) == ("dpmpp_2m", 2.0)
        assert graph["EmptyLatentImage"]["width"] == 1024
        assert graph_of(client, **same)["SampleLatent"]["cfg"] == 4.0

    def test_the_default_loras_count_as_not_given_however_they_are_padded(self, make_client, tmp_path):
        client = make_client()
        for name in ("sd_xl_offset_example-lora_1.0", "SDXL_FILM_PHOTOGRAPHY_STYLE_V1"):
            (tmp_path / "models" / "loras" / f"{name}.safetensors").touch()
        client.get("/v1/engines/all-models")
        offset = {"enabled": True, "model_name": "sd_xl_offset_example-lora_1.0.safetensors", "weight": 0.1}
        empty = {"enabled": True, "model_name": "None", "weight": 1}
        graph = graph_of(client, preset="realistic", loras=[offset, empty, empty])
        assert graph["LoraLoader"]["lora_name"].startswith("SDXL_FILM")
        assert "LoraLoader" not in graph_of(client, preset="realistic", loras=[])
        assert graph_of(client, loras=[offset])["LoraLoader"]["lora_name"].startswith("sd_xl_offset")

    def test_without_a_preset_a_default_that_is_given_counts(self, client):
        graph = graph_of(client, aspect_ratios_selection="1152*896")
        assert (graph["EmptyLatentImage"]["width"], graph["EmptyLatentImage"]["height"]) == (1152, 896)

    def test_an_unknown_preset_is_left_out_with_a_warning(self, client):
        reply = client.post(URL, json={"prompt": "a", "preset": "Realistc"})
        assert reply.json()["task_status"] == "finished"
        assert "realistic" in reply.headers["x-warning"]

    @pytest.mark.parametrize("name", ["../x/y", "..", "a/b", "a\\b", "..."])
    def test_a_preset_is_no_path(self, client, name):
        (fault,) = faults(client, preset=name)
        assert fault["loc"] == ["body", "preset"]

    def test_the_adm_scalers_are_those_of_the_document(self, make_client):
        client = make_client()
        scaled = graph_of(client)["ScaleSizeConditioning"]
        assert (scaled["positive"], scaled["negative"], scaled["end"]) == (1.5, 1.5, 0.8)
        assert graph_of(client, adm_scaler_end=0.1)["ScaleSizeConditioning"]["end"] == 0.1


class TestNames:
    def test_files_are_named_by_the_time(self, client):
        first, second = made(client, image_number=2)["result"]
        day, name = first.split("/")[-2:]
        assert name.startswith(f"{day}_")
        assert len(name) == len("2024-07-04_17-36-09_5201.png")
        assert first != second

    def test_save_name_names_the_file(self, client):
        (url,) = made(client, save_name="my cat", output_format="jpg")["result"]
        assert url.endswith("/my%20cat-0.jpg")
        assert client.get(url).headers["content-type"] == "image/jpeg"

    def test_save_name_may_lead_to_another_folder(self, client):
        (url,) = made(client, save_name="../pets/cat")["result"]
        assert url == "http://127.0.0.1:8888/outputs/pets/cat-0.png"
        assert client.get(url).status_code == 200

    @pytest.mark.parametrize("name", ["../../x", "../..", "/x", "../../../etc/x", "..\\..\\x", "../.../x", "a/../../x"])
    def test_save_name_never_leads_out(self, client, name):
        (fault,) = faults(client, save_name=name)
        assert fault["loc"] == ["body", "save_name"]

    def test_none_is_no_name(self, client):
        for word in (None, "", "None", "none"):
            (url,) = made(client, save_name=word)["result"]
            assert "one" not in url.rpartition("/")[2]


class TestRecord:
    def test_req_params_can_be_sent_again_and_give_the_same_picture(self, client):
        prompt = {"cn_img": IMAGE, "cn_type": "CPDS"}
        body = {"controlnet_image": [prompt], "loras": [{"model_name": "sub/a.safetensors"}], "preset": "anime"}
        first = made(client, **body)
        params = first["req_params"]
        assert params["loras"] == [{"model_name": "sub/a.safetensors", "enabled": True, "weight": 0.5}]
        assert params["image_seed"] >= 0
        again = made(client, **params)
        assert again["req_params"] == params
        assert opened(client, again["result"][0]).tobytes() == opened(client, first["result"][0]).tobytes()

    def test_pictures_of_a_request_are_urls_that_need_no_key(self, make_client):
        client = make_client(apikey="k")
        sent = client.post(
            URL,
            json={"prompt": "a", "inpaint_input_image": IMAGE, "inpaint_mask_image_upload": MASK},
            headers={"X-API-KEY": "k"},
        ).json()
        params = sent["req_params"]
        for name in ("inpaint_input_image", "inpaint_mask_image_upload"):
            assert params[name].startswith("http://127.0.0.1:8888/inputs/")
            assert opened(client, params[name]).size == (40, 24)
        assert (params["uov_input_image"], params["controlnet_image"]) == ("", [])
        converted = client.get(params["inpaint_input_image"], headers={"accept": "image/webp"})
        assert converted.headers["content-type"] == "image/webp"
        assert client.get(sent["result"][0]).status_code == 200
        for path in (URL, "/tasks", "/tasks/x", "/v1/engine/control/"):
            assert client.get(path).status_code == 403, path

    def test_the_same_picture_has_the_same_url(self, client):
        bmp = BytesIO()
        Image.open(BytesIO(picture(40, 24))).save(bmp, "BMP")
        urls = {
            made(client, uov_input_image=image)["req_params"]["uov_input_image"]
            for image in (IMAGE, as_text(bmp.getvalue()))
        }
        assert len(urls) == 1

    def test_inputs_are_named_by_their_digest_and_by_nothing_else(self, client):
        for name in ("x.png", "../jobs.sqlite3", "%2e%2e/x.png", "a" * 64 + ".jpg", "0" * 64 + ".png"):
            assert client.get(f"/inputs/{name}").status_code == 404


class TestFaults:
    def test_every_fault_is_told_at_once(self, client):
        found = faults(
            client,
            prompt=1,
            image_number=33,
            output_format="bmp",
            aspect_ratios_selection="abc",
            outpaint_distance=[1, 2],
            upscale_multiple=9,
            loras=[{"weight": "x"}],
            performance_selection="Fast",
        )
        assert {".".join(map(str, fault["loc"][1:])) for fault in found} == {
            *("prompt", "image_number", "output_format", "aspect_ratios_selection", "outpaint_distance"),
            *("upscale_multiple", "loras.0.weight", "performance_selection"),
        }
        (performance,) = [fault for fault in found if fault["loc"][-1] == "performance_selection"]
        assert performance["msg"] == ("Input should be 'Quality', 'Speed', 'Extreme Speed', 'Lightning' or 'Hyper-SD'")

    def test_every_bad_picture_is_told_and_nothing_is_queued(self, client):
        before = client.get("/v1/generation/job-queue").json()["finished_size"]
        found = faults(client, uov_input_image="!", controlnet_image=[{}, {"cn_img": "#"}], stream_output=True)
        assert [fault["loc"] for fault in found] == [
            ["body", "controlnet_image", 1, "cn_img"],
            ["body", "uov_input_image"],
        ]
        assert client.get("/v1/generation/job-queue").json()["finished_size"] == before

    def test_the_builders_faults_carry_the_names_of_this_contract(self, client):
        huge = as_text(picture(5000, 4000))
        (fault,) = faults(client, uov_input_image=huge, uov_method="Upscale (2x)")
        assert fault["loc"][0] == "body"

    def test_invalid_json_is_422_and_without_the_key_403(self, make_client):
        client = make_client(apikey="k")
        assert client.post(URL, content=b"{").status_code == 403
        assert client.post(URL, content=b"{", headers={"X-API-KEY": "k"}).status_code == 422

    def test_null_is_not_given(self, client):
        names = ("prompt", "loras", "controlnet_image", "image_number", "save_name", "webhook_url", "outpaint_distance")
        assert made(client, **dict.fromkeys(names))["task_status"] == "finished"

    def test_unknown_names_are_replaced_and_told(self, client):
        reply = client.post(
            URL,
            json={
                "prompt": "a",
                "style_selections": ["No Such"],
                "base_model_name": "x.safetensors",
                "sampler_name": "y",
            },
        )
        assert reply.json()["task_status"] == "finished"
        for word in ("No Such", "x.safetensors", "'y'"):
            assert word in reply.headers["x-warning"]

    def test_strict_refuses_them(self, make_client):
        client = make_client(strict=True)
        found = faults(client, prompt="a", style_selections=["No Such"], sampler_name="y", preset="nothing")
        assert {fault["loc"][-1] for fault in found} == {"style_selections", "sampler_name", "preset"}

    def test_a_get_is_answered_at_once(self, client):
        for path in (URL, URL.rstrip("/"), "/v1/engine/control/"):
            assert client.get(path, follow_redirects=False).status_code == 405
