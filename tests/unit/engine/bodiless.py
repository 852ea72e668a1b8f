"""Nodes without a body, for what is checked before anything runs, and graphs of them."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from msgspec import Meta

from engine import Choices, Registry, Socket, Ui, node, spec_of
from engine.validate import Validation

Image = Annotated[Any, Socket("IMAGE")]
Mask = Annotated[Any, Socket("MASK")]
Node = Callable[..., dict[str, Any]]

files: list[str] = ["a.png", "b.png"]
listings: list[int] = []


def list_files() -> list[str]:
    listings.append(1)
    return files


@node("Load")
def load(name: Annotated[str, Choices(list_files)]) -> tuple[Image, Mask]: ...


@node("Scale")
def scale(
    image: Image,
    width: Annotated[int, Meta(ge=16, le=64)],
    factor: float,
    label: str,
    keep: bool,
    mode: Literal["near", "far"] = "near",
    mask: Mask | None = None,
) -> Image: ...


@node("Words")
def words(texts: list[str]) -> Image: ...


@node("Save", output=True)
def save(image: Image) -> Ui: ...


REGISTRY = Registry(spec_of(f) for f in (load, scale, words, save))


def scaled(**changes: Any) -> dict[str, Any]:
    inputs = {"image": ["1", 0], "width": 32, "factor": 1.0, "label": "x", "keep": True, **changes}
    return {
        "1": {"class_type": "Load", "inputs": {"name": "a.png"}},
        "2": {"class_type": "Scale", "inputs": {k: v for k, v in inputs.items() if v != "absent"}},
        "9": {"class_type": "Save", "inputs": {"image": ["2", 0]}},
    }


def entry(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def errors(found: Validation, node_id: str) -> list[dict[str, Any]]:
    return found.node_errors[node_id]["errors"]


def kinds(found: Validation, node_id: str = "2") -> list[str]:
    return [item["type"] for item in errors(found, node_id)]
