"""Contract C: graphs posted to /prompt, their queue and history, the catalogue of nodes and models."""

import time

import pytest

from tests.api.test_text_to_image import URL, wait_for_history

SAMPLER = {
    "seed": 1,
    "steps": 3,
    "cfg": 4.0,
    "sampler_name": "euler",
    "scheduler": "normal",
    "denoise": 1.0,
    "model": ["1", 0],
    "positive": ["2", 0],
    "negative": ["2", 0],
    "latent_image": ["3", 0],
}


def graph(text: str = "a", steps: int = 3) -> dict:
    """A small graph of the fake nodes with one output, node 6."""
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x"}, "_meta": {"title": "Load"}},
        "2": {"class_type": "EncodePrompts", "inputs": {"clip": ["1", 1], "texts": {"__value__": [text]}}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {"class_type": "SampleLatent", "inputs": {**SAMPLER, "steps": steps}},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveGeneration", "inputs": {"images": ["5", 0]}},
    }


def post(client, body: dict) -> dict:
    reply = client.post("/prompt", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def wait_until_running(client, prompt_id: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if [item[1] for item in client.get("/queue").json()["queue_running"]] == [prompt_id]:
            return
        time.sleep(0.01)
    raise AssertionError(f"{prompt_id} never ran")


class TestPrompt:
    def test_a_graph_is_queued_run_and_found_in_the_history(self, client):
        answer = post(client, {"prompt": graph()})
        assert set(answer) == {"prompt_id", "number", "node_errors"}
        assert answer["node_errors"] == {}
        entry = wait_for_history(client, answer["prompt_id"])
        number, id, kept, extra, outputs = entry["prompt"]
        assert (number, id, extra, outputs) == (answer["number"], answer["prompt_id"], {}, ["6"])
        assert isinstance(number, int)
        assert kept["1"]["_meta"] == {"title": "Load"}
        (image,) = entry["outputs"]["6"]["images"]
        assert set(image) >= {"filename", "subfolder", "type"}
        assert entry["status"]["status_str"] == "success"
        assert entry["status"]["completed"] is True
        kinds = [message[0] for message in entry["status"]["messages"]]
        assert kinds == ["execution_start", "execution_cached", "execution_success"]
        assert entry["meta"]["6"]["real_node_id"] == "6"
        assert client.get("/view", params=image).headers["content-type"] == "image/png"

    @pytest.mark.parametrize(
        ("body", "type"),
        [
            ({}, "no_prompt"),
            ([], "no_prompt"),
            ({"prompt": {}}, "prompt_no_outputs"),
            ({"prompt": {"1": {"class_type": "Nothing", "inputs": {}}}}, "invalid_prompt"),
            ({"prompt": {"1": {"inputs": {}}}}, "invalid_prompt"),
            ({"prompt": {"1": "x"}}, "invalid_prompt"),
            ({"prompt": 5}, "invalid_prompt"),
            ({"prompt": graph() | {"6": {"class_type": "SaveGeneration", "inputs": {}}}},) * 1
            + ("prompt_outputs_failed_validation",),
            ({"prompt": graph(steps=0)}, "prompt_outputs_failed_validation"),
            ({"prompt": graph(), "partial_execution_targets": []}, "prompt_no_outputs"),
        ],
    )
    def test_a_refused_graph_is_400_in_comfyui_s_shape(self, client, body, type):
        reply = client.post("/prompt", json=body)
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["type"] == type
        assert set(reply.json()["error"]) == {"type", "message", "details", "extra_info"}
        assert isinstance(reply.json()["node_errors"], dict)

    def test_all_faults_are_named_with_their_nodes(self, client):
        broken = graph(steps=0)
        broken["3"]["inputs"]["width"] = 1
        errors = client.post("/prompt", json={"prompt": broken}).json()["node_errors"]
        assert errors["4"]["errors"][0]["type"] == "value_smaller_than_min"
        assert errors["3"]["class_type"] == "EmptyLatentImage"
        assert errors["3"]["dependent_outputs"] == ["6"]

    def test_malformed_json_is_no_server_error(self, client):
        reply = client.post("/prompt", content=b"{")
        assert reply.status_code == 422
        assert "error" in reply.json()

    def test_a_given_id_client_and_extra_data_are_kept_but_credentials_are_not_shown(self, client):
        extra = {"extra_pnginfo": {"workflow": {"a": 1}}, "api_key_comfy_org": "secret"}
        body = {"prompt": graph(), "prompt_id": "mine-1", "client_id": "c", "extra_data": extra}
        assert post(client, body)["prompt_id"] == "mine-1"
        entry = wait_for_history(client, "mine-1")
        assert entry["prompt"][3] == {"extra_pnginfo": {"workflow": {"a": 1}}, "client_id": "c"}
        assert client.post("/prompt", json=body).status_code == 409

    def test_a_failing_node_stands_in_the_history_with_its_id(self, client):
        entry = wait_for_history(client, post(client, {"prompt": graph("boom")})["prompt_id"])
        assert entry["status"]["status_str"] == "error"
        kind, data = entry["status"]["messages"][-1]
        assert kind == "execution_error"
        assert (data["node_id"], data["node_type"], data["exception_type"]) == ("4", "SampleLatent", "RuntimeError")
        assert data["exception_message"] == "the sampler exploded\n"
        assert any("fake_nodes" in line for line in data["traceback"])

    def test_the_api_prefix_is_the_same(self, client):
        reply = client.post("/api/prompt", json={"prompt": graph()})
        id = reply.json()["prompt_id"]
        wait_for_history(client, id)
        assert client.get(f"/api/history/{id}").json() == client.get(f"/history/{id}").json()


class TestQueue:
    def test_the_queue_shows_what_runs_and_waits_and_can_be_cleared(self, client):
        ids = [post(client, {"prompt": graph(f"slow {i}", 200)})["prompt_id"] for i in range(3)]
        wait_until_running(client, ids[0])
        queue = client.get("/queue").json()
        assert [item[1] for item in queue["queue_pending"]] == ids[1:]
        assert client.get("/prompt").json() == {"exec_info": {"queue_remaining": 3}}
        assert client.post("/queue", json={"delete": [ids[2], "unknown"]}).status_code == 200
        assert [item[1] for item in client.get("/queue").json()["queue_pending"]] == ids[1:2]
        client.post("/queue", json={"clear": True})
        assert client.get("/queue").json()["queue_pending"] == []
        assert [item[1] for item in client.get("/queue").json()["queue_running"]] == ids[:1]
        client.post("/interrupt", json={"prompt_id": "another"})
        assert client.get("/history/" + ids[0]).json() == {}
        assert client.post("/interrupt").content == b""
        entry = wait_for_history(client, ids[0])
        assert entry["status"]["messages"][-1][0] == "execution_interrupted"
        assert entry["status"]["completed"] is False

    def test_front_and_number_decide_the_order(self, client):
        first = post(client, {"prompt": graph("slow order", 100)})["prompt_id"]
        wait_until_running(client, first)
        late = post(client, {"prompt": graph("b"), "number": 1e9})["prompt_id"]
        plain = post(client, {"prompt": graph("c")})["prompt_id"]
        front = post(client, {"prompt": graph("d"), "front": True})["prompt_id"]
        assert [item[1] for item in client.get("/queue").json()["queue_pending"]] == [front, plain, late]
        client.post("/interrupt")
        for id in (late, plain, front):
            wait_for_history(client, id)


class TestHistory:
    def test_windows_deletion_and_clearing(self, make_client):
        client = make_client()
        ids = [post(client, {"prompt": graph(str(i))})["prompt_id"] for i in range(4)]
        for id in ids:
            wait_for_history(client, id)

        def window(**query: int) -> list[str]:
            return list(client.get("/history", params=query).json())

        assert window() == ids
        assert window(max_items=2) == ids[2:]
        assert window(offset=1) == ids[1:]
        assert window(offset=1, max_items=2) == ids[1:3]
        assert window(offset=9) == []
        assert window(max_items=0) == []
        client.post("/history", json={"delete": [ids[0], "unknown"]})
        assert window() == ids[1:]
        client.post("/history", json={"clear": True})
        assert window() == []
        assert client.get("/history/unknown").json() == {}

    def test_rest_jobs_stand_in_it_too(self, client):
        url = client.post(URL, json={"prompt": "a"}).json()[0]["url"]
        newest = client.get("/history", params={"max_items": 1}).json()
        (entry,) = newest.values()
        assert url.endswith(next(iter(entry["outputs"].values()))["images"][0]["filename"])


class TestCatalogue:
    def test_object_info_describes_all_nodes_or_one(self, client):
        everything = client.get("/object_info").json()
        assert {"CheckpointLoaderSimple", "SampleLatent", "SaveGeneration"} <= set(everything)
        one = client.get("/object_info/EmptyLatentImage").json()
        assert list(one) == ["EmptyLatentImage"]
        assert one["EmptyLatentImage"]["input"]["required"]["width"] == ["INT", {"min": 16, "max": 16384}]
        assert client.get("/object_info/Nothing").json() == {}

    def test_models_embeddings_features_and_stats(self, client):
        assert "checkpoints" in client.get("/models").json()
        assert "sub/a.safetensors" in client.get("/models/loras").json()
        assert client.get("/models/..%2f..").status_code == 404
        assert client.get("/models/nothing").status_code == 404
        assert client.get("/embeddings").json() == []
        assert client.get("/features").json()["max_upload_size"] == 100 * 2**20
        stats = client.get("/system_stats").json()
        assert stats["system"]["ram_total"] > 0
        assert stats["devices"][0]["type"] == "cpu"

    def test_free_is_accepted(self, client):
        assert client.post("/free", json={"unload_models": True, "free_memory": True}).content == b""
