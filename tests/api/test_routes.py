"""The small routes of contract A, and what holds for all routes: slashes, methods, CORS, keys, files."""

import re
import time
from io import BytesIO

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from api.contracts.comfy.routes import TABLE
from api.files import picture
from tests.api.conftest import fake_settings, open_client
from tests.api.test_text_to_image import URL, poll

GET_ROUTES = (
    *("/ping", "/docs", "/v1/engines/all-models", "/v1/engines/styles", "/v1/generation/job-queue"),
    *("/v1/engines/job-queue", "/v1/generation/job-history", "/v1/engines/clean_vram"),
)
POST_ROUTES = (URL, "/v1/generation/stop", "/v1/engines/refresh-models")


@pytest.fixture
def picture_url(client) -> str:
    """The URL of a stored PNG."""
    (image,) = client.post(URL, json={"prompt": "a", "image_seed": 1}).json()
    return image["url"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_every_route_answers_with_and_without_a_slash(client, slash):
    for path in GET_ROUTES:
        assert client.get(path + slash, follow_redirects=False).status_code == 200, path
    for path in POST_ROUTES:
        assert client.post(path + slash, json={"prompt": "a"}, follow_redirects=False).status_code == 200, path
    for method, path, _ in TABLE:
        for prefix in ("", "/api"):
            reply = client.request(method, prefix + path + slash, follow_redirects=False)
            assert reply.status_code not in (404, 405, 307) or "{" in path or path == "/view", path


def test_a_get_on_a_post_route_answers_405_at_once(client):
    for path in POST_ROUTES:
        reply = client.get(path)
        assert (reply.status_code, reply.json()) == (405, {"detail": "Method Not Allowed"})


def test_an_unknown_path_is_404(client):
    reply = client.get("/v1/nothing")
    assert (reply.status_code, reply.json()) == (404, {"detail": "Not Found"})


def test_root_leads_to_the_docs(client):
    reply = client.get("/", follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (307, "/docs")
    page = client.get("/docs").text
    assert "/v1/generation/text-to-image" in page
    assert "http" not in page.replace("http://127.0.0.1:8888", "")  # works without a network


def test_ping_is_pong_as_json_and_head_answers(client):
    assert client.get("/ping").text == '"pong"'
    assert client.head("/ping").status_code == 200


def test_models_and_styles(client):
    models = client.get("/v1/engines/all-models").json()
    expected = {
        "model_filenames": ["focal-tiny-sdxl.safetensors", "other.safetensors"],
        "lora_filenames": ["sub/a.safetensors"],
    }
    assert list(models) == list(expected)
    embedded = re.compile(r"focal-tiny-(?!sdxl\.)")
    assert {kind: [name for name in names if not embedded.match(name)] for kind, names in models.items()} == expected
    assert client.post("/v1/engines/refresh-models").json() == models
    styles = client.get("/v1/engines/styles").json()
    assert styles[:2] == ["Fooocus V2", "Random Style"]
    assert len(styles) == len(set(styles)) == 279


def test_a_new_model_file_is_seen_without_a_restart(make_client, tmp_path):
    client = make_client()
    (tmp_path / "models" / "checkpoints" / "new.safetensors").touch()
    assert "new.safetensors" in client.get("/v1/engines/all-models").json()["model_filenames"]
    reply = client.post(URL, json={"prompt": "a", "base_model_name": "new.safetensors"})
    assert "x-warning" not in reply.headers


def test_an_unknown_job_is_404_with_a_body_of_the_jobs_shape(client):
    reply = client.get("/v1/generation/query-job", params={"job_id": "no-such"})
    assert reply.status_code == 404
    assert reply.json() == {
        "job_id": "",
        "job_type": "Not Found",
        "job_stage": "ERROR",
        "job_progress": 0,
        "job_status": "Job not found",
        "job_step_preview": None,
        "job_result": None,
    }


def test_query_job_without_an_id_is_422_and_post_with_json_works(client):
    reply = client.get("/v1/generation/query-job")
    assert reply.json()["detail"][0]["loc"] == ["query", "job_id"]
    job = client.post(URL, json={"prompt": "a", "async_process": True}).json()
    poll(client, job["job_id"])
    posted = client.post("/v1/generation/query-job", json={"job_id": job["job_id"], "require_step_preview": True})
    assert posted.json()["job_stage"] == "SUCCESS"
    assert posted.json()["job_step_preview"]
    undashed = job["job_id"].replace("-", "")
    assert client.get("/v1/generation/query-job", params={"job_id": undashed}).json()["job_stage"] == "SUCCESS"


def test_the_graph_of_an_unknown_job_is_404(client):
    assert client.get("/v1/engines/jobs/no-such/graph").status_code == 404


def test_queue_history_and_deletion(make_client, tmp_path):
    client = make_client()
    assert client.get("/v1/generation/job-queue").json() == {
        "running_size": 0,
        "finished_size": 0,
        "last_job_id": None,
    }
    urls = [client.post(URL, json={"prompt": "a"}).json()[0]["url"] for _ in range(3)]
    history = client.get("/v1/generation/job-history").json()
    assert history["queue"] == []
    ids = [entry["job_id"] for entry in history["history"]]
    assert [url.rpartition("/")[2] for url in urls] == [f"{id}-0.png" for id in ids]
    entry = history["history"][0]
    assert list(entry) == ["job_id", "in_queue_mills", "start_mills", "finish_mills", "is_finished"]
    assert entry["in_queue_mills"] <= entry["start_mills"] <= entry["finish_mills"]
    assert entry["is_finished"] is True
    queue = client.get("/v1/engines/job-queue").json()
    assert queue == {"running_size": 0, "finished_size": 3, "last_job_id": ids[-1]}
    page = client.get("/v1/generation/job-history", params={"page": 1, "page_size": 2}).json()
    assert [entry["job_id"] for entry in page["history"]] == ids[2:]
    one = client.get("/v1/generation/job-history", params={"job_id": ids[1]}).json()
    assert [entry["job_id"] for entry in one["history"]] == [ids[1]]
    query = {"job_id": ids[1], "delete": "true"}
    assert client.get("/v1/generation/job-history", params=query).json() == {"message": "Deleted"}
    assert client.get("/v1/generation/job-history", params=query).json() == {"message": "Not found"}
    assert client.get(urls[1]).status_code == 404
    assert client.get(urls[0]).status_code == 200
    assert "history" in client.get("/v1/generation/job-history", params={"delete": "true"}).json()


def test_waiting_jobs_stand_in_the_queue(make_client):
    client = make_client()
    body = {"prompt": "slow", "async_process": True, "advanced_params": {"overwrite_step": 100}}
    ids = [client.post(URL, json=body).json()["job_id"] for _ in range(2)]
    assert client.get("/v1/generation/job-queue").json()["running_size"] == 2
    queue = client.get("/v1/generation/job-history").json()["queue"]
    assert [(entry["job_id"], entry["is_finished"]) for entry in queue] == [(id, False) for id in ids]
    second = client.get("/v1/generation/query-job", params={"job_id": ids[1]}).json()
    assert second["job_stage"] == "WAITING"
    for id in ids:
        poll(client, id, ("RUNNING",))
        client.post("/v1/generation/stop")
        poll(client, id, ("ERROR",))


def test_the_persistent_form_of_the_history(make_client):
    client = make_client(persistent=True)
    body = {"prompt": "a cat", "image_seed": 5, "loras": [{"model_name": "sub/a.safetensors", "weight": 0.3}]}
    first = client.post(URL, json=body).json()
    client.post(URL, json={"prompt": "boom"})
    history = client.get("/v1/generation/job-history").json()
    failed, made = history["history"]
    assert made["task_info"]["result_url"] == first[0]["url"]
    assert made["task_info"]["finish_reason"] == "SUCCESS"
    assert failed["task_info"]["finish_reason"] == "ERROR"
    assert set(made["task_info"]) == {
        *("task_id", "task_type", "task_in_queue_mills", "task_start_mills", "task_finish_mills"),
        *("result_url", "finish_reason", "date_time"),
    }
    assert made["params"]["prompt"] == "a cat"
    assert made["params"]["loras"] == [[True, "sub/a.safetensors", 0.3]]
    assert made["params"]["image_seed"] == "5"
    page = client.get("/v1/generation/job-history", params={"page_size": 1, "page": 1}).json()["history"]
    assert [entry["task_info"]["task_id"] for entry in page] == [made["task_info"]["task_id"]]


def test_the_oldest_jobs_go_with_their_files_when_history_is_limited(make_client):
    client = make_client(queue_history=2)
    urls = [client.post(URL, json={"prompt": "a"}).json()[0]["url"] for _ in range(4)]
    deadline = time.monotonic() + 5
    while client.get(urls[1]).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [client.get(url).status_code for url in urls] == [404, 404, 200, 200]
    assert len(client.get("/v1/generation/job-history").json()["history"]) == 2


def test_jobs_are_found_again_after_a_restart(tmp_path):
    settings = fake_settings(tmp_path)
    with open_client(settings) as first:
        job = first.post(URL, json={"prompt": "a", "async_process": True}).json()
        done = poll(first, job["job_id"])
    with open_client(settings) as second:
        assert poll(second, job["job_id"]) == done
        assert len(second.get("/v1/generation/job-history").json()["history"]) == 1


class TestKeys:
    def test_without_the_key_everything_but_the_open_paths_is_403(self, make_client):
        client = make_client(apikey="secret")
        for path in ("/v1/engines/styles", "/prompt", "/history", "/object_info", "/view?filename=a.png"):
            reply = client.get(path)
            assert (reply.status_code, reply.json()) == (403, {"detail": "Forbidden"})
        assert client.post(URL, content=b"{").status_code == 403
        for path in ("/ping", "/ping/", "/", "/docs"):
            assert client.get(path).status_code == 200
        assert client.get("/files/2024-01-01/a.png").status_code == 404
        preflight = {"origin": "http://a.example", "access-control-request-method": "POST"}
        assert client.options(URL, headers=preflight).status_code == 200

    def test_the_key_is_taken_from_its_header_or_as_a_bearer_token_only(self, make_client):
        client = make_client(apikey="secret")
        path = "/v1/engines/styles"
        assert client.get(path, headers={"x-api-key": "secret"}).status_code == 200
        assert client.get(path, headers={"authorization": "Bearer secret"}).status_code == 200
        assert client.get(path, headers={"x-api-key": "wrong"}).status_code == 403
        assert client.get(path, params={"x-api-key": "secret"}).status_code == 403


class TestCors:
    def test_any_origin_may_read(self, client):
        reply = client.get("/v1/engines/styles", headers={"origin": "http://a.example"})
        assert reply.headers["access-control-allow-origin"] in ("*", "http://a.example")
        assert reply.headers["access-control-allow-credentials"] == "true"

    def test_with_a_cookie_the_origin_is_echoed(self, client):
        reply = client.get("/ping", headers={"origin": "http://a.example", "cookie": "a=b"})
        assert reply.headers["access-control-allow-origin"] == "http://a.example"
        assert "origin" in reply.headers["vary"].lower()

    def test_a_preflight_allows_what_was_asked(self, client):
        asked = {
            "origin": "http://a.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-api-key",
        }
        reply = client.options(URL, headers=asked)
        assert (reply.status_code, reply.text) == (200, "OK")
        assert reply.headers["access-control-allow-origin"] == "http://a.example"
        assert "POST" in reply.headers["access-control-allow-methods"]
        assert reply.headers["access-control-allow-headers"] == "x-api-key"

    def test_another_pages_graph_is_refused_on_loopback(self, client):
        reply = client.post("/prompt", json={"prompt": {}}, headers={"origin": "http://evil.example"})
        assert reply.status_code == 403
        own = client.post("/prompt", json={"prompt": {}}, headers={"origin": "http://127.0.0.1:5000"})
        assert own.status_code == 400


class TestFiles:
    def test_a_file_has_its_type_and_cannot_be_taken_for_a_page(self, client, picture_url):
        reply = client.get(picture_url, params={"cacheBust": "1"})
        assert reply.headers["content-type"] == "image/png"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in reply.headers["content-security-policy"]
        assert reply.headers["etag"]
        assert reply.headers["last-modified"]
        assert reply.headers["cache-control"].startswith("private")

    def test_head_and_range_answer(self, client, picture_url):
        whole = client.get(picture_url).content
        head = client.head(picture_url)
        assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(whole)), b"")
        part = client.get(picture_url, headers={"range": "bytes=0-7"})
        assert (part.status_code, part.content) == (206, b"\x89PNG\r\n\x1a\n")

    @pytest.mark.parametrize(
        ("accept", "media_type", "format"),
        [
            ("image/jpeg", "image/jpeg", "JPEG"),
            ("image/jpg", "image/jpeg", "JPEG"),
            ("image/webp", "image/webp", "WEBP"),
            ("image/png", "image/png", "PNG"),
            ("image/avif,image/webp,*/*", "image/png", "PNG"),
            ("*/*", "image/png", "PNG"),
            ("text/html", "image/png", "PNG"),
        ],
    )
    def test_an_exact_accept_converts(self, client, picture_url, accept, media_type, format):
        reply = client.get(picture_url, headers={"accept": accept})
        assert reply.headers["content-type"] == media_type
        assert Image.open(BytesIO(reply.content)).format == format

    def test_conversion_keeps_the_generation_data(self, client, picture_url):
        stored = Image.open(BytesIO(client.get(picture_url).content)).info["parameters"]
        for accept in ("image/jpeg", "image/webp"):
            converted = Image.open(BytesIO(client.get(picture_url, headers={"accept": accept}).content))
            assert converted.getexif()[0x9286] == stored

    def test_the_other_contracts_prefix_finds_the_same_file(self, client, picture_url):
        assert client.get(picture_url.replace("/files/", "/outputs/")).content == client.get(picture_url).content

    @pytest.mark.parametrize(
        "path",
        [
            "../canary.png",
            "%2e%2e/canary.png",
            "%2e%2e%2fcanary.png",
            "..%2f..%2fcanary.png",
            "..%5ccanary.png",
            "%252e%252e/canary.png",
            "2026-01-01/../../canary.png",
            "2026-01-01/..%2f..%2fcanary.png",
            "2026-01-01/%2e%2e/%2e%2e/canary.png",
            "./../canary.png",
            "%00/canary.png",
            "a/canary.png%00",
            "a/canary.png%00.png",
            "a/C:canary.png",
            "a/.hidden.png",
            "link/canary.png",
            "a/link.png",
            "a/notes.txt",
            "a/page.html",
            "a/vector.svg",
            "a/" + "x" * 300 + ".png",
            "//etc/passwd.png",
            "a/.",
            "a/..",
        ],
    )
    def test_nothing_outside_the_results_is_read(self, client, path):
        data = client.app.state.services.settings.data
        (data / "canary.png").write_bytes(b"canary")
        folder = data / "outputs" / "a"
        folder.mkdir(exist_ok=True)
        for name in (".hidden.png", "notes.txt", "page.html", "vector.svg"):
            (folder / name).write_bytes(b"canary")
        for link, target in ((folder / "link.png", data / "canary.png"), (data / "outputs" / "link", data)):
            if not link.is_symlink():
                link.symlink_to(target)
        for prefix in ("/files/", "/outputs/"):
            reply = client.get(prefix + path, follow_redirects=False)
            assert reply.status_code == 404, path
            assert b"canary" not in reply.content

    def test_a_file_that_goes_while_it_is_asked_for_is_404(self, tmp_path):
        async def asked(request):
            response = picture(path)
            path.unlink()
            return response

        path = tmp_path / "a.png"
        path.write_bytes(b"x")
        reply = TestClient(Starlette(routes=[Route("/", asked)])).get("/")
        assert (reply.status_code, reply.json()) == (404, {"detail": "Not Found"})


class TestBodies:
    @pytest.mark.parametrize("body", [b"", b"{", b"[1, 2", b"\xff", b"[" * 100_000, b'"text"', b"[]", b"5"])
    def test_a_broken_body_is_422(self, client, body):
        reply = client.post(URL, content=body)
        assert reply.status_code == 422
        assert reply.json()["detail"][0]["loc"][0] == "body"

    def test_a_body_above_the_limit_is_413(self, make_client):
        client = make_client(max_body=2**20)
        reply = client.post(URL, content=b'{"prompt": "' + b"a" * 2**20 + b'"}')
        assert reply.status_code == 413
        assert "detail" in reply.json()

    def test_a_chunked_body_above_the_limit_is_413(self, make_client):
        reply = make_client(max_body=2**20).post(URL, content=(b"a" * 2**18 for _ in range(6)))
        assert reply.status_code == 413
