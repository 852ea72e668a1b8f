"""One store behind every door: a job made through one contract is seen through the others, however its id is spelt."""

import uuid

import pytest

from tests.api.conftest import fake_settings, open_client
from tests.api.test_engine_generate import URL, made, record
from tests.api.test_image_routes import as_text
from tests.api.test_input_images import picture
from tests.api.test_text_to_image import URL as TEXT_TO_IMAGE
from tests.api.test_text_to_image import poll, wait_for_history
from tests.api.test_webhooks import receiver

__all__ = ["receiver"]

RECORD = {
    *("id", "task_id", "req_params", "in_queue_mills", "start_mills", "finish_mills", "task_status", "progress"),
    *("webhook_url", "result"),
}


def spellings(id: str) -> list[str]:
    return [str(uuid.UUID(id)), uuid.UUID(id).hex, uuid.UUID(id).hex.upper()]


def test_a_job_of_fooocus_api_is_a_task_of_fooocusapi(client):
    job_id = client.post(TEXT_TO_IMAGE, json={"prompt": "a", "image_number": 2, "async_process": True}).json()["job_id"]
    job = poll(client, job_id)
    for id in spellings(job_id):
        task = client.get(f"/tasks/{id}").json()
        assert set(task) == RECORD
        assert task["task_id"] == uuid.UUID(job_id).hex
        assert (task["task_status"], task["progress"]) == ("finished", 100)
        assert task["result"] == [image["url"] for image in job["job_result"]]
        assert "/files/" in task["result"][0]
    newest = client.get("/tasks", params={"page_size": 1}).json()["history"]
    assert [one["task_id"] for one in newest] == [uuid.UUID(job_id).hex]


def test_a_task_of_fooocusapi_is_a_job_of_fooocus_api(client):
    body = {"prompt": "a", "uov_input_image": as_text(picture()), "uov_method": "Vary (Strong)", "image_seed": 7}
    task = made(client, **body)
    for id in spellings(task["task_id"]):
        job = client.get("/v1/generation/query-job", params={"job_id": id}).json()
        assert job["job_id"] == str(uuid.UUID(task["task_id"]))
        assert (job["job_type"], job["job_stage"], job["job_progress"]) == (
            "Image Upscale or Variation",
            "SUCCESS",
            100,
        )
        assert [(image["url"], image["seed"]) for image in job["job_result"]] == [(task["result"][0], "7")]
    history = client.get("/v1/generation/job-history", params={"job_id": task["task_id"]}).json()["history"]
    assert [one["job_id"] for one in history] == [str(uuid.UUID(task["task_id"]))]


def test_both_prefixes_serve_any_result(client):
    (url,) = made(client)["result"]
    other = url.replace("/outputs/", "/files/")
    assert client.get(other).content == client.get(url).content
    (image,) = client.post(TEXT_TO_IMAGE, json={"prompt": "a"}).json()
    assert client.get(image["url"].replace("/files/", "/outputs/")).status_code == 200


def test_a_posted_graph_is_a_task_and_its_files_are_served(client):
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "other.safetensors"}},
        "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "3": {"class_type": "EncodePrompts", "inputs": {"clip": ["1", 1], "texts": {"__value__": ["a"]}}},
        "4": {
            "class_type": "SampleLatent",
            "inputs": {
                **{"model": ["1", 0], "positive": ["3", 0], "negative": ["3", 0], "latent_image": ["2", 0]},
                **{"seed": 1, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal"},
            },
        },
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveGeneration", "inputs": {"images": ["5", 0]}},
    }
    prompt_id = client.post("/prompt", json={"prompt": graph}).json()["prompt_id"]
    wait_for_history(client, prompt_id)
    task = client.get(f"/tasks/{prompt_id}").json()
    assert set(task) == RECORD
    assert task["req_params"] == {}
    (url,) = task["result"]
    assert "/outputs/" in url
    assert client.get(url).status_code == 200


def test_control_stops_and_skips_jobs_of_the_other_contract(client):
    body = {"prompt": "slow", "async_process": True, "advanced_params": {"overwrite_step": 200}}
    job_id = client.post(TEXT_TO_IMAGE, json=body).json()["job_id"]
    poll(client, job_id, ("RUNNING",))
    assert client.post("/v1/engine/control/?action=stop").json() == {"message": "task stopped"}
    assert record(client, job_id)["task_status"] == "stop"
    task_id = client.post(URL, json={"prompt": "slow", "overwrite_step": 200, "async_process": True}).json()["task_id"]
    record(client, task_id, ("running",))
    client.post("/v1/generation/stop")
    assert record(client, task_id)["task_status"] == "stop"


def test_a_failed_job_of_one_is_an_error_of_the_other(client):
    job_id = client.post(TEXT_TO_IMAGE, json={"prompt": "boom", "async_process": True}).json()["job_id"]
    poll(client, job_id)
    assert client.get(f"/tasks/{job_id}").json()["task_status"] == "error"
    task = client.post(URL, json={"prompt": "boom"}).json()
    assert client.get("/v1/generation/query-job", params={"job_id": task["task_id"]}).json()["job_stage"] == "ERROR"


def test_deleting_a_task_through_one_removes_it_from_the_other(client):
    task = made(client)
    assert client.get("/v1/generation/job-history", params={"job_id": task["task_id"], "delete": "true"}).json() == {
        "message": "Deleted"
    }
    assert client.get(f"/tasks/{task['task_id']}").status_code == 404
    assert client.get(task["result"][0]).status_code == 404


def test_tasks_outlive_the_server(tmp_path):
    settings = fake_settings(tmp_path)
    body = {"prompt": "slow", "overwrite_step": 30, "async_process": True}
    with open_client(settings) as client:
        done = made(client)
        failed = client.post(URL, json={"prompt": "boom"}).json()
        running, waiting = [client.post(URL, json=body).json()["task_id"] for _ in range(2)]
        record(client, running, ("running",))
    with open_client(settings) as client:
        assert client.get(f"/tasks/{done['task_id']}").json() == done
        assert client.get(f"/tasks/{failed['task_id']}").json()["task_status"] == "error"
        assert client.get(f"/tasks/{waiting}").json()["task_status"] in ("pending", "running")
        assert [record(client, id)["task_status"] for id in (running, waiting)] == ["finished", "finished"]
        assert client.get(done["result"][0]).status_code == 200


class TestWebhooks:
    def test_the_body_is_the_record_as_an_object(self, client, receiver):
        task = made(client, webhook_url=receiver.url, image_number=2)
        (told,) = receiver.wait()
        assert told == task
        assert told["webhook_url"] == receiver.url
        assert client.get(f"/tasks/{task['task_id']}").json() == told

    @pytest.mark.parametrize("change", [{"stream_output": True}, {"async_process": True}, {"headers": True}])
    def test_every_kind_of_answer_is_told_of(self, client, receiver, change):
        headers = {"accept": "image/png"} if change.pop("headers", False) else {}
        client.post(URL, json={"prompt": "a", "webhook_url": receiver.url, **change}, headers=headers)
        (told,) = receiver.wait()
        assert (told["task_status"], len(told["result"])) == ("finished", 1)

    def test_a_failed_task_is_told_as_an_error(self, client, receiver):
        client.post(URL, json={"prompt": "boom", "webhook_url": receiver.url})
        (told,) = receiver.wait()
        assert (told["task_status"], told["result"]) == ("error", [])

    def test_each_contract_is_told_in_its_own_words_at_the_servers_address(self, make_client, receiver):
        client = make_client(webhook_url=receiver.url)
        made(client, webhook_url=None)
        client.post(TEXT_TO_IMAGE, json={"prompt": "a"})
        told = receiver.wait(2)
        assert sorted(next(iter(body)) for body in told) == ["id", "job_id"]
        (task,) = [body for body in told if "task_id" in body]
        assert task["webhook_url"] == receiver.url

    def test_an_address_inside_the_network_is_refused(self, make_client):
        client = make_client(host="0.0.0.0")
        reply = client.post(URL, json={"prompt": "a", "webhook_url": "http://169.254.169.254/x"})
        assert reply.json()["detail"][0]["loc"] == ["body", "webhook_url"]
