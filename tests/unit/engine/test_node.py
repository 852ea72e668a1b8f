from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from engine import Choices, Context, Expansion, Registry, Socket, Ui, Widget, collect, node, spec_of
from engine.errors import NodeDefinitionError

Image = Annotated[Any, Socket("IMAGE")]
Conditioning = Annotated[list, Socket("CONDITIONING")]


@node("Everything", category="test", display_name="All of it", outputs=("picture", "many"), version=3)
def everything(
    ctx: Context,
    image: Image,
    steps: Annotated[int, Meta(ge=1, le=100), Widget(default=20, step=5, tooltip="how many")],
    cfg: Annotated[float, Meta(ge=0.0, description="strength")],
    text: str,
    texts: list[str],
    flag: bool,
    name: Annotated[str, Choices(lambda: ["a", "b"])],
    mode: Literal["fast", "slow"] = "fast",
    mask: Image | None = None,
) -> tuple[Image, list[Image]]:
    """Show every kind of input.

    In two paragraphs.
    """
    return image, [image]


def test_signature_becomes_sockets_widgets_and_bounds() -> None:
    inputs = spec_of(everything).by_name
    assert {name: spec.type for name, spec in inputs.items()} == {
        "image": "IMAGE", "steps": "INT", "cfg": "FLOAT", "text": "STRING", "texts": "STRING_LIST",
        "flag": "BOOLEAN", "name": "COMBO", "mode": "COMBO", "mask": "IMAGE",
    }  # fmt: skip
    assert (inputs["steps"].minimum, inputs["steps"].maximum, inputs["steps"].step) == (1, 100, 5)
    assert inputs["cfg"].maximum is None
    assert inputs["cfg"].tooltip == "strength"


def test_python_default_makes_an_input_optional_and_widget_default_does_not() -> None:
    inputs = spec_of(everything).by_name
    assert [name for name, spec in inputs.items() if not spec.required] == ["mode", "mask"]
    assert inputs["steps"].default == 20
    assert inputs["mode"].default == "fast"


def test_context_parameter_is_not_an_input() -> None:
    spec = spec_of(everything)
    assert spec.wants_context == "ctx"
    assert "ctx" not in spec.by_name


def test_return_annotation_becomes_outputs() -> None:
    spec = spec_of(everything)
    assert [(slot.type, slot.name, slot.is_list) for slot in spec.outputs] == [
        ("IMAGE", "picture", False),
        ("IMAGE", "many", True),
    ]
    assert not spec.single_output


def test_single_return_value_is_one_output() -> None:
    @node("One")
    def one(value: int) -> Conditioning:
        return []

    spec = spec_of(one)
    assert [(slot.type, slot.is_list) for slot in spec.outputs] == [("CONDITIONING", False)]
    assert spec.single_output


def test_ui_and_expansion_in_the_return_annotation_are_no_outputs() -> None:
    @node("Save", output=True)
    def save(image: Image) -> Ui:
        return Ui({})

    @node("Loop")
    def loop(image: Image) -> Image | Expansion:
        return image

    assert spec_of(save).outputs == ()
    assert [slot.type for slot in spec_of(loop).outputs] == ["IMAGE"]


def test_list_parameter_of_a_list_node_is_the_mapped_socket() -> None:
    @node("Batch", input_is_list=True)
    def batch(images: list[Image], amounts: list[int]) -> Image:
        return images[0]

    assert {name: spec.type for name, spec in spec_of(batch).by_name.items()} == {"images": "IMAGE", "amounts": "INT"}


def test_async_functions_are_known_as_such() -> None:
    @node("Later")
    async def later() -> Image:
        return None

    assert spec_of(later).is_async


@pytest.mark.parametrize(
    ("annotations", "fault"),
    [
        ({"a": dict}, "no socket type"),
        ({"a": Annotated[int, Meta(gt=0)]}, "open bound"),
        ({"a": int | None}, "needs a default"),
        ({"a": int, "return": dict}, "no socket"),
        ({"a": int, "return": int | str}, "several return types"),
        ({"a": "Missing"}, "cannot be resolved"),
    ],
)
def test_functions_that_are_no_nodes_are_refused_at_import(annotations: dict[str, Any], fault: str) -> None:
    def wrong(a): ...

    wrong.__annotations__ = annotations
    with pytest.raises(NodeDefinitionError, match=fault):
        node("Wrong")(wrong)


def test_wrong_number_of_output_names_is_refused() -> None:
    with pytest.raises(NodeDefinitionError, match="names 2 outputs"):

        @node("Wrong", outputs=("a", "b"))
        def wrong() -> Image: ...


def test_collect_finds_the_modules_own_nodes() -> None:
    assert spec_of(everything) in collect(sys.modules[__name__])


def test_object_info_describes_a_class_in_comfyui_words() -> None:
    info = Registry([spec_of(everything)]).object_info("Everything")["Everything"]
    assert info["input"]["required"]["steps"] == [
        "INT",
        {"default": 20, "min": 1, "max": 100, "step": 5, "tooltip": "how many"},
    ]
    assert info["input"]["required"]["name"] == [["a", "b"], {}]
    assert info["input"]["optional"]["mask"] == ["IMAGE", {}]
    assert info["input_order"]["optional"] == ["mode", "mask"]
    assert info["output"] == ["IMAGE", "IMAGE"]
    assert info["output_is_list"] == [False, True]
    assert info["output_name"] == ["picture", "many"]
    assert info["display_name"] == "All of it"
    assert info["description"].startswith("Show every kind of input.")
    assert info["output_node"] is False
