"""What the operator turns off: parameters in pictures, step previews, keeping the results. What a fresh one offers."""

import time

import pytest

from api.library import Library
from api.settings import Settings
from engine.jobs.errors import StoreInUse
from tests.api.test_input_images import opened
from tests.api.test_text_to_image import URL, poll

GENERATE = "/v1/engine/generate/"


def test_no_picture_carries_parameters(make_client):
    client = make_client(disable_metadata=True)
    reply = client.post(URL, json={"prompt": "a", "save_meta": True})
    assert "--disable-metadata" in reply.headers["x-warning"]
    assert opened(client, reply.json()[0]["url"]).info == {}
    task = client.post(GENERATE, json={"prompt": "a"})
    assert "x-warning" not in task.headers
    assert opened(client, task.json()["result"][0]).info == {}


def test_no_step_previews_are_made(make_client):
    client = make_client(preview_option="none")
    job = client.post(URL, json={"prompt": "slow", "async_process": True, "advanced_params": {"overwrite_step": 4}})
    poll(client, job.json()["job_id"])
    ended = client.get(f"/v1/generation/query-job?job_id={job.json()['job_id']}&require_step_preview=true").json()
    assert (ended["job_stage"], ended["job_step_preview"]) == ("SUCCESS", None)


def test_results_stay_only_until_the_next_start(make_client, tmp_path):
    client = make_client(disable_image_log=True)
    (made,) = client.post(URL, json={"prompt": "a"}).json()
    assert client.get(made["url"]).status_code == 200
    assert not list((tmp_path / "outputs").glob("*"))
    assert len(list((tmp_path / "temp" / "focal-results").rglob("*.png"))) == 1
    client.__exit__(None, None, None)
    again = make_client(disable_image_log=True)
    assert again.get(made["url"]).status_code == 404
    assert not list((tmp_path / "temp" / "focal-results").rglob("*.png"))


def test_a_second_start_leaves_the_results_of_the_server_that_runs(make_client, tmp_path):
    client = make_client(disable_image_log=True)
    (made,) = client.post(URL, json={"prompt": "a"}).json()
    with pytest.raises(StoreInUse):
        make_client(disable_image_log=True)
    assert client.get(made["url"]).status_code == 200


def test_a_picture_that_cannot_be_removed_keeps_no_other(make_client, tmp_path):
    client = make_client(queue_history=1)
    stuck = tmp_path / "outputs" / url_of_one(client).rpartition("/files/")[2]
    stuck.unlink()
    (stuck / "a folder").mkdir(parents=True)
    urls = [url_of_one(client), url_of_one(client)]
    deadline = time.monotonic() + 5
    while client.get(urls[0]).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [client.get(url).status_code for url in urls] == [404, 200]
    assert stuck.is_dir()


def url_of_one(client) -> str:
    return client.post(URL, json={"prompt": "a"}).json()[0]["url"]


def test_a_fresh_server_offers_the_one_embedded_model_that_pictures_can_begin_with(tmp_path):
    catalog = Library(Settings(data=tmp_path)).catalog
    assert len(catalog.checkpoints) > 1
    assert catalog.offered_checkpoints == ["focal-tiny-sdxl.safetensors"]
