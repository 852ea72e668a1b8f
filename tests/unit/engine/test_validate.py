"""Every fault of a graph's constants at once, in ComfyUI's shape."""

from typing import Annotated, Any

import pytest

from engine import Choices, Registry, Ui, node, spec_of
from engine.validate import validate
from tests.unit.engine.bodiless import REGISTRY, Image, entry, errors, files, kinds, listings, save, scaled


def test_a_sound_graph_gives_its_outputs_and_nothing_else() -> None:
    found = validate(scaled(), REGISTRY)
    assert (found.outputs, found.node_errors, found.error) == (["9"], {}, None)
    assert found.graph.to_json() == scaled()


def test_every_fault_of_every_node_is_reported_at_once() -> None:
    graph = scaled(width=8, factor="much", mode="middle", label="absent", mask=["1", 0])
    graph["1"]["inputs"]["name"] = "missing.png"
    found = validate(graph, REGISTRY)
    assert found.outputs == []
    assert sorted(kinds(found)) == [
        "invalid_input_type", "required_input_missing", "return_type_mismatch", "value_not_in_list",
        "value_smaller_than_min",
    ]  # fmt: skip
    assert kinds(found, "1") == ["value_not_in_list"]
    assert found.error is not None
    assert found.error["type"] == "prompt_outputs_failed_validation"
    assert "9" not in found.node_errors
    assert found.node_errors["1"]["dependent_outputs"] == ["9"]
    assert found.node_errors["1"]["class_type"] == "Load"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (
            {"width": 8},
            {
                "type": "value_smaller_than_min",
                "message": "Value 8 smaller than min of 16",
                "details": "width",
                "extra_info": {
                    "input_name": "width",
                    "input_config": ["INT", {"min": 16, "max": 64}],
                    "received_value": 8,
                },
            },
        ),
        (
            {"width": 65},
            {
                "type": "value_bigger_than_max",
                "message": "Value 65 bigger than max of 64",
                "details": "width",
                "extra_info": {
                    "input_name": "width",
                    "input_config": ["INT", {"min": 16, "max": 64}],
                    "received_value": 65,
                },
            },
        ),
        (
            {"mode": "middle"},
            {
                "type": "value_not_in_list",
                "message": "Value not in list",
                "details": "mode: 'middle' not in ['near', 'far']",
                "extra_info": {
                    "input_name": "mode",
                    "input_config": [["near", "far"], {"default": "near"}],
                    "received_value": "middle",
                },
            },
        ),
        (
            {"image": ["1", 1]},
            {
                "type": "return_type_mismatch",
                "message": "Return type mismatch between linked nodes",
                "details": "image, received_type(MASK) mismatch input_type(IMAGE)",
                "extra_info": {
                    "input_name": "image",
                    "input_config": ["IMAGE", {}],
                    "received_type": "MASK",
                    "linked_node": ["1", 1],
                },
            },
        ),
        (
            {"image": ["1", 0, 0]},
            {
                "type": "bad_linked_input",
                "message": "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                "details": "image",
                "extra_info": {"input_name": "image", "input_config": ["IMAGE", {}], "received_value": ["1", 0, 0]},
            },
        ),
        (
            {"label": "absent"},
            {
                "type": "required_input_missing",
                "message": "Required input is missing",
                "details": "label",
                "extra_info": {"input_name": "label"},
            },
        ),
    ],
)
def test_faults_have_comfyuis_shape(changes: dict[str, Any], error: dict[str, Any]) -> None:
    assert errors(validate(scaled(**changes), REGISTRY), "2") == [error]


def test_conversion_errors_carry_the_exceptions_text() -> None:
    (error,) = errors(validate(scaled(width="wide"), REGISTRY), "2")
    assert error["type"] == "invalid_input_type"
    assert error["extra_info"]["received_value"] == "wide"
    assert "invalid literal" in error["extra_info"]["exception_message"]


@pytest.mark.parametrize(
    ("name", "given", "converted"),
    [
        ("width", "64", 64),
        ("width", 32.9, 32),
        ("width", True, "too small"),
        ("factor", 2, 2.0),
        ("factor", "1e-3", 0.001),
        ("label", 5, "5"),
        ("keep", "false", True),
        ("keep", 0, False),
    ],
)
def test_constants_are_converted_in_a_copy_of_the_graph(name: str, given: Any, converted: Any) -> None:
    graph = scaled(**{name: given})
    found = validate(graph, REGISTRY)
    if converted == "too small":
        assert kinds(found) == ["value_smaller_than_min"]
        return
    value = found.graph.nodes["2"].inputs[name]
    assert (value, type(value)) == (converted, type(converted))
    assert graph == scaled(**{name: given})


def test_long_choices_are_told_by_their_length() -> None:
    @node("Pick", output=True)
    def pick(name: Annotated[str, Choices([f"file{i}" for i in range(30)])]) -> Ui: ...

    registry = Registry([spec_of(pick)])
    (error,) = errors(validate({"1": {"class_type": "Pick", "inputs": {"name": "x"}}}, registry), "1")
    assert error["details"] == "name: 'x' not in (list of length 30)"
    assert error["extra_info"]["input_config"] is None
    assert validate({"1": {"class_type": "Pick", "inputs": {"name": "file29"}}}, registry).error is None


def test_choices_are_listed_once_per_class_and_validation() -> None:
    graph = {str(i): {"class_type": "Load", "inputs": {"name": "a.png"}} for i in range(50)}
    graph |= {f"s{i}": {"class_type": "Save", "inputs": {"image": [str(i), 0]}} for i in range(50)}
    listings.clear()
    assert validate(graph, REGISTRY).error is None
    assert len(listings) == 1
    files.append("new.png")
    graph["0"]["inputs"]["name"] = "new.png"
    assert validate(graph, REGISTRY).error is None
    files.remove("new.png")


def test_list_widgets_are_unwrapped_checked_and_stay_wrapped_in_the_graph() -> None:
    def graph(texts: Any) -> dict[str, Any]:
        return {
            "1": {"class_type": "Words", "inputs": {"texts": texts}},
            "2": {"class_type": "Save", "inputs": {"image": ["1", 0]}},
        }

    texts = {"__value__": ["a", "b"]}
    assert validate(graph(texts), REGISTRY).graph.nodes["1"].inputs["texts"] == texts
    assert validate(graph({"__value__": [1]}), REGISTRY).graph.nodes["1"].inputs["texts"] == {"__value__": ["1"]}
    assert validate(graph(["only"]), REGISTRY).graph.nodes["1"].inputs["texts"] == {"__value__": ["only"]}
    assert kinds(validate(graph("a"), REGISTRY), "1") == ["invalid_input_type"]


def test_choices_that_cannot_be_listed_are_a_fault_of_their_node() -> None:
    def no_folder() -> list[str]:
        raise PermissionError("models")

    @node("Closed")
    def closed(name: Annotated[str, Choices(no_folder)]) -> Image: ...

    graph = {"1": entry("Closed", name="x"), "2": entry("Save", image=["1", 0])}
    (error,) = errors(validate(graph, Registry([spec_of(closed), spec_of(save)])), "1")
    assert (error["type"], error["details"]) == ("exception_during_inner_validation", "models")
    assert error["extra_info"]["exception_type"] == "PermissionError"


def test_wrapped_constant_is_unwrapped() -> None:
    assert validate(scaled(width={"__value__": 40}), REGISTRY).graph.nodes["2"].inputs["width"] == 40
