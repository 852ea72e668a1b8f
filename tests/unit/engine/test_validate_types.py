"""Nodes that check their inputs themselves, and which types fit which."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from engine import ANY, Context, Graph, InputSpec, NodeSpec, OutputSpec, Registry, RunContext, Ui, node, spec_of
from engine.validate import Validation, types_fit, validate
from tests.unit.engine.bodiless import (
    Image,
    errors,
    kinds,
    load,
    save,
    scale,
    scaled,
)


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
