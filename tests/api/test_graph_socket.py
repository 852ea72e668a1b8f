"""Contract C: what the socket tells."""

import json
import time

import msgspec
import pytest

from tests.api.test_graphs import graph, post
from tests.api.test_text_to_image import wait_for_history


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
