"""Tools beside the queue: they are answered while a job runs, outlive a worker's death, and leave nothing behind."""

import threading
import time
from typing import Any

import pytest

from tests.api.test_image_routes import as_text
from tests.api.test_input_images import picture
from tests.api.test_text_to_image import URL, poll

DESCRIBE = "/v1/tools/describe-image"


def described(client: Any, colour: tuple[int, int, int]) -> Any:
    return client.post(DESCRIBE, json={"image": as_text(picture(colour=colour))})


def test_a_tool_is_answered_while_a_job_runs_and_others_wait(client):
    body = {"prompt": "slow", "async_process": True, "advanced_params": {"overwrite_step": 60}}
    first, second = [client.post(URL, json=body | {"image_seed": n}).json()["job_id"] for n in (1, 2)]
    while "Step" not in (poll(client, first, ("WAITING", "RUNNING"))["job_status"] or ""):
        time.sleep(0.01)
    assert described(client, (1, 2, 3)).json() == {"describe": "a picture of (1, 2, 3)"}
    stages = [
        client.get("/v1/generation/query-job", params={"job_id": id}).json()["job_stage"] for id in (first, second)
    ]
    assert stages == ["RUNNING", "WAITING"]
    client.get("/v1/generation/job-history", params={"job_id": second, "delete": True})
    assert poll(client, first, ("SUCCESS",))["job_result"]


def test_a_tool_that_kills_every_worker_is_not_held_against_the_job_around_it(client):
    body = {"prompt": "slow", "async_process": True, "advanced_params": {"overwrite_step": 30}}
    job = client.post(URL, json=body).json()["job_id"]
    poll(client, job, ("RUNNING",))
    assert described(client, (9, 9, 9)).status_code == 503
    assert poll(client, job, ("SUCCESS",))["job_result"]


def test_a_worker_that_dies_under_a_tool_is_replaced_and_asked_once_more(client):
    assert described(client, (8, 8, 8)).json() == {"describe": "a picture of (8, 8, 8)"}


def test_a_tool_that_kills_every_worker_is_503_and_the_queue_goes_on(client):
    reply = described(client, (9, 9, 9))
    assert reply.status_code == 503
    assert "detail" in reply.json()
    (image,) = client.post(URL, json={"prompt": "a"}).json()
    assert image["finish_reason"] == "SUCCESS"


def test_a_tool_whose_node_fails_says_why(client):
    reply = described(client, (7, 7, 7))
    assert reply.status_code == 500
    assert "nothing to be seen" in reply.json()["detail"]
    assert described(client, (1, 1, 1)).status_code == 200


def test_a_tool_waits_no_longer_than_it_may(client, monkeypatch):
    monkeypatch.setattr("api.tools.WAIT_S", 0.2)
    body = {"prompt": "deaf", "async_process": True, "advanced_params": {"overwrite_step": 40}}
    job = client.post(URL, json=body).json()["job_id"]
    poll(client, job, ("RUNNING",))
    started = time.monotonic()
    assert described(client, (3, 2, 1)).status_code == 503
    assert time.monotonic() - started < 3
    client.post("/v1/generation/stop")
    poll(client, job)
    monkeypatch.undo()
    assert described(client, (3, 2, 1)).status_code == 200


def test_several_tools_at_once_are_all_answered(client):
    answers: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda n=n: answers.update({n: described(client, (n, 0, 0)).json()})) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: {"describe": f"a picture of ({n}, 0, 0)"} for n in range(6)}


@pytest.mark.parametrize("typo", ["aspect_ratio", "aspect_ratios_selections"])
def test_a_mistyped_size_is_read_and_said(client, typo):
    reply = client.post(URL, json={typo: "256*192"})
    assert "aspect_ratios_selection" in reply.headers["x-warning"]
