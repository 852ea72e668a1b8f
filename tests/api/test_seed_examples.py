"""Every Python example of the Fooocus-API documents works, over real HTTP with the requests library."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image

from tests.api.conftest import fake_app, fake_settings
from tests.api.live import listening
from tests.api.seed_examples import DOCUMENTS, examples, run_example

CASES = [(document, number) for document in DOCUMENTS for number in range(len(examples(document)))]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with fake nodes."""
    port = socket.create_server(("127.0.0.1", 0))
    settings = fake_settings(tmp_path_factory.mktemp("live"), port=port.getsockname()[1])
    with listening(fake_app(settings), port) as address:
        yield address


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bear.jpg, s.jpg and its mask m.png."""
    folder = tmp_path_factory.mktemp("imgs")
    Image.new("RGB", (64, 48), "brown").save(folder / "bear.jpg")
    Image.new("RGB", (64, 48), "green").save(folder / "s.jpg")
    mask = Image.new("L", (64, 48), 0)
    mask.paste(255, (16, 12, 48, 36))
    mask.save(folder / "m.png")
    return folder


def ended(live: str, job_id: str) -> dict:
    for _ in range(1500):
        job = requests.get(f"{live}/v1/generation/query-job", params={"job_id": job_id}, timeout=30).json()
        if job["job_stage"] in ("SUCCESS", "ERROR"):
            return job
        time.sleep(0.02)
    raise AssertionError(f"job {job_id} does not end")


def check(live: str, status: int, answer: object) -> None:
    """What the documents promise of an answer: pictures, or a job that brings them; anything else is 200."""
    assert status == 200, answer
    if isinstance(answer, dict) and "job_id" in answer:
        answer = ended(live, answer["job_id"])["job_result"]
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):
        assert {image["finish_reason"] for image in answer} == {"SUCCESS"}
        for image in answer:
            assert requests.get(image["url"], timeout=30).headers["content-type"] == "image/png"


def test_the_documents_have_the_examples_that_they_had():
    assert [len(examples(document)) for document in DOCUMENTS] == [16, 16, 16]


@pytest.mark.parametrize(("document", "number"), CASES)
def test_an_example_works_as_it_stands(live, pictures, document, number):
    body = {"prompt": "x", "async_process": True}
    job_id = requests.post(f"{live}/v1/generation/text-to-image", json=body, timeout=30).json()["job_id"]
    answers = run_example(examples(document)[number], live, pictures, job_id)
    assert answers
    for status, answer in answers:
        check(live, status, answer)
