"""Requests made from the OpenAPI document by schemathesis: no server error, only described statuses and shapes."""

import json
import threading
import time
from collections.abc import Iterator

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from api import docs_page
from api.demo import free_port
from tests.api.conftest import fake_app, fake_settings

EXAMPLES = 6  # of each route
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
# Every bound of every field is tried on the other routes, as JSON, as a form and in FooocusAPI's words. These have the
# same fields again and are sent random bodies only; tests/api/test_sweep.py tries theirs without HTTP.
REPEATED = (
    "/v2/generation/text-to-image-with-ip",
    *(f"/v{n}/generation/image-{kind}" for n in (1, 2) for kind in ("upscale-vary", "inpaint-outpaint", "enhance")),
    *(f"/v{n}/generation/image-inpait-outpaint" for n in (1, 2)),
    "/v2/generation/image-prompt",
)
bodies_only = {"include-path": list(REPEATED), "phases": {"coverage": {"enabled": False}}}
config = schemathesis.Config.from_dict({"operations": [bodies_only]})
document = json.loads(docs_page.document())
schema = schemathesis.openapi.from_dict(document, config=config)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with fake nodes on a socket of its own."""
    port = free_port()
    data = tmp_path_factory.mktemp("data")
    app = fake_app(fake_settings(data, port=port, queue_history=20))  # or /history would tell thousands of jobs
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
def test_the_server_keeps_to_its_document(case: schemathesis.Case, address: str) -> None:
    case.call_and_validate(base_url=address, checks=CHECKS, timeout=60)


def test_the_routes_that_repeat_fields_are_there() -> None:
    assert set(REPEATED) <= set(document["paths"])
