"""The event stream of FooocusAPI, byte for byte, over a real port."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
import requests

from api.contracts.fooocusapi import stream
from tests.api.conftest import fake_app, fake_settings
from tests.api.live import listening
from tests.api.test_image_routes import as_text
from tests.api.test_input_images import picture

EVENT = re.compile(
    rb'data: \{"progress": \d+, "preview": (null|"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+"), '
    rb'"message": "[^"]*", "images": \[("[^"]+"(, "[^"]+")*)?\]\}\r\ndata: \r\n\r\n'
)
SLOW = {"prompt": "slow", "overwrite_step": 20, "stream_output": True}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with fake nodes."""
    port = socket.create_server(("127.0.0.1", 0))
    settings = fake_settings(tmp_path_factory.mktemp("live"), port=port.getsockname()[1])
    with listening(fake_app(settings), port) as address:
        yield address


def started(live: str, body: dict) -> requests.Response:
    return requests.post(f"{live}/v1/engine/generate/", json=body, stream=True, timeout=60)


def chunks(reply: requests.Response) -> list[bytes]:
    """What was written, piece by piece."""
    return list(reply.raw.stream(1 << 20, decode_content=False))


def told(data: bytes) -> list[dict]:
    """The events as an EventSource reads them: the data lines of each joined, comments left out."""
    events = []
    for block in data.decode().split("\r\n\r\n"):
        lines = [line.removeprefix("data: ") for line in block.split("\r\n") if line.startswith("data:")]
        if lines:
            events.append(json.loads("\n".join(lines)))
    return events


def test_each_event_is_one_write_of_the_documented_bytes(live):
    reply = started(live, SLOW)
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["connection"] == "keep-alive"
    assert "content-encoding" not in reply.headers
    pieces = chunks(reply)
    assert all(EVENT.fullmatch(piece) for piece in pieces), pieces
    events = [event for piece in pieces for event in told(piece)]
    assert [event["progress"] for event in events] == sorted(event["progress"] for event in events)
    assert any(event["preview"] for event in events)
    assert any(event["message"].startswith("Sampling step") for event in events)
    assert all(event["images"] == [] for event in events[:-1])
    (url,) = events[-1].pop("images")
    assert events[-1] == {"progress": 100, "preview": None, "message": "Finished"}
    assert all(event["progress"] < 100 for event in events[:-1])
    assert requests.get(url, timeout=30).status_code == 200


def test_three_streams_at_once_all_end_with_finished(live):
    replies = [started(live, SLOW) for _ in range(3)]
    ends: list[dict] = []
    readers = [threading.Thread(target=lambda r=reply: ends.append(told(b"".join(chunks(r)))[-1])) for reply in replies]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert [end["message"] for end in ends] == ["Finished"] * 3
    assert len({end["images"][0] for end in ends}) == 3


def test_comments_keep_the_stream_alive(live, monkeypatch):
    monkeypatch.setattr(stream, "PING_S", 0.3)
    text = b"".join(chunks(started(live, SLOW))).decode()
    pings = re.findall(r"(?:^|\r\n): ping - (.+?)\r\n\r\n", text)
    assert pings
    assert datetime.fromisoformat(pings[0]).utcoffset().total_seconds() == 0


def test_clients_that_slice_lines_read_it(live):
    """As FooocusAPI's documents and a RunPod handler do it."""
    with started(live, SLOW) as reply:
        messages = []
        for line in reply.iter_lines(decode_unicode=True):
            text = line.strip()
            if not text or text.startswith(":"):
                continue
            if text.startswith("data: "):
                text = text[6:]
            if text.endswith("data:"):
                text = text[:-5]
            if text:
                messages.append(json.loads(text)["message"])
            if messages and messages[-1] == "Finished":
                break
    assert messages[-1] == "Finished"


def test_a_failure_and_a_stop_are_told_and_end_the_stream(live):
    (*_, last) = told(b"".join(chunks(started(live, {"prompt": "boom", "stream_output": True}))))
    assert last == {"progress": 100, "preview": None, "message": "Error: the sampler exploded", "images": []}
    reply = started(live, {**SLOW, "overwrite_step": 300})
    pieces = reply.raw.stream(1 << 20, decode_content=False)
    first = next(pieces)
    assert requests.post(f"{live}/v1/engine/control/?action=stop", timeout=30).json() == {"message": "task stopped"}
    (*_, last) = told(first + b"".join(pieces))
    assert last == {"progress": 100, "preview": None, "message": "Stopped", "images": []}


def test_a_bad_picture_is_422_before_the_stream(live):
    reply = started(live, {**SLOW, "uov_input_image": "!", "controlnet_image": [{"cn_img": as_text(picture())}]})
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["loc"] == ["body", "uov_input_image"]


def test_a_client_that_leaves_does_not_end_the_task(live):
    reply = started(live, SLOW)
    next(reply.raw.stream(1 << 20, decode_content=False))
    reply.close()
    deadline = time.monotonic() + 60
    while requests.get(f"{live}/tasks?query=current", timeout=30).json()["current"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    newest = requests.get(f"{live}/tasks", timeout=30).json()["history"][0]
    assert (newest["task_status"], len(newest["result"])) == ("finished", 1)
