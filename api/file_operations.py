"""The routes that belong to no contract, for the OpenAPI document: stored pictures and the documents themselves."""

from api.operations import PICTURES, Answer, Detail, Operation

TAG = "Pictures and documents"


def operations() -> list[Operation]:
    """Files and documents; none needs a key."""
    words = {"date": "Day, as in the address of the result.", "name": "File name."}
    found = {
        200: Answer(description="The picture, converted when Accept names another type.", media=PICTURES),
        206: Answer(description="A part of the file.", media=PICTURES),
        304: Answer(description="The file is the one you have."),
        404: Answer(description="There is no such picture.", type=Detail, example=Detail("Not Found")),
        416: Answer(description="The file has no such part."),
    }
    return [
        *(
            Operation(
                method="GET",
                path=f"/{root}/{{date}}/{{name}}",
                id=f"get_{root}",
                tag=TAG,
                summary=f"A result, as jobs of {contract} name it",
                path_words=words,
                answers=found,
                key=False,
            )
            for root, contract in (("files", "Fooocus-API"), ("outputs", "FooocusAPI"))
        ),
        Operation(
            method="GET",
            path="/inputs/{name}",
            id="get_inputs",
            tag=TAG,
            summary="A picture that came with a request, as tasks of FooocusAPI name it",
            path_words={"name": "File name."},
            answers=found,
            key=False,
        ),
        Operation(
            method="GET",
            path="/openapi.json",
            id="openapi",
            tag=TAG,
            summary="This document",
            answers={200: Answer(description="OpenAPI 3.1.", type=dict)},
            key=False,
        ),
        Operation(
            method="GET",
            path="/docs",
            id="docs",
            tag=TAG,
            summary="The same for people",
            answers={200: Answer(description="A page.", media=("text/html",))},
            also=("/redoc",),
            key=False,
        ),
    ]
