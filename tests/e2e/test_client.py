"""The Python client against a real server with the tiny models."""

import asyncio
from pathlib import Path

import pytest
from PIL import Image

from api.client import AsyncClient, Client, GenerationFailed, Progress, Rejected, Unreachable
from api.demo import free_port
from models.tiny.measure import measure

RED_ON_BLUE = "a red circle on a blue background"


@pytest.fixture(scope="module")
def client(server):
    with Client(f"http://127.0.0.1:{server.port}") as opened:
        yield opened


def test_a_prompt_becomes_a_file_and_progress_is_told_on_the_way(client, tmp_path):
    told: list[Progress] = []
    made = client.text_to_image(RED_ON_BLUE, image_seed=3, on_progress=told.append)
    (path,) = made.save(tmp_path / "a.png")
    with Image.open(path) as picture:
        reading = measure(picture)
    assert (reading.background, reading.found[0].colour, reading.found[0].shape) == ("blue", "red", "circle")
    assert made[0].seed == 3
    percents = [progress.percent for progress in told]
    assert percents == sorted(percents)
    assert percents[-1] == 100


def test_several_pictures_are_numbered_and_a_file_can_go_in_again(client, tmp_path):
    made = client.text_to_image(RED_ON_BLUE, image_number=2, image_seed=3, performance_selection="Speed")
    first, second = made.save(tmp_path / "b.png")
    assert (first.name, second.name) == ("b-0.png", "b-1.png")
    assert [picture.seed for picture in made] == [3, 4]
    larger = client.upscale(first, "Upscale (Fast 2x)")
    with Image.open(larger.save(tmp_path / "large.png")[0]) as picture:
        assert picture.size == (256, 256)


def test_the_graph_of_a_job_runs_again_to_the_same_picture(server, client):
    made = client.text_to_image(RED_ON_BLUE, image_seed=3)
    entry = client.run_graph(client.job_graph(made.job_id))
    (image,) = [image for output in entry["outputs"].values() for image in output["images"]]
    again = server.client.get("/view", params=image).content
    assert again == made[0].data


def test_a_refused_request_names_its_fields(client):
    with pytest.raises(Rejected, match=r"body\.image_number") as refused:
        client.text_to_image(RED_ON_BLUE, image_number=99)
    assert refused.value.status == 422
    assert refused.value.faults[0]["loc"] == ["body", "image_number"]


def test_a_stopped_job_is_an_error_with_its_id(client):
    def stop_at_once(progress: Progress) -> None:
        client.stop()

    with pytest.raises(GenerationFailed, match=r"^job [0-9a-f-]{36}: "):
        client.text_to_image(RED_ON_BLUE, image_number=32, image_seed=99, on_progress=stop_at_once)


def test_no_server_is_said_to_be_unreachable():
    with pytest.raises(Unreachable, match="focal serve"):
        Client(f"http://127.0.0.1:{free_port()}").styles()


def test_the_asynchronous_client_runs_several_jobs_at_once(server, tmp_path: Path):
    async def both() -> list[bytes]:
        async with AsyncClient(f"http://127.0.0.1:{server.port}") as client:
            jobs = (client.text_to_image(RED_ON_BLUE, image_seed=seed) for seed in (3, 4))
            return [made[0].data for made in await asyncio.gather(*jobs)]

    first, second = asyncio.run(both())
    assert first != second
