"""POST /v1/generation/text-to-image: the three kinds of answer, seeds, failures."""

import base64
import time
from io import BytesIO

from PIL import Image
from starlette.testclient import TestClient

URL = "/v1/generation/text-to-image"


def poll(client: TestClient, job_id: str, until: tuple[str, ...] = ("SUCCESS", "ERROR"), **query: object) -> dict:
    """Ask query-job until the job has one of these stages."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        job = client.get("/v1/generation/query-job", params={"job_id": job_id, **query}).json()
        if job["job_stage"] in until:
            return job
        time.sleep(0.02)
    raise AssertionError(f"job {job_id} did not reach {until}")


def test_a_bare_prompt_gives_one_picture_with_an_absolute_url(client):
    reply = client.post(URL, json={"prompt": "a red circle"})
    assert reply.status_code == 200
    (image,) = reply.json()
    assert list(image) == ["base64", "url", "seed", "finish_reason"]
    assert image["base64"] is None
    assert image["finish_reason"] == "SUCCESS"
    assert isinstance(image["seed"], str)
    assert image["url"].startswith("http://127.0.0.1:8888/files/20")
    picture = client.get(image["url"])
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(BytesIO(picture.content)).format == "PNG"
