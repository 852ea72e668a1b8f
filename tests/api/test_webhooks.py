"""Webhooks: told once per job, in Fooocus-API's words, and never in the way of the queue."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.api.test_text_to_image import URL, poll


class Receiver(HTTPServer):
    """Keeps what it is sent; waits `pause_s` before it answers."""

    def __init__(self, pause_s: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[dict] = []
        self.pause_s = pause_s
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/status"

    def wait(self, count: int = 1) -> list[dict]:
        deadline = time.monotonic() + 10
        while len(self.received) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.received


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append(json.loads(body))
        self.server.closing.wait(self.server.pause_s)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_finished_job_is_told_with_its_pictures(client, receiver):
    body = {"prompt": "a", "image_number": 2, "image_seed": 3, "webhook_url": receiver.url, "require_base64": True}
    images = client.post(URL, json=body).json()
    (told,) = receiver.wait()
    assert list(told)[:2] == ["job_id", "job_result"]
    assert [list(item)[:2] for item in told["job_result"]] == [["url", "seed"]] * 2
    assert [item["url"] for item in told["job_result"]] == [image["url"] for image in images]
    assert [item["seed"] for item in told["job_result"]] == ["3", "4"]
    assert told["job_result"][0]["base64"] == images[0]["base64"]
    assert told["job_stage"] == "SUCCESS"


def test_a_failed_job_is_told_with_an_empty_result_and_the_error(client, receiver):
    client.post(URL, json={"prompt": "boom", "webhook_url": receiver.url})
    (told,) = receiver.wait()
    assert told["job_result"] == []
    assert told["job_stage"] == "ERROR"
    assert "exploded" in told["error"]


def test_the_servers_own_address_is_used_when_a_request_names_none(make_client, receiver):
    client = make_client(webhook_url=receiver.url)
    for placeholder in ("", "string", "None", None):
        client.post(URL, json={"prompt": "a", "webhook_url": placeholder})
    assert len(receiver.wait(4)) == 4


def test_an_address_that_is_none_fails_no_job(client):
    for url in ("not a url", "ftp://a.example/x", "http://127.0.0.1:1/nobody"):
        (image,) = client.post(URL, json={"prompt": "a", "webhook_url": url}).json()
        assert image["finish_reason"] == "SUCCESS"


def test_a_slow_receiver_does_not_hold_up_the_queue(client, receiver):
    receiver.pause_s = 30.0
    started = time.monotonic()
    for _ in range(3):
        client.post(URL, json={"prompt": "a", "webhook_url": receiver.url})
    assert time.monotonic() - started < 30.0


def test_a_stopped_job_is_told_too(client, receiver):
    body = {"prompt": "slow", "async_process": True, "webhook_url": receiver.url}
    job = client.post(URL, json=body).json()
    poll(client, job["job_id"], ("RUNNING",))
    client.post("/v1/generation/stop")
    (told,) = receiver.wait()
    assert (told["job_id"], told["job_result"], told["job_stage"]) == (job["job_id"], [], "ERROR")


def test_a_stopped_job_with_pictures_has_the_stage_that_it_is_asked_for_with(client, receiver):
    body = {"prompt": "[[quick, slow]]", "image_number": 2, "async_process": True, "webhook_url": receiver.url}
    job = client.post(URL, json=body | {"advanced_params": {"overwrite_step": 200}}).json()
    query = f"/v1/generation/query-job?job_id={job['job_id']}"
    while "2-th" not in (client.get(query).json()["job_status"] or ""):
        time.sleep(0.02)
    client.post("/v1/generation/stop")
    (told,) = receiver.wait()
    assert (told["job_stage"], len(told["job_result"])) == (client.get(query).json()["job_stage"], 1) == ("SUCCESS", 1)
