"""Whatever is sent, the answer is one the contract knows: never a server error."""

import string
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.contracts.fooocus_api.schemas import AdvancedParams, TextToImage
from tests.api.conftest import fake_settings, open_client
from tests.api.test_graphs import graph
from tests.api.test_text_to_image import URL


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server of its own that forgets early: the session's would answer /history with all that other tests did."""
    with open_client(fake_settings(tmp_path_factory.mktemp("fuzz"), queue_history=20)) as opened:
        yield opened


RELAXED = settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            "None",
            "string",
            "-1",
            "1e999",
            "9" * 400,
            "../../x",
            "a\0b",
            "\u202e",
            "💥",
            "(((",
            "__a__",
            "[[",
            "<lora:x:y>",
        ]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
bodies = st.fixed_dictionaries(
    {},
    optional={name: values for name in TextToImage.__struct_fields__ if name != "advanced_params"}
    | {
        "advanced_params": values
        | st.dictionaries(st.sampled_from(AdvancedParams.__struct_fields__), values, max_size=6)
    }
    | {
        "loras": values
        | st.lists(st.fixed_dictionaries({}, optional={"model_name": values, "weight": values}), max_size=3)
    },
)


@RELAXED
@given(body=bodies)
def test_any_request_is_answered_or_refused(client, body):
    body = {**body, "async_process": True, "image_number": 1}
    reply = client.post(URL, json=body)
    assert reply.status_code in (200, 422), reply.text
    if reply.status_code == 422:
        for fault in reply.json()["detail"]:
            assert {"type", "loc", "msg"} <= set(fault)


@RELAXED
@given(data=st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
def test_any_bytes_are_answered(client, data):
    for path in (URL, "/prompt", "/queue", "/interrupt", "/history", "/free", "/upload/image"):
        assert client.post(path, content=data).status_code < 500, path


@RELAXED
@given(changes=st.dictionaries(st.sampled_from("123456"), values, max_size=2), extra=values, target=values)
def test_any_graph_is_run_or_refused(client, changes, extra, target):
    body = {
        "prompt": {**graph("fuzz"), **changes},
        "extra_data": extra,
        "partial_execution_targets": target,
        "number": target,
    }
    reply = client.post("/prompt", json=body)
    assert reply.status_code in (200, 400, 422), reply.text


@RELAXED
@given(inputs=st.dictionaries(st.sampled_from(["seed", "cfg", "model", "sampler_name", "x"]), values, max_size=3))
def test_any_inputs_are_run_or_refused(client, inputs):
    changed = graph("fuzz inputs")
    changed["4"]["inputs"] |= inputs
    reply = client.post("/prompt", json={"prompt": changed})
    assert reply.status_code in (200, 400, 422), reply.text
    if reply.status_code == 200:
        client.post("/queue", json={"clear": True})
        client.post("/interrupt")


@pytest.mark.parametrize(
    "path",
    ["/view", "/v1/generation/query-job", "/v1/generation/job-history", "/history", "/object_info"],
)
@RELAXED
@given(
    query=st.dictionaries(
        st.sampled_from(
            [
                "filename",
                "type",
                "subfolder",
                "preview",
                "channel",
                "job_id",
                "page",
                "page_size",
                "max_items",
                "offset",
                "delete",
                "require_step_preview",
            ]
        ),
        st.text(max_size=30),
        max_size=4,
    )
)
def test_any_query_is_answered(client, path, query):
    assert client.get(path, params=query).status_code < 500
