"""What a route takes and answers, as a value: each contract lists its operations, `api.openapi` makes the document.

Schemas come from the msgspec structs that the handlers decode with, so that they cannot drift apart.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Struct

from api.errors import MOST_FAULTS, Fault

JSON = "application/json"
FORM = "multipart/form-data"
PICTURES = ("image/png", "image/jpeg", "image/webp")


class ValidationErrors(Struct):
    """Why a request was refused, fault by fault."""

    detail: list[Fault]


class Detail(Struct):
    """Why a request could not be answered."""

    detail: str


class Answer(Struct, frozen=True, kw_only=True):
    """One status of an operation. type: of the JSON body; None where it is no JSON. others: further types that it may
    have. media: other media types."""

    description: str
    type: Any = None
    others: tuple[Any, ...] = ()
    media: tuple[str, ...] = ()
    example: Any = UNSET


class Operation(Struct, frozen=True, kw_only=True):
    """One method of one path.

    id: kept from FastAPI's documents where they had one, so that generated clients keep their method names. query,
    body, form: structs. files: fields of the form that may be uploaded files. pictures: fields of body and form that
    hold a picture as text. also: further paths that do the same, listed as deprecated.
    """

    method: str
    path: str
    id: str
    tag: str
    summary: str
    description: str = ""
    query: type[Struct] | None = None
    path_words: dict[str, str] = {}
    body: Any = None
    form: type[Struct] | None = None
    files: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    example: Any = UNSET
    answers: dict[int, Answer]
    also: tuple[str, ...] = ()
    key: bool = True


def refusals(*, body: bool = False) -> dict[int, Answer]:
    """The answers of any route that reads something: a fault in the request, a missing key, a server in trouble."""
    fault = Fault(
        "less_than_equal", ("body", "image_number"), "Input should be less than or equal to 32", 99, {"le": 32}
    )
    faults = ValidationErrors([fault])
    found = {
        403: Answer(description="The key is missing or wrong.", type=Detail, example=Detail("Forbidden")),
        422: Answer(
            description=f"The request is not valid; its faults are listed, the first {MOST_FAULTS} of them.",
            type=ValidationErrors,
            example=msgspec.to_builtins(faults),
        ),
        503: Answer(
            description="The worker or the storage is not available now.",
            type=Detail,
            example=Detail("The worker is not running. Try again in a few seconds."),
        ),
    }
    if body:
        found[413] = Answer(
            description="The body is larger than the server allows.",
            type=Detail,
            example=Detail("The request body is larger than 8388608 bytes. Send less, or raise --max-body."),
        )
    return found
