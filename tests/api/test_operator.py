"""What the operator turns off: parameters in pictures, step previews, keeping the results. What a fresh one offers."""

from api.library import Library
from api.settings import Settings
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
    assert len(list((tmp_path / "temp" / "results").rglob("*.png"))) == 1
    client.__exit__(None, None, None)
    again = make_client(disable_image_log=True)
    assert again.get(made["url"]).status_code == 404
    assert not list((tmp_path / "temp" / "results").rglob("*.png"))


def test_a_fresh_server_offers_the_one_embedded_model_that_pictures_can_begin_with(tmp_path):
    catalog = Library(Settings(data=tmp_path)).catalog
    assert len(catalog.checkpoints) > 1
    assert catalog.offered_checkpoints == ["focal-tiny-sdxl.safetensors"]
