"""A walk through every operation of both REST contracts: each answer is held against the OpenAPI document, strictly.

Strictly means as a client does that a generator wrote: a documented status, a documented media type, no undocumented
key, no missing one, and no number where text is promised.
"""

import base64
import json
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from starlette.testclient import TestClient

from api import docs_page
from tests.api.test_engine_generate import record
from tests.api.test_input_images import picture
from tests.api.test_text_to_image import poll

TEXT_TO_IMAGE, GENERATE = "/v1/generation/text-to-image", "/v1/engine/generate/"
TAGS = {"Fooocus-API", "FooocusAPI", "Tools of both REST contracts", "Pictures and documents"}
ABSENT = "00000000-0000-4000-8000-000000000000"


class Document:
    """The document, and what was seen of it."""

    def __init__(self) -> None:
        told = json.loads(docs_page.document())
        self.paths: dict[str, Any] = told["paths"]
        self._components = told["components"]
        for schema in self._components["schemas"].values():
            if "properties" in schema:
                schema["additionalProperties"] = False
        self.seen: set[tuple[str, str, int]] = set()

    def operations(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Method, path and operation of everything but the graphs."""
        return [
            (method, path, operation)
            for path, methods in self.paths.items()
            for method, operation in methods.items()
            if operation["tags"][0] in TAGS
        ]

    def check(self, reply: Any, method: str, path: str) -> Any:
        """Hold an answer against the document. Gives its JSON, if it is any."""
        self.seen.add((method, path, reply.status_code))
        where = f"{method.upper()} {path}: {reply.status_code}"
        answers = self.paths[path][method]["responses"]
        assert str(reply.status_code) in answers, f"{where} is not documented: {reply.text[:300]}"
        content = answers[str(reply.status_code)].get("content", {})
        if not content:
            assert reply.content == b"", where
            return None
        media = reply.headers["content-type"].partition(";")[0]
        assert media in content, f"{where} is {media}, documented are {list(content)}"
        if media != "application/json":
            return None
        schema = {**content[media]["schema"], "components": self._components}
        faults = [
            f"{'.'.join(map(str, e.path))}: {e.message}" for e in Draft202012Validator(schema).iter_errors(reply.json())
        ]
        assert faults == [], f"{where}: {faults}"
        return reply.json()


class Walker:
    """Asks and checks. Paths are templates, as the document spells them."""

    def __init__(self, client: TestClient, document: Document) -> None:
        self.client, self.document = client, document

    def ask(self, method: str, path: str, status: int, *, names: tuple[str, ...] = (), **more: Any) -> Any:
        """One request; names fill the template in order."""
        url = path
        for name in names:
            url = url.replace(url[url.index("{") : url.index("}") + 1], name, 1)
        reply = self.client.request(method, url, **more)
        assert reply.status_code == status, f"{method} {url}: {reply.status_code} {reply.text[:300]}"
        return self.document.check(reply, method, path)


@pytest.fixture(scope="module")
def document() -> Document:
    return Document()


@pytest.fixture
def walker(client: TestClient, document: Document) -> Walker:
    return Walker(client, document)


def generations(document: Document) -> list[tuple[str, dict[str, Any]]]:
    found = document.operations()
    return [
        (path, each)
        for method, path, each in found
        if method == "post" and "/generation/" in path and "requestBody" in each
    ]


def form_of(operation: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The example as a form: pictures as files, lists of objects as JSON text."""
    fields = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    files = {name: picture(40, 24) for name in example if fields.get(name, {}).get("format") == "binary"}
    rest = {name: value for name, value in example.items() if name not in files}
    texts = {name: json.dumps(value) if isinstance(value, list) else str(value) for name, value in rest.items()}
    return texts, files


@pytest.mark.parametrize(
    "change", [{"seed": 42}, {"seed": None}, {"url": 1}, {"finish_reason": "DONE"}, {"extra": ""}, {"base64": ...}]
)
def test_the_walk_would_notice(change):
    document = Document()  # one of its own: nothing was walked here
    image = {"base64": None, "url": None, "seed": "42", "finish_reason": "ERROR"}
    told = {name: value for name, value in (image | change).items() if value is not ...}
    content = httpx2.Response(200, json=[told])
    with pytest.raises(AssertionError):
        document.check(content, "post", TEXT_TO_IMAGE)
    document.check(httpx2.Response(200, json=[image]), "post", TEXT_TO_IMAGE)


def test_every_generation_in_every_form_of_answer(walker, document):
    listed = [(path, each) for path, each in generations(document) if "query-job" not in path]
    assert len(listed) == 12
    for path, operation in listed:
        example = operation["requestBody"]["content"]["application/json"]["example"]
        (image, *_) = walker.ask("post", path, 200, json=example | {"require_base64": True})
        assert (type(image["seed"]), image["seed"]) == (str, "42")
        job = walker.ask("post", path, 200, json=example | {"async_process": True})
        ended = poll(walker.client, job["job_id"])
        assert (type(job["job_progress"]), ended["job_progress"]) == (int, 100)
        walker.ask("post", path, 200, json=example, headers={"accept": "image/webp"})
        walker.ask("post", path, 422, json=example | {"image_number": 0, "loras": 5})
        if "multipart/form-data" in operation["requestBody"]["content"]:
            texts, files = form_of(operation)
            walker.ask("post", path, 200, data=texts, files=files or {"none": b""})
            walker.ask("post", path, 422, data=texts | {"image_number": "x"}, files=files or {"none": b""})


def test_jobs_that_fail_stop_or_find_the_queue_full(make_client, document):
    walker = Walker(make_client(queue_size=1, max_body=4000), document)
    (image,) = walker.ask("post", TEXT_TO_IMAGE, 200, json={"prompt": "boom"})
    assert image == {"base64": None, "url": None, "seed": image["seed"], "finish_reason": "ERROR"}
    walker.ask("post", TEXT_TO_IMAGE, 500, json={"prompt": "boom"}, headers={"accept": "image/png"})
    walker.ask("post", TEXT_TO_IMAGE, 413, json={"prompt": "a" * 5000})
    walker.ask("post", GENERATE, 413, json={"prompt": "a" * 5000})
    walker.ask("post", GENERATE, 200, json={"prompt": "boom"})
    walker.ask("post", GENERATE, 204, json={"prompt": "boom"}, headers={"accept": "image/png"})
    slow = {"prompt": "slow", "advanced_params": {"overwrite_step": 200}, "async_process": True}
    id = walker.ask("post", TEXT_TO_IMAGE, 200, json=slow)["job_id"]
    poll(walker.client, id, ("RUNNING",))
    for more in ({}, {"async_process": True}):
        walker.ask("post", TEXT_TO_IMAGE, 200, json={"prompt": "a", **more})
    walker.ask("post", TEXT_TO_IMAGE, 409, json={"prompt": "a"}, headers={"accept": "image/png"})
    walker.ask("post", GENERATE, 409, json={"prompt": "a"})
    running = walker.ask("get", "/v1/generation/query-job", 200, params={"job_id": id, "require_step_preview": "true"})
    assert running["job_stage"] == "RUNNING"
    assert walker.ask("get", "/tasks", 200)["current"][0]["task_status"] == "running"
    walker.ask("get", "/tasks/{id}", 200, names=(id,))
    walker.ask("get", "/v1/generation/job-history", 200)
    walker.ask("post", "/v1/generation/stop", 200)
    assert poll(walker.client, id)["job_result"][0]["finish_reason"] == "USER_CANCEL"
    walker.ask("get", "/v1/generation/query-job", 200, params={"job_id": id})


def test_the_persistent_history_of_every_contracts_jobs(make_client, document):
    walker = Walker(make_client(persistent=True), document)
    sent = f"data:image/png;base64,{base64.b64encode(picture(40, 24)).decode()}"
    stage = {"enhance_enabled": True, "enhance_mask_model": "u2net"}
    ours = {"prompt": "a", "input_image": sent, "outpaint_selections": ["Left"], "image_prompts": [{"cn_img": sent}]}
    walker.ask("post", "/v2/generation/image-inpaint-outpaint", 200, json=ours)
    enhanced = {"enhance_input_image": sent, "enhance_checkbox": True, "enhance_ctrls": [stage]}
    walker.ask("post", GENERATE, 200, json=enhanced | {"prompt": "boom", "overwrite_switch": 0.5})
    done = walker.ask("post", TEXT_TO_IMAGE, 200, json={"prompt": "a", "async_process": True})["job_id"]
    graph = walker.client.get(f"/v1/engines/jobs/{done}/graph").json()
    poll(walker.client, walker.client.post("/prompt", json={"prompt": graph}).json()["prompt_id"])
    history = walker.ask("get", "/v1/generation/job-history", 200)["history"]
    assert [len(entry["params"]) > 20 for entry in history] == [False, True, True, True]
    assert {entry["task_info"]["finish_reason"] for entry in history} == {"SUCCESS", "ERROR"}


def test_the_routes_around_jobs(walker):
    (image,) = walker.ask("post", TEXT_TO_IMAGE, 200, json={"prompt": "a"})
    done = walker.ask("post", TEXT_TO_IMAGE, 200, json={"prompt": "a", "async_process": True})["job_id"]
    poll(walker.client, done)
    for query, status in (({"job_id": done}, 200), ({"job_id": ABSENT}, 404), ({}, 422)):
        walker.ask("get", "/v1/generation/query-job", status, params=query)
        walker.ask("post", "/v1/generation/query-job", status, json=query)
    for path in ("/v1/generation/job-queue", "/v1/engines/job-queue"):
        assert walker.ask("get", path, 200)["last_job_id"] == done
    assert set(walker.ask("get", "/v1/generation/job-history", 200)) == {"queue", "history"}
    walker.ask("get", "/v1/generation/job-history", 422, params={"page": "x"})
    walker.ask("get", "/v1/engines/jobs/{id}/graph", 200, names=(done,))
    walker.ask("get", "/v1/engines/jobs/{id}/graph", 404, names=(ABSENT,))
    assert walker.ask("get", "/v1/generation/job-history", 200, params={"job_id": done, "delete": "true"})
    day, name = image["url"].split("/")[-2:]
    for path in ("/files/{date}/{name}", "/outputs/{date}/{name}"):
        walker.ask("get", path, 200, names=(day, name))
        walker.ask("get", path, 404, names=(day, f"not-{name}"))
        walker.ask("get", path, 206, names=(day, name), headers={"range": "bytes=0-3"})
        walker.ask("get", path, 416, names=(day, name), headers={"range": "bytes=9999999-"})


def test_the_small_routes(walker, document):
    for path in ("/v1/engines/all-models", "/v1/engines/styles", "/v1/engines/clean_vram", "/ping"):
        walker.ask("get", path, 200)
    walker.ask("post", "/v1/engines/refresh-models", 200)
    for path in ("/openapi.json", "/docs", "/redoc"):
        walker.ask("get", path, 200)
    for path in ("/v1/tools/describe-image", "/v1/tools/generate_mask"):
        example = document.paths[path]["post"]["requestBody"]["content"]["application/json"]["example"]
        walker.ask("post", path, 200, json=example)
        walker.ask("post", path, 422, json=example | {"image": "@@@"})
        walker.ask("post", path, 200, files={"image": picture(40, 24)}, data={"mask_model": "u2net"})
        walker.ask("post", path, 400, content=b"--x", headers={"content-type": "multipart/form-data"})


def test_contract_b(walker, document):
    example = document.paths[GENERATE]["post"]["requestBody"]["content"]["application/json"]["example"]
    task = walker.ask("post", GENERATE, 200, json=example)
    pending = walker.ask("post", GENERATE, 200, json=example | {"async_process": True})
    record(walker.client, pending["task_id"])
    walker.ask("post", GENERATE, 200, json=example, headers={"accept": "image/jpeg"})
    walker.ask("post", GENERATE, 200, json=example | {"stream_output": True})
    walker.ask("post", GENERATE, 422, json=example | {"outpaint_distance": [1], "sharpness": 99})
    walker.ask("get", "/tasks/{id}", 200, names=(task["task_id"],))
    walker.ask("get", "/tasks/{id}", 404, names=(ABSENT,))
    walker.ask("get", "/tasks", 200, params={"page_size": -1})
    walker.ask("get", "/tasks", 422, params={"page": "x"})
    for method in ("get", "delete"):
        window = {"start_at": "2000-01-01T00:00:00", "end_at": "2000-01-02T00:00:00", "action": "delete"}
        assert walker.ask(method, "/tasks", 200, params=window) == {"history": [], "current": [], "pending": []}
    walker.ask("delete", "/tasks", 422, params={"page": "x"})
    for action in ("stop", "skip", "dance"):
        walker.ask("post", "/v1/engine/control/", 200, params={"action": action})
    walker.ask("post", "/v1/engine/control/", 422)
    sent = walker.ask("post", GENERATE, 200, json={"uov_input_image": task["result"][0], "uov_method": "Vary (Subtle)"})
    name = sent["req_params"]["uov_input_image"].rpartition("/")[2]
    walker.ask("get", "/inputs/{name}", 200, names=(name,))
    walker.ask("get", "/inputs/{name}", 404, names=("absent.png",))


def test_without_the_key_every_route_says_what_the_document_says(make_client, document):
    walker = Walker(make_client(apikey="k"), document)
    for method, path, operation in document.operations():
        if operation["security"] != [{}]:
            walker.ask(method, path, 403, names=("a", "b")[: path.count("{")])


def test_every_operation_was_walked(document):
    """Last in the file: the tests above have seen each of them succeed."""
    if not document.seen:
        pytest.skip("the walk itself was left out")
    wanted = {(method, path) for method, path, _ in document.operations()}
    assert wanted - {(method, path) for method, path, status in document.seen if status == 200} == set()
