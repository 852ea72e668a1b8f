"""GET /openapi.json: the OpenAPI 3.1 document of all contracts, made from their operations and structs."""

from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

import msgspec
from msgspec import UNSET

from api.field_words import words_of
from api.operations import FORM, JSON, Answer, Operation

EVENT = {"description": "One event: its `data` is JSON text.", "type": ["object", "string"]}
COMPONENTS = "#/components/schemas/{name}"
PICTURE_TEXT = {"type": ["string", "null"], "description": "Base64, a data URI or an http(s) address."}
PICTURE_FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
DESCRIPTION = """\
Image generation behind the contracts of Fooocus-API (`/v1/generation`, `/v2/generation`), FooocusAPI
(`/v1/engine/generate/`, `/tasks`) and ComfyUI (`/prompt`). Every path also answers with a trailing slash, and every
ComfyUI path below `/api`. Numbers may come as text, booleans as words, `null` means "not given", names count in any
case and unknown fields are ignored.
"""


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Build the document. Raises ValueError when two operations share an id."""
    ids = [operation.id for operation in operations]
    if twice := {id for id in ids if ids.count(id) > 1}:
        raise ValueError(f"operation ids are not unique: {sorted(twice)}")
    schemas = _Schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described = _operation(operation, schemas)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
        for number, path in enumerate(operation.also, 1):
            spelling = {**described, "operationId": f"{operation.id}_{number}", "deprecated": True}
            paths.setdefault(path, {})[operation.method.lower()] = spelling
    return {
        "openapi": "3.1.0",
        "info": {"title": "Focal", "version": metadata.version("focal"), "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-KEY"}},
        },
    }


class _Schemas:
    """JSON schemas of all structs, each named once; fields explained by `WORDS`."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        types = list(_types(operations))
        made, self.components = msgspec.json.schema_components(types, ref_template=COMPONENTS)
        self._of = {id(type): schema for type, schema in zip(types, made, strict=True)}
        for schema in self.components.values():
            _give_items(schema)
            for name, field in schema.get("properties", {}).items():
                words = words_of(name)
                if words and "description" not in field:
                    field["description"] = words
                if words and words.startswith("A picture") and not field.keys() & {"type", "anyOf"}:
                    field.update(PICTURE_TEXT | {"description": f"{words} {PICTURE_TEXT['description']}"})

    def of(self, type: Any) -> dict[str, Any]:
        return dict(self._of[id(type)])

    def resolved(self, type: Any) -> dict[str, Any]:
        """The schema itself instead of a reference to it."""
        schema = self.of(type)
        return self.components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _give_items(schema: Any) -> None:
    """Say `items` of lists of anything as well: client generators want the word."""
    if isinstance(schema, dict):
        if schema.get("type") == "array":
            schema.setdefault("items", {})
        for part in schema.values():
            _give_items(part)
    elif isinstance(schema, list):
        for part in schema:
            _give_items(part)


def _types(operations: Iterable[Operation]) -> Iterable[Any]:
    seen: set[int] = set()
    for operation in operations:
        answers = (type for answer in operation.answers.values() for type in (answer.type, *answer.others))
        for type in (operation.query, operation.body, operation.form, *answers):
            if type is not None and id(type) not in seen:
                seen.add(id(type))
                yield type


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    parameters = [_path_parameter(name, words) for name, words in operation.path_words.items()]
    if operation.query is not None:
        parameters += _query_parameters(schemas.resolved(operation.query))
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": {str(status): _answer(answer, schemas) for status, answer in sorted(operation.answers.items())},
    }
    if operation.description:
        described["description"] = operation.description
    if parameters:
        described["parameters"] = parameters
    if content := _content(operation, schemas):
        described["requestBody"] = {"required": True, "content": content}
    described["security"] = [{"ApiKey": []}, {}] if operation.key else [{}]
    return described


def _path_parameter(name: str, words: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": words, "schema": {"type": "string"}}


def _query_parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": field.get("description", ""),
            "schema": {key: value for key, value in field.items() if key != "description"},
        }
        for name, field in schema["properties"].items()
    ]


def _content(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    example = {} if operation.example is UNSET else {"example": operation.example}
    if operation.body is not None:
        content[JSON] = {"schema": schemas.of(operation.body), **example}
    if operation.form is not None:
        content[FORM] = {"schema": _form(operation, schemas.resolved(operation.form))}
    return content


def _form(operation: Operation, schema: dict[str, Any]) -> dict[str, Any]:
    """A form's schema: pictures are files, lists are comma separated text, objects are JSON text."""
    fields = {}
    for name, field in schema.get("properties", {}).items():
        words = {"description": field["description"]} if "description" in field else {}
        if name in operation.files:
            fields[name] = PICTURE_FILE | words
        elif field.get("type") in ("string", "integer", "number", "boolean"):
            fields[name] = field
        else:
            fields[name] = {"type": "string", **words}
    form = {"type": "object", "properties": fields}
    return form | ({"required": schema["required"]} if schema.get("required") else {})


def _answer(answer: Answer, schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if answer.type is not None:
        example = {} if answer.example is UNSET else {"example": msgspec.to_builtins(answer.example)}
        found = [schemas.of(type) for type in (answer.type, *answer.others)]
        content[JSON] = {"schema": {"anyOf": found} if answer.others else found[0], **example}
    for media in answer.media:
        if media == "text/event-stream":
            content[media] = {"schema": EVENT}
            continue
        text = media.startswith("text/")
        content[media] = {"schema": {"type": "string"} if text else {"type": "string", "format": "binary"}}
        if text and answer.example is not UNSET:
            content[media]["example"] = answer.example
    return {"description": answer.description, **({"content": content} if content else {})}
