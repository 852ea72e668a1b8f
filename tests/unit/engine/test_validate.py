from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from engine import (
    ANY,
    Choices,
    Context,
    Graph,
    InputSpec,
    NodeSpec,
    OutputSpec,
    Registry,
    RunContext,
    Socket,
    Ui,
    node,
    spec_of,
)
from engine.validate import Validation, types_fit, validate

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


def test_unknown_classes_refuse_the_graph_and_other_faults_are_told_too() -> None:
    graph = scaled(width=1)
    graph["7"] = {"class_type": "Nowhere", "inputs": {}}
    found = validate(graph, REGISTRY)
    assert found.outputs == []
    assert found.error == {
        "type": "invalid_prompt",
        "message": "Cannot execute because node Nowhere does not exist.",
        "details": "Node ID '#7'",
        "extra_info": {},
    }
    assert kinds(found) == ["value_smaller_than_min"]
    graph["8"] = {"class_type": "Gone", "inputs": {}}
    error = validate(graph, REGISTRY).error
    assert error is not None
    assert error["details"] == "Node ID '#7'\nNode ID '#8'"


def test_json_that_is_no_graph_is_an_invalid_prompt() -> None:
    found = validate({"3": {"inputs": {}}}, REGISTRY)
    assert found.error is not None
    assert (found.error["type"], found.error["details"]) == ("invalid_prompt", "Node ID '#3'")


@pytest.mark.parametrize("targets", [[], ["1"], ["nowhere"]])
def test_targets_without_an_output_node_leave_nothing_to_run(targets: list[str]) -> None:
    found = validate(scaled(), REGISTRY, targets)
    assert found.error is not None
    assert found.error["type"] == "prompt_no_outputs"


def test_targets_choose_among_the_outputs_and_others_are_not_checked() -> None:
    graph = scaled()
    graph["10"] = {"class_type": "Save", "inputs": {}}
    found = validate(graph, REGISTRY, ["9", "1"])
    assert (found.outputs, found.node_errors, found.error) == (["9"], {}, None)


def test_one_sound_output_is_enough() -> None:
    graph = scaled()
    graph["10"] = {"class_type": "Save", "inputs": {}}
    found = validate(graph, REGISTRY)
    assert found.outputs == ["9"]
    assert found.error is None
    assert found.node_errors["10"]["dependent_outputs"] == ["10"]


def test_error_details_are_those_of_the_outputs_themselves() -> None:
    found = validate({"1": {"class_type": "Save", "inputs": {}}}, REGISTRY)
    assert found.error is not None
    assert found.error["details"] == "Required input is missing: image"


def test_nodes_that_no_output_needs_are_not_checked() -> None:
    graph = scaled()
    graph["5"] = {"class_type": "Scale", "inputs": {"width": "x"}}
    assert validate(graph, REGISTRY).node_errors == {}


def test_undeclared_constants_and_links_are_not_checked() -> None:
    graph = scaled(surplus=5, more=["5", 0])
    graph["5"] = {"class_type": "Scale", "inputs": {"width": "x"}}
    assert validate(graph, REGISTRY).error is None


def test_link_to_a_missing_node_is_told_at_the_node_that_has_it() -> None:
    found = validate(scaled(image=["99", 0]), REGISTRY)
    (error,) = errors(found, "2")
    assert error["type"] == "exception_during_inner_validation"
    assert "'99'" in error["details"]
    assert error["extra_info"]["linked_node"] == ["2", 0]
    assert error["extra_info"]["exception_type"] == "KeyError"
    at_root = validate({"9": {"class_type": "Save", "inputs": {"image": ["99", 0]}}}, REGISTRY)
    assert kinds(at_root, "9") == ["exception_during_validation"]


@pytest.mark.parametrize("slot", [2, -1])
def test_link_to_a_missing_slot_is_told(slot: int) -> None:
    (error,) = errors(validate(scaled(image=["1", slot]), REGISTRY), "2")
    assert error["type"] == "exception_during_inner_validation"
    assert f"output {slot}" in error["details"]


def test_cycles_are_reported_with_their_nodes() -> None:
    graph = scaled(image=["3", 0])
    graph["3"] = {"class_type": "Scale", "inputs": {**graph["2"]["inputs"], "image": ["4", 0]}}
    graph["4"] = {"class_type": "Scale", "inputs": {**graph["2"]["inputs"], "image": ["2", 0]}}
    found = validate(graph, REGISTRY)
    assert found.outputs == []
    (faulty,) = found.node_errors
    (error,) = errors(found, faulty)
    assert error["type"] == "dependency_cycle"
    assert sorted(error["extra_info"]["nodes"]) == ["2", "3", "4"]
    assert found.node_errors[faulty]["dependent_outputs"] == ["9"]


def test_a_node_that_feeds_itself_is_a_cycle() -> None:
    found = validate(scaled(image=["2", 0]), REGISTRY)
    (error,) = errors(found, "2")
    assert error["extra_info"]["nodes"] == ["2"]


def test_a_chain_of_ten_thousand_nodes_is_validated() -> None:
    count = 10_000
    graph = scaled()
    inputs = {k: v for k, v in graph["2"]["inputs"].items() if k != "image"}
    graph |= {
        f"c{i}": {"class_type": "Scale", "inputs": {**inputs, "image": [f"c{i - 1}" if i else "1", 0]}}
        for i in range(count)
    }
    graph["9"]["inputs"]["image"] = [f"c{count - 1}", 0]
    assert validate(graph, REGISTRY).outputs == ["9"]
    graph["c0"]["inputs"]["image"] = [f"c{count - 1}", 0]
    assert validate(graph, REGISTRY).error is not None


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


class TestOwnValidation:
    def found(self, answer: Callable[..., Any], **inputs: Any) -> Validation:
        @node("Own", output=True, validate=answer)
        def own(
            ctx: Context, width: Annotated[int, Meta(ge=16)], name: Literal["a"], image: Image | None = None
        ) -> Ui: ...

        graph = {
            "1": {"class_type": "Load", "inputs": {"name": "a.png"}},
            "2": {"class_type": "Own", "inputs": {"width": 16, "name": "a", **inputs}},
        }
        context = RunContext(job_id="the job")
        return validate(graph, Registry([spec_of(own), spec_of(load)]), context=context)

    def test_named_inputs_are_its_own_to_check(self) -> None:
        assert self.found(lambda width: True, width=1).error is None
        assert kinds(self.found(lambda width: True, name="b")) == ["value_not_in_list"]
        assert self.found(lambda **inputs: True, width=1, name="b").error is None

    def test_an_answer_that_is_not_true_is_a_fault_per_named_input(self) -> None:
        found = self.found(lambda width, name: "too odd")
        assert [item["details"] for item in errors(found, "2")] == ["width - too odd", "name - too odd"]
        assert errors(self.found(lambda width: False), "2")[0]["details"] == "width"

    def test_linked_inputs_arrive_as_none_and_constants_converted(self) -> None:
        seen: dict[str, Any] = {}

        def answer(width: int, image: Any) -> bool:
            seen.update(width=width, image=image)
            return True

        assert self.found(answer, width="20", image=["1", 0]).error is None
        assert seen == {"width": 20, "image": None}

    def test_input_types_switch_off_the_check_of_link_types(self) -> None:
        seen: dict[str, Any] = {}

        def answer(input_types: dict[str, str]) -> bool:
            seen.update(input_types)
            return True

        assert self.found(answer, image=["1", 1]).error is None
        assert seen == {"image": "MASK"}

    def test_an_exception_is_a_fault(self) -> None:
        def answer(width: int) -> bool:
            raise RuntimeError("no disk")

        (error,) = errors(self.found(answer), "2")
        assert (error["type"], error["details"]) == ("exception_during_validation", "no disk")

    def test_it_may_be_async_and_see_the_context(self) -> None:
        async def answer(width: int, ctx: Context) -> Any:
            return ctx.job_id

        assert errors(self.found(answer), "2")[0]["details"] == "width - the job"


class Fits(str):
    """A pack's own wildcard."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return False

    __eq__ = str.__eq__
    __hash__ = str.__hash__


@pytest.mark.parametrize(
    ("received", "expected", "fits"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "MASK", False),
        ("IMAGE", "MASK, IMAGE", True),
        ("INT,FLOAT", "STRING,FLOAT", True),
        ("*", "IMAGE", False),
        ("IMAGE", "*", False),
        (ANY, "IMAGE", True),
        ("IMAGE", ANY, True),
        (Fits("*"), "IMAGE", True),
        ("IMAGE", Fits("*"), True),
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["a"], False),
        (["a"], "STRING", False),
        ("STRING", ["a"], False),
        ("COMBO", ["a"], True),
        (["a"], ANY, True),
    ],
)
def test_types_fit_as_comfyui_compares_them(received: Any, expected: Any, fits: bool) -> None:
    assert types_fit(received, expected) is fits


def test_open_inputs_are_checked_like_declared_ones() -> None:
    spec = NodeSpec(
        "Open", call=lambda **inputs: (), output_node=True,
        open_input=lambda name: InputSpec(name, "INT", minimum=3) if name.startswith("n") else None,
    )  # fmt: skip
    graph = Graph.from_json({"1": {"class_type": "Open", "inputs": {"n1": "5", "n2": 1, "other": "x"}}})
    found = validate(graph, Registry([spec]))
    assert [item["details"] for item in errors(found, "1")] == ["n2"]
    assert found.graph.nodes["1"].inputs["n1"] == 5


def test_combo_outputs_fit_equal_choices() -> None:
    choose = NodeSpec("Choose", call=lambda: ("near",), outputs=(OutputSpec(["near", "far"]), OutputSpec(["near"])))
    registry = Registry([choose, *(spec_of(f) for f in (load, scale, save))])
    graph = {**scaled(mode=["5", 0]), "5": {"class_type": "Choose", "inputs": {}}}
    assert validate(graph, registry).error is None
    assert kinds(validate({**graph, **{"2": scaled(mode=["5", 1])["2"]}}, registry)) == ["return_type_mismatch"]
