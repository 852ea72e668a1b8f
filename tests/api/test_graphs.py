"""Contract C: graphs posted to /prompt, their queue and history, pictures, uploads, the socket."""

import json
import time
from io import BytesIO

import msgspec
import pytest
from PIL import Image

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


def png(colour: str = "red", size: tuple[int, int] = (8, 4), mode: str = "RGB", format: str = "PNG") -> bytes:
    out = BytesIO()
    Image.new(mode, size, colour).save(out, format)
    return out.getvalue()


class TestPictures:
    def upload(self, client, data: bytes, name: str = "a.png", **form: str):
        return client.post("/upload/image", files={"image": (name, data)}, data=form)

    def test_an_upload_can_be_viewed_and_the_same_one_is_kept_once(self, client):
        first = self.upload(client, png(), "cat.png").json()
        assert first == {"name": "cat.png", "subfolder": "", "type": "input"}
        assert self.upload(client, png(), "cat.png").json()["name"] == "cat.png"
        assert self.upload(client, png("blue"), "cat.png").json()["name"] == "cat (1).png"
        assert self.upload(client, png("green"), "cat.png", overwrite="true").json()["name"] == "cat.png"
        reply = client.get("/view", params={"filename": "cat.png", "type": "input"})
        assert Image.open(BytesIO(reply.content)).getpixel((0, 0)) == (0, 128, 0)
        assert client.get("/view", params={"filename": "cat.png [input]"}).content == reply.content

    def test_the_stored_ending_is_that_of_the_real_format(self, client):
        for format, extension in (("JPEG", "jpg"), ("WEBP", "webp"), ("PNG", "png")):
            stored = self.upload(client, png(format=format), f"x{format}.html", subfolder="a/b").json()
            assert stored == {"name": f"x{format}.{extension}", "subfolder": "a/b", "type": "input"}
            query = {"filename": stored["name"], "type": "input", "subfolder": "a/b"}
            assert client.get("/view", params=query).headers["content-type"].startswith("image/")

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"<html><script>alert(1)</script></html>",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            png()[:40],
            b"GIF89a" + bytes(20),
            b"%PDF-1.4",
        ],
    )
    def test_what_is_no_picture_is_refused(self, client, data):
        assert self.upload(client, data, "a.png").status_code == 400

    def test_a_page_hidden_behind_a_picture_is_not_kept(self, client):
        stored = self.upload(client, png() + b"<script>alert(1)</script>", "poly.png").json()
        reply = client.get("/view", params={"filename": stored["name"], "type": "input"})
        assert b"script" not in reply.content
        assert reply.headers["x-content-type-options"] == "nosniff"

    def test_a_form_without_a_file_is_refused(self, client):
        assert client.post("/upload/image", data={"type": "input"}).status_code == 400
        assert client.post("/upload/image", json={}).status_code == 400

    @pytest.mark.parametrize("subfolder", ["../x", "/etc", "a/../../x", "..\\x", "C:\\x", "a\0b"])
    def test_an_upload_cannot_leave_its_folder(self, client, subfolder):
        assert self.upload(client, png(), "a.png", subfolder=subfolder).status_code == 400

    @pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "..\\evil.png", "a\0b.png", ".hidden.png"])
    def test_a_file_name_is_only_a_name(self, client, name):
        reply = self.upload(client, png("purple"), name)
        assert reply.status_code in (200, 400)
        if reply.status_code == 200:
            stored = reply.json()["name"]
            assert not set(stored) & {"/", "\\"}
            assert not stored.startswith(".")

    def test_an_unknown_folder_is_refused(self, client):
        assert self.upload(client, png(), type="models").status_code == 400
        assert client.get("/view", params={"filename": "a.png", "type": "models"}).status_code == 400

    @pytest.mark.parametrize(
        "query",
        [
            {"filename": "../jobs.sqlite3"},
            {"filename": "../canary.png"},
            {"filename": "/etc/passwd"},
            {"filename": "canary.png", "subfolder": ".."},
            {"filename": "canary.png", "subfolder": "../.."},
            {"filename": "a.png", "subfolder": "/etc"},
            {"filename": ""},
            {"filename": "missing.png"},
            {"filename": "jobs.sqlite3"},
        ],
    )
    def test_nothing_else_can_be_viewed(self, client, query):
        (client.app.state.services.settings.data / "canary.png").write_bytes(b"canary")
        reply = client.get("/view", params=query)
        assert reply.status_code in (400, 404)
        assert b"canary" not in reply.content

    def test_channels_and_previews(self, client):
        stored = self.upload(client, png("#11223344", mode="RGBA"), "alpha.png").json()
        query = {"filename": stored["name"], "type": "input"}
        rgb = Image.open(BytesIO(client.get("/view", params=query | {"channel": "rgb"}).content))
        assert (rgb.mode, rgb.getpixel((0, 0))) == ("RGB", (0x11, 0x22, 0x33))
        alpha = Image.open(BytesIO(client.get("/view", params=query | {"channel": "a"}).content))
        assert alpha.getpixel((0, 0)) == (0, 0, 0, 0x44)
        wishes = (
            ("webp;50", "rgb", "webp"),
            ("jpeg", "rgb", "jpeg"),
            ("jpeg;80", "rgba", "webp"),
            ("tiff;9", "rgb", "webp"),
            ("webp;99999", "rgb", "webp"),
            ("webp;²", "rgb", "webp"),
        )
        for wish, channel, kind in wishes:
            reply = client.get("/view", params=query | {"preview": wish, "channel": channel})
            assert reply.headers["content-type"] == f"image/{kind}"


class TestSocket:
    def receive(self, socket, until: str) -> list:
        """Messages up to the first of a type (`executing` means the closing one)."""
        told = []
        while True:
            message = socket.receive()
            told.append(json.loads(message["text"]) if message.get("text") else message["bytes"])
            last = told[-1]
            if (
                isinstance(last, dict)
                and last["type"] == until
                and (until != "executing" or last["data"]["node"] is None)
            ):
                return told

    def test_the_owner_hears_a_run_in_order(self, client):
        with client.websocket_connect("/ws?clientId=me") as socket:
            hello = socket.receive_json()
            assert (hello["type"], hello["data"]["sid"]) == ("status", "me")
            assert hello["data"]["status"]["exec_info"]["queue_remaining"] == 0
            id = post(client, {"prompt": graph("socket"), "client_id": "me"})["prompt_id"]
            told = self.receive(socket, "executing")
        kinds = [message["type"] for message in told if isinstance(message, dict)]
        own = [kind for kind in kinds if kind not in ("status", "progress_state")]
        assert own[:2] == ["execution_start", "execution_cached"]
        assert own[-3:] == ["executed", "execution_success", "executing"]
        assert own.count("progress") == 3
        assert all(m["data"]["prompt_id"] == id for m in told if isinstance(m, dict) and m["type"] != "status")
        assert not any(isinstance(message, bytes) for message in told)  # it has not told that it knows previews
        states = [m["data"]["nodes"] for m in told if isinstance(m, dict) and m["type"] == "progress_state"]
        assert all(node["state"] == "finished" for node in states[-1].values())

    def test_a_client_that_tells_its_features_gets_previews(self, client):
        with client.websocket_connect("/ws?clientId=plain") as socket:
            socket.receive_json()
            socket.send_json({"type": "feature_flags", "data": {}})
            self.receive(socket, "feature_flags")
            post(client, {"prompt": graph("socket plain"), "client_id": "plain"})
            told = self.receive(socket, "executing")
        preview = next(message for message in told if isinstance(message, bytes))
        assert preview[:8] == bytes([0, 0, 0, 1, 0, 0, 0, 2])
        assert preview[8:].startswith(b"\x89PNG")

    def test_a_client_that_asks_for_it_gets_previews_with_metadata(self, client):
        with client.websocket_connect("/api/ws?clientId=meta") as socket:
            socket.receive_json()
            socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
            assert self.receive(socket, "feature_flags")[-1]["data"]["supports_preview_metadata"] is True
            id = post(client, {"prompt": graph("socket meta"), "client_id": "meta"})["prompt_id"]
            told = self.receive(socket, "executing")
        preview = next(message for message in told if isinstance(message, bytes))
        length = int.from_bytes(preview[4:8], "big")
        about = msgspec.json.decode(preview[8 : 8 + length])
        assert preview[:4] == bytes([0, 0, 0, 4])
        assert (about["prompt_id"], about["node_id"], about["image_type"]) == (id, "4", "image/png")
        assert preview[8 + length :].startswith(b"\x89PNG")

    def test_another_client_hears_only_the_length_of_the_queue(self, client):
        with client.websocket_connect("/ws?clientId=other") as socket:
            socket.receive_json()
            wait_for_history(client, post(client, {"prompt": graph("mine"), "client_id": "me"})["prompt_id"])
            id = post(client, {"prompt": graph("other"), "client_id": "other"})["prompt_id"]
            told = self.receive(socket, "executing")
        foreign = [m for m in told if isinstance(m, dict) and m["data"].get("prompt_id", id) != id]
        assert foreign == []

    def test_errors_and_interrupts_are_told(self, client):
        with client.websocket_connect("/ws?clientId=err") as socket:
            post(client, {"prompt": graph("boom"), "client_id": "err"})
            error = next(m for m in self.receive(socket, "executing") if m["type"] == "execution_error")
            assert error["data"]["node_id"] == "4"
            assert error["data"]["exception_message"] == "the sampler exploded\n"
            post(client, {"prompt": graph("slow int", 200), "client_id": "err"})
            self.receive(socket, "progress")
            client.post("/interrupt")
            told = self.receive(socket, "executing")
            assert [m["type"] for m in told if isinstance(m, dict) and m["type"].startswith("execution_")] == [
                "execution_interrupted"
            ]

    def test_a_newer_socket_of_the_same_id_stays_when_the_older_one_closes(self, client):
        with client.websocket_connect("/ws?clientId=same") as newer_context:
            newer_context.receive_json()
            with client.websocket_connect("/ws?clientId=same") as newest:
                newest.receive_json()
        with client.websocket_connect("/ws?clientId=same") as older:
            older.receive_json()
            with client.websocket_connect("/ws?clientId=same") as newer:
                newer.receive_json()
                older.close()
                time.sleep(0.05)
                post(client, {"prompt": graph("same"), "client_id": "same"})
                assert self.receive(newer, "executing")

    def test_a_page_of_another_origin_cannot_listen(self, client):
        from starlette.websockets import WebSocketDisconnect

        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("/ws", headers={"origin": "http://evil.example", "host": "127.0.0.1:8888"}),
        ):
            pass
