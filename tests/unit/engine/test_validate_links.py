"""Which nodes of a graph are checked: outputs, targets, links and cycles."""

import pytest

from engine.validate import validate
from tests.unit.engine.bodiless import REGISTRY, errors, kinds, scaled


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
