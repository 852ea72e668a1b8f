"""The OpenAPI document: valid, complete, true of the server."""

import json
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate
from starlette.routing import Route

from api import docs_page, file_operations
from api.app import create_app
from api.contracts.comfy import operations as comfy
from api.contracts.fooocus_api import operations as fooocus_api
from api.contracts.fooocusapi import operations as fooocusapi
from api.decode import decode
from api.field_words import words_of
from api.settings import Settings

REST = [*fooocus_api.operations(), *fooocusapi.operations()]
OPERATIONS = [*REST, *comfy.operations(), *file_operations.operations()]
UNDOCUMENTED = {"/"}  # redirects to /docs


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(docs_page.document())


def test_the_document_is_valid_openapi(document):
    validate(document)


def test_every_route_is_documented_and_nothing_else(document, tmp_path):
    served = {
        (method, route.path.replace("{path:path}", "{date}/{name}").rstrip("/") or "/")
        for route in create_app(Settings(data=tmp_path)).routes
        if isinstance(route, Route) and not route.path.startswith("/api/")
        for method in (route.methods or ()) - {"HEAD"}
    }
    described = {
        (method.upper(), path.rstrip("/")) for path, methods in document["paths"].items() for method in methods
    }
    assert {(m, path) for m, path in served if path not in UNDOCUMENTED} == described


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_examples_are_what_the_server_takes_and_answers(operation):
    if operation.body is not None:
        assert operation.example is not msgspec.UNSET
        decode(operation.body, operation.example)
    for answer in operation.answers.values():
        if answer.example is not msgspec.UNSET and answer.type is not None:
            msgspec.convert(msgspec.to_builtins(answer.example), answer.type)


@pytest.mark.parametrize("operation", REST, ids=lambda operation: operation.id)
def test_every_field_is_explained(operation):
    structs = [struct for struct in (operation.query, operation.body, operation.form) if struct is not None]
    assert [name for struct in structs for name in struct.__struct_fields__ if not words_of(name)] == []


def test_the_page_needs_nothing_from_elsewhere(client):
    page = client.get("/docs")
    assert page.status_code == 200
    assert "http" not in page.text.replace("http(s)", "").replace("https://", "http://").split("<body>")[0]
    assert "src=" not in page.text
    assert client.get("/openapi.json").json()["openapi"] == "3.1.0"
