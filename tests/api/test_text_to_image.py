"""POST /v1/generation/text-to-image: the three kinds of answer, seeds, failures."""

import base64
import time
from io import BytesIO

from PIL import Image
from starlette.testclient import TestClient

URL = "/v1/generation/text-to-image"


def poll(client: TestClient, job_id: str, until: tuple[str, ...] = ("SUCCESS", "ERROR"), **query: object) -> dict:
    """Ask query-job until the job has one of these stages."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        job = client.get("/v1/generation/query-job", params={"job_id": job_id, **query}).json()
        if job["job_stage"] in until:
            return job
        time.sleep(0.02)
    raise AssertionError(f"job {job_id} did not reach {until}")


def test_a_bare_prompt_gives_one_picture_with_an_absolute_url(client):
    reply = client.post(URL, json={"prompt": "a red circle"})
    assert reply.status_code == 200
    (image,) = reply.json()
    assert list(image) == ["base64", "url", "seed", "finish_reason"]
    assert image["base64"] is None
    assert image["finish_reason"] == "SUCCESS"
    assert isinstance(image["seed"], str)
    assert image["url"].startswith("http://127.0.0.1:8888/files/20")
    picture = client.get(image["url"])
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(BytesIO(picture.content)).format == "PNG"


def test_async_process_gives_the_job_at_once_and_query_job_follows_it(client):
    reply = client.post(URL, json={"prompt": "slow", "async_process": True, "advanced_params": {"overwrite_step": 8}})
    job = reply.json()
    assert list(job) == [
        *("job_id", "job_type", "job_stage", "job_progress", "job_status", "job_step_preview", "job_result"),
    ]
    assert job | {"job_id": ""} == {
        "job_id": "",
        "job_type": "Text to Image",
        "job_stage": "WAITING",
        "job_progress": 0,
        "job_status": None,
        "job_step_preview": None,
        "job_result": None,
    }
    seen = []
    while not seen or seen[-1]["job_stage"] in ("WAITING", "RUNNING"):
        query = {"job_id": job["job_id"], "require_step_preivew": "true"}
        seen.append(client.get("/v1/generation/query-job", params=query).json())
        time.sleep(0.02)
    percents = [one["job_progress"] for one in seen]
    assert percents == sorted(percents)
    assert all(isinstance(percent, int) for percent in percents)
    running = [one for one in seen if one["job_stage"] == "RUNNING" and one["job_step_preview"]]
    assert running
    assert base64.b64decode(running[-1]["job_step_preview"]).startswith(b"\x89PNG")
    assert any(one["job_status"].startswith("Step ") for one in running)
    assert seen[-1]["job_stage"] == "SUCCESS"
    assert seen[-1]["job_status"] == "Finished"
    assert seen[-1]["job_progress"] == 100
    assert seen[-1]["job_step_preview"]
    assert seen[-1]["job_result"][0]["finish_reason"] == "SUCCESS"


def test_the_step_preview_comes_only_when_asked_for(client):
    job = client.post(URL, json={"prompt": "a", "async_process": True}).json()
    assert poll(client, job["job_id"])["job_step_preview"] is None


def test_disable_preview_makes_none(client):
    body = {
        "prompt": "slow a",
        "async_process": True,
        "advanced_params": {"disable_preview": True, "overwrite_step": 2},
    }
    job = client.post(URL, json=body).json()
    assert poll(client, job["job_id"], require_step_preview="true")["job_step_preview"] is None


def test_a_single_picture_type_in_accept_gives_binary(client):
    for accept, kind in (("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/jpg", "JPEG"), ("image/webp", "WEBP")):
        reply = client.post(URL, json={"prompt": "a", "image_number": 3, "image_seed": 1}, headers={"accept": accept})
        assert reply.status_code == 200
        assert reply.headers["content-type"] == accept.replace("jpg", "jpeg")
        assert Image.open(BytesIO(reply.content)).format == kind


def test_the_accept_parameter_overrules_the_header(client):
    reply = client.post(
        URL, params={"accept": "image/png"}, json={"prompt": "a"}, headers={"accept": "application/json"}
    )
    assert reply.content.startswith(b"\x89PNG")


def test_a_browsers_accept_list_gives_json(client):
    reply = client.post(URL, json={"prompt": "a"}, headers={"accept": "image/avif,image/webp,image/png,*/*"})
    assert reply.headers["content-type"] == "application/json"


def test_async_process_wins_over_binary(client):
    reply = client.post(URL, json={"prompt": "a", "async_process": True}, headers={"accept": "image/png"})
    assert reply.json()["job_stage"] == "WAITING"


def test_base64_is_the_stored_file_with_or_without_prefix(client):
    body = {"prompt": "a", "require_base64": True, "save_extension": "webp", "image_seed": 4}
    (image,) = client.post(URL, json=body).json()
    prefix, _, text = image["base64"].partition(",")
    assert prefix == "data:image/webp;base64"
    assert base64.b64decode(text) == client.get(image["url"]).content
    (raw,) = client.post(URL, params={"base64": "raw"}, json=body).json()
    assert base64.b64decode(raw["base64"]) == base64.b64decode(text)


def test_several_images_have_following_seeds(client):
    images = client.post(URL, json={"prompt": "a", "image_number": 3, "image_seed": 41}).json()
    assert [image["seed"] for image in images] == ["41", "42", "43"]
    assert len({image["url"] for image in images}) == 3
    body = {"prompt": "a", "image_number": 2, "image_seed": 41, "advanced_params": {"disable_seed_increment": True}}
    assert [image["seed"] for image in client.post(URL, json=body).json()] == ["41", "41"]


def test_a_seed_outside_its_range_becomes_a_random_one_that_can_be_used_again(client):
    for seed in (-1, -5, 2**63, "99999999999999999999"):
        (image,) = client.post(URL, json={"prompt": "a", "image_seed": seed}).json()
        assert 0 <= int(image["seed"]) < 2**63
    (again,) = client.post(URL, json={"prompt": "a", "image_seed": image["seed"]}).json()
    assert again["seed"] == image["seed"]
    assert client.get(again["url"]).content == client.get(image["url"]).content


def test_the_largest_seed_survives_as_text_and_as_number(client):
    for seed in (2**63 - 1, str(2**63 - 1)):
        (image,) = client.post(URL, json={"prompt": "a", "image_seed": seed}).json()
        assert image["seed"] == "9223372036854775807"


def test_save_name_and_extension_name_the_file(client):
    (image,) = client.post(URL, json={"prompt": "a", "save_name": "kitten", "save_extension": "jpg"}).json()
    assert image["url"].endswith("/kitten-0.jpg")
    assert client.get(image["url"]).headers["content-type"] == "image/jpeg"


def test_the_metadata_stands_in_the_file_unless_it_is_switched_off(client):
    body = {"prompt": "a", "image_seed": 5, "meta_scheme": "a111"}
    (image,) = client.post(URL, json=body).json()
    picture = Image.open(BytesIO(client.get(image["url"]).content))
    assert picture.info["fooocus_scheme"] == "a1111"
    assert "Seed: 5" in picture.info["parameters"]
    (bare,) = client.post(URL, json={**body, "save_meta": False}).json()
    assert "parameters" not in Image.open(BytesIO(client.get(bare["url"]).content)).info


def test_a_failing_job_answers_with_an_error_item_in_every_mode(client):
    (image,) = client.post(URL, json={"prompt": "boom", "image_seed": 6}).json()
    assert image == {"base64": None, "url": None, "seed": "6", "finish_reason": "ERROR"}
    binary = client.post(URL, json={"prompt": "boom"}, headers={"accept": "image/png"})
    assert (binary.status_code, binary.text) == (500, "ERROR")
    job = client.post(URL, json={"prompt": "boom", "async_process": True}).json()
    ended = poll(client, job["job_id"])
    assert ended["job_stage"] == "ERROR"
    assert ended["job_result"] is None
    assert "the sampler exploded" in ended["job_status"]


def test_stop_ends_the_running_job_and_not_the_next(client):
    body = {"prompt": "slow", "image_number": 2, "async_process": True, "advanced_params": {"overwrite_step": 100}}
    job = client.post(URL, json=body).json()
    poll(client, job["job_id"], ("RUNNING",))
    started = time.monotonic()
    assert client.post("/v1/generation/stop", content=b"").json() == {"msg": "success"}
    ended = poll(client, job["job_id"])
    assert time.monotonic() - started < 2
    assert ended["job_stage"] == "ERROR"
    assert ended["job_status"] == "User cancelled"
    assert [item["finish_reason"] for item in ended["job_result"]] == ["USER_CANCEL"]
    assert client.post("/v1/generation/stop").json() == {"msg": "success"}
    assert client.post(URL, json={"prompt": "a"}).json()[0]["finish_reason"] == "SUCCESS"


def test_a_stopped_job_keeps_the_pictures_made_before(client):
    body = {"prompt": "[[quick, slow]]", "image_number": 2, "image_seed": 9, "async_process": True}
    job = client.post(URL, json=body | {"advanced_params": {"overwrite_step": 60}}).json()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        status = poll(client, job["job_id"], ("RUNNING",))["job_status"] or ""
        if "2-th" in status:
            break
    client.post("/v1/generation/stop")
    ended = poll(client, job["job_id"])
    assert ended["job_stage"] == "SUCCESS"
    assert [item["finish_reason"] for item in ended["job_result"]] == ["SUCCESS", "USER_CANCEL"]
    assert ended["job_result"][1]["seed"] == "10"


def test_a_full_queue_is_refused_in_three_forms(make_client):
    client = make_client(queue_size=1)
    body = {"prompt": "slow", "async_process": True, "advanced_params": {"overwrite_step": 100}}
    assert client.post(URL, json=body).json()["job_stage"] == "WAITING"
    full = {"base64": None, "url": None, "seed": "", "finish_reason": "QUEUE_IS_FULL"}
    sync = client.post(URL, json={"prompt": "a"})
    assert (sync.status_code, sync.json()) == (200, [full])
    job = client.post(URL, json={"prompt": "a", "async_process": True})
    assert (job.status_code, job.json()["job_stage"], job.json()["job_id"]) == (200, "ERROR", "")
    assert job.json()["job_result"] == [full]
    binary = client.post(URL, json={"prompt": "a"}, headers={"accept": "image/png"})
    assert (binary.status_code, binary.text) == (409, "QUEUE_IS_FULL")
    client.post("/v1/generation/stop")


def test_strict_status_says_it_in_the_status_line(make_client):
    client = make_client(strict_status=True)
    assert client.post(URL, json={"prompt": "boom"}).status_code == 500
    assert client.post(URL, json={"prompt": "a"}).status_code == 200


def test_a_worker_that_dies_is_replaced_and_the_job_finishes(client):
    (image,) = client.post(URL, json={"prompt": "die once"}).json()
    assert image["finish_reason"] == "SUCCESS"


def test_a_job_that_kills_every_worker_fails_and_the_queue_goes_on(client):
    job = client.post(URL, json={"prompt": "die", "async_process": True}).json()
    behind = client.post(URL, json={"prompt": "a", "async_process": True}).json()
    ended = poll(client, job["job_id"])
    assert ended["job_stage"] == "ERROR"
    assert "worker" in ended["job_status"]
    assert poll(client, behind["job_id"])["job_stage"] == "SUCCESS"


def test_what_was_replaced_is_said_in_a_header(client):
    body = {
        "prompt": "a",
        "base_model_name": "juggernautXL_version6Rundiffusion.safetensors",
        "style_selections": ["No Such Style"],
        "loras": [{"model_name": "missing.safetensors"}],
        "advanced_params": {"sampler_name": "nonsense", "inpaint_strength": 0.5},
    }
    reply = client.post(URL, json=body)
    assert reply.json()[0]["finish_reason"] == "SUCCESS"
    for word in ("juggernaut", "No Such Style", "missing.safetensors", "nonsense", "inpaint_strength"):
        assert word in reply.headers["x-warning"]


def test_a_body_without_content_type_is_json(client):
    reply = client.post(URL, content=b'{"prompt": "a"}', headers={"content-type": ""})
    assert reply.json()[0]["finish_reason"] == "SUCCESS"
    reply = client.post(URL, content=b'{"prompt": "a"}', headers={"content-type": "text/plain"})
    assert reply.json()[0]["finish_reason"] == "SUCCESS"


def test_the_graph_of_a_job_posted_to_prompt_gives_the_same_picture(client):
    job = client.post(URL, json={"prompt": "a red circle", "image_seed": 12, "async_process": True}).json()
    done = poll(client, job["job_id"])
    graph = client.get(f"/v1/engines/jobs/{job['job_id']}/graph").json()
    posted = client.post("/prompt", json={"prompt": graph}).json()
    entry = wait_for_history(client, posted["prompt_id"])
    (output,) = [image for ui in entry["outputs"].values() for image in ui["images"]]
    again = client.get("/view", params=output)
    assert again.content == client.get(done["job_result"][0]["url"]).content


def wait_for_history(client: TestClient, prompt_id: str) -> dict:
    """Poll /history/{id} until the entry is there."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if entry := client.get(f"/history/{prompt_id}").json().get(prompt_id):
            return entry
        time.sleep(0.02)
    raise AssertionError(f"{prompt_id} never came into the history")
