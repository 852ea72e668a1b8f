"""The whole way, with the real nodes and the tiny model: REST, graphs, and processes that die."""

import asyncio
import base64
import json
import subprocess
import sys
import time
from io import BytesIO

import httpx2
import pytest
import websockets
from PIL import Image

from tests.e2e.conftest import PATIENCE_S, ROOT, TEXT_TO_IMAGE, ends_within, kill_hard

PROMPT = "a red circle on a blue background"
LONG = {"advanced_params": {"overwrite_step": 60}}


def test_ping_is_answered_at_once_while_the_worker_loads(own_server):
    own_server.start()
    assert own_server.cpu_s() < 1.0  # processor time, so that a busy machine does not decide the test
    assert own_server.client.get("/system_stats").json()["devices"][0]["vram_total"]
    assert own_server.client.get("/ping").json() == "pong"
    assert own_server.stop() == 0


def test_a_prompt_comes_back_as_a_picture(server):
    (image,) = server.client.post(TEXT_TO_IMAGE, json={"prompt": PROMPT, "require_base64": True}).json()
    assert image["finish_reason"] == "SUCCESS"
    stored = server.picture(image["url"])
    assert base64.b64decode(image["base64"].partition(",")[2]) == stored
    picture = Image.open(BytesIO(stored))
    assert (picture.format, picture.size, picture.mode) == ("PNG", (128, 128), "RGB")
    assert len(picture.getcolors(1 << 16) or []) > 100
    assert f'"seed": "{image["seed"]}"' in picture.info["parameters"]


def test_a_job_is_followed_by_polling_and_shows_previews(server):
    id = server.submit(prompt=PROMPT, advanced_params={"overwrite_step": 60})
    seen = []
    while not seen or seen[-1]["job_stage"] in ("WAITING", "RUNNING"):
        query = {"job_id": id, "require_step_preview": "true"}
        seen.append(server.client.get("/v1/generation/query-job", params=query).json())
        time.sleep(0.02)
    percents = [one["job_progress"] for one in seen]
    assert percents == sorted(percents)
    assert len(set(percents)) > 5
    previews = [one["job_step_preview"] for one in seen if one["job_step_preview"]]
    assert Image.open(BytesIO(base64.b64decode(previews[-1]))).format == "PNG"
    assert seen[-1]["job_stage"] == "SUCCESS"


def test_a_picture_is_described_while_another_is_drawn_which_stays_the_same(server):
    body = {"prompt": PROMPT, "image_seed": 77, "advanced_params": {"overwrite_step": 40}}
    (alone,) = server.client.post(TEXT_TO_IMAGE, json=body).json()
    shown = base64.b64encode(server.picture(alone["url"])).decode()
    server.client.post("/free", json={"free_memory": True})  # or the second picture would not be drawn
    job = server.submit(**body)
    server.until_sampling(job)
    words = server.client.post("/v1/tools/describe-image", json={"image": shown}).json()["describe"]
    assert server.query(job)["job_stage"] == "RUNNING"
    assert words.endswith("on a blue background")
    (held_up,) = server.until_ended(job)["job_result"]
    assert server.picture(held_up["url"]) == server.picture(alone["url"])


def test_one_binary_picture_of_the_type_asked_for(server):
    reply = server.client.post(TEXT_TO_IMAGE, json={"prompt": PROMPT}, headers={"accept": "image/webp"})
    assert reply.headers["content-type"] == "image/webp"
    assert Image.open(BytesIO(reply.content)).format == "WEBP"


def test_the_same_seed_gives_the_same_bytes(server):
    body = {"prompt": PROMPT, "image_seed": 7}
    urls = [server.client.post(TEXT_TO_IMAGE, json=body).json()[0]["url"] for _ in range(2)]
    assert urls[0] != urls[1]
    assert server.picture(urls[0]) == server.picture(urls[1])


def test_the_graph_of_a_request_posted_to_prompt_gives_the_identical_picture(server):
    id = server.submit(prompt=PROMPT, image_seed=11, image_number=2)
    job = server.until_ended(id)
    graph = server.client.get(f"/v1/engines/jobs/{id}/graph").json()
    posted = server.client.post("/prompt", json={"prompt": graph}).json()["prompt_id"]
    server.until(lambda: posted in server.client.get(f"/history/{posted}").json(), PATIENCE_S, "finish the graph")
    outputs = server.client.get(f"/history/{posted}").json()[posted]["outputs"]
    images = [image for node in sorted(outputs, key=int) for image in outputs[node]["images"]]
    pictures = [server.client.get("/view", params=image).content for image in images]
    assert pictures == [server.picture(image["url"]) for image in job["job_result"]]


def test_a_graph_written_for_comfyui_runs(server):
    graph = {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                **{"seed": 5, "steps": 4, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0},
                **{"model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]},
            },
        },
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "focal-tiny-sdxl.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 96, "batch_size": 2}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": PROMPT, "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
    }
    posted = server.client.post("/prompt", json={"prompt": graph}).json()
    assert posted["node_errors"] == {}
    id = posted["prompt_id"]
    server.until(lambda: id in server.client.get(f"/history/{id}").json(), PATIENCE_S, "finish the graph")
    images = server.client.get(f"/history/{id}").json()[id]["outputs"]["9"]["images"]
    sizes = [Image.open(BytesIO(server.client.get("/view", params=image).content)).size for image in images]
    assert sizes == [(128, 96), (128, 96)]
    assert "KSampler" in server.client.get("/object_info").json()


def test_stop_acts_within_a_step_and_the_next_job_runs_to_its_end(server):
    id = server.submit(prompt=PROMPT, **LONG)
    server.until_sampling(id)
    started = time.monotonic()
    server.client.post("/v1/generation/stop")
    ended = server.until_ended(id)
    assert time.monotonic() - started < 2.0
    assert [item["finish_reason"] for item in ended["job_result"]] == ["USER_CANCEL"]
    assert server.client.post(TEXT_TO_IMAGE, json={"prompt": PROMPT}).json()[0]["finish_reason"] == "SUCCESS"


def test_a_killed_worker_is_replaced_and_its_job_finishes(server):
    id = server.submit(prompt=PROMPT, image_seed=13, **LONG)
    server.until_sampling(id)
    worker = server.worker_pid()
    kill_hard(worker)
    assert server.client.get("/ping").json() == "pong"
    ended = server.until_ended(id)
    assert ended["job_stage"] == "SUCCESS"
    assert server.worker_pid() != worker
    again = server.until_ended(server.submit(prompt=PROMPT, image_seed=13, **LONG))
    first, second = (server.picture(job["job_result"][0]["url"]) for job in (ended, again))
    assert first == second


def test_a_killed_server_finishes_its_jobs_after_a_restart_and_ends_politely(own_server):
    server = own_server
    server.start()
    running = server.submit(prompt=PROMPT, image_seed=17, **LONG)
    waiting = server.submit(prompt=PROMPT, image_seed=18)
    server.until_sampling(running)
    worker = server.worker_pid()
    server.kill()
    assert ends_within(worker, 5.0)  # with its server
    server.start()
    for id in (running, waiting):
        ended = server.until_ended(id)
        assert ended["job_stage"] == "SUCCESS"
        assert server.picture(ended["job_result"][0]["url"]).startswith(b"\x89PNG")
    history = server.client.get("/v1/generation/job-history").json()
    assert [entry["job_id"] for entry in history["history"]] == [running, waiting]
    server.until_sampling(server.submit(prompt=PROMPT, **LONG))
    started = time.monotonic()
    assert server.stop() == 0  # politely, in the middle of a job
    assert time.monotonic() - started < 10
    with pytest.raises(httpx2.TransportError):
        server.client.get("/ping")


def test_a_second_server_on_the_same_data_is_refused_with_the_reason(server):
    command = [sys.executable, "-m", "api.cli", "serve", "--data", str(server.data), "--port", "0"]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert second.returncode == 1
    assert "Another Focal server uses" in second.stderr


def test_events_come_over_the_socket(server):
    async def listen() -> list[str]:
        url = f"ws://127.0.0.1:{server.port}/ws?clientId=e2e"
        async with websockets.connect(url) as socket:
            graph = server.client.get(f"/v1/engines/jobs/{server.submit(prompt='a green square')}/graph").json()
            await asyncio.to_thread(server.client.post, "/prompt", json={"prompt": graph, "client_id": "e2e"})
            told: list[str] = []
            async with asyncio.timeout(PATIENCE_S):
                async for message in socket:
                    if isinstance(message, bytes):
                        told.append("preview")
                        continue
                    event = json.loads(message)
                    told.append(event["type"])
                    if event["type"] == "executing" and event["data"]["node"] is None:
                        return told
        return told

    told = asyncio.run(listen())
    assert told[0] == "status"
    assert told.index("execution_start") < told.index("executed") < told.index("execution_success")
