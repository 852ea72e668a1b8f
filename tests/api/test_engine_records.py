"""What a task's record says: what the preset filled, as it was used, and how far the task came."""

import json

import pytest

from tests.api.test_engine_generate import URL, graph_of, record
from tests.api.test_image_routes import as_text
from tests.api.test_input_images import picture

PICTURE = as_text(picture(64, 32))
MINE = {"default_overwrite_step": 7, "default_overwrite_switch": 3, "default_inpaint_engine_version": "None"}
OPEN = {"overwrite_step": -1, "overwrite_switch": -1, "inpaint_engine": "v2.6"}  # as clients send them along


@pytest.fixture
def client(make_client, tmp_path):
    """A server with a preset of the user's own."""
    path = tmp_path / "presets" / "mine.json"
    path.parent.mkdir()
    path.write_text(json.dumps(MINE | {"default_model": "focal-tiny-sdxl.safetensors"}))
    return make_client()


@pytest.mark.parametrize("sent", [{}, OPEN])
def test_numbers_that_the_preset_filled_are_told_and_make_the_same_picture_again(client, sent):
    body = {"prompt": "a", "preset": "mine", "inpaint_input_image": PICTURE, "outpaint_selections": ["Left"], **sent}
    params = client.post(URL, json=body).json()["req_params"]
    assert {name: params[name] for name in OPEN} == {
        "overwrite_step": 7,
        "overwrite_switch": 3,
        "inpaint_engine": "None",
    }
    first, again = graph_of(client, **body), graph_of(client, **params | {"image_seed": 1})
    assert first["SampleLatent"] == again["SampleLatent"]
    assert first["SampleLatent"]["steps"] == 7


def test_a_number_that_was_given_is_told_as_it_was(client):
    given = {"overwrite_step": 4, "overwrite_switch": 2.0, "inpaint_engine": "v1"}
    params = client.post(URL, json={"prompt": "a", "preset": "mine", **given}).json()["req_params"]
    assert {name: params[name] for name in given} == given


def test_without_a_preset_of_its_own_they_say_what_their_absence_means(client):
    params = client.post(URL, json={"prompt": "a"}).json()["req_params"]
    assert {name: params[name] for name in OPEN} == OPEN


@pytest.mark.parametrize(("prompt", "status"), [("a", "finished"), ("boom", "error")])
def test_a_task_that_has_ended_came_all_the_way(client, prompt, status):
    task = client.post(URL, json={"prompt": prompt}).json()
    assert (task["task_status"], task["progress"]) == (status, 100)
    assert client.get(f"/tasks/{task['task_id']}").json()["progress"] == 100


def test_a_task_that_is_taken_out_of_the_queue_has_ended_too(client):
    slow = {"prompt": "slow", "overwrite_step": 200, "async_process": True}
    running, waiting = [client.post(URL, json=slow).json()["task_id"] for _ in range(2)]
    record(client, running, ("running",))
    client.post("/queue", json={"delete": [waiting]})
    assert record(client, waiting)["progress"] == 100
    client.post("/v1/engine/control/?action=stop")
    assert record(client, running)["progress"] == 100
