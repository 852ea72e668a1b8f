"""The shapes in which a refused graph is described: ComfyUI's error types, messages and extra fields."""

from __future__ import annotations

from typing import Any

from engine.types import InputSpec

Fault = dict[str, Any]
"""{"type", "message", "details", "extra_info"}"""

LISTED_CHOICES = 20
"""A longer list of choices is told by its length."""


def fault(kind: str, message: str, details: str = "", **extra_info: Any) -> Fault:
    """Make one error entry."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def unknown_nodes(names: list[tuple[str, Any]]) -> Fault:
    """Nodes whose class does not exist: (node id, class_type)."""
    details = "\n".join(f"Node ID '#{node_id}'" for node_id, _ in names)
    if len(names) == 1:
        message = f"Cannot execute because node {names[0][1]} does not exist."
        return fault("invalid_prompt", message, details)
    classes = ", ".join(sorted({str(class_type) for _, class_type in names}))
    message = f"Cannot execute because {len(names)} nodes are of classes that do not exist: {classes}."
    return fault("invalid_prompt", message, details, unknown_nodes={i: str(c) for i, c in names})


def missing(item: InputSpec) -> Fault:
    """A required input that is not there."""
    return fault("required_input_missing", "Required input is missing", item.name, input_name=item.name)


def bad_link(item: InputSpec, value: Any, choices: list[Any] | None) -> Fault:
    """A list that is no link."""
    message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
    return fault("bad_linked_input", message, item.name, **_about(item, choices), received_value=value)


def mismatch(item: InputSpec, received: Any, source: str, slot: int, choices: list[Any] | None) -> Fault:
    """A link between sockets of different types."""
    expected = choices if choices is not None else item.type
    received = received if isinstance(received, list) else str(received)
    details = f"{item.name}, received_type({received}) mismatch input_type({expected})"
    extra = {**_about(item, choices), "received_type": received, "linked_node": [source, slot]}
    return fault("return_type_mismatch", "Return type mismatch between linked nodes", details, **extra)


def not_convertible(item: InputSpec, value: Any, error: Exception) -> Fault:
    """A constant that cannot become the input's type."""
    message = f"Failed to convert an input value to a {item.type} value"
    details = f"{item.name}, {value}, {error}"
    extra = {**_about(item, None), "received_value": value, "exception_message": str(error)}
    return fault("invalid_input_type", message, details, **extra)


def too_small(item: InputSpec, value: Any) -> Fault:
    """A number below the input's minimum."""
    message = f"Value {value} smaller than min of {item.minimum}"
    return fault("value_smaller_than_min", message, item.name, **_about(item, None), received_value=value)


def too_big(item: InputSpec, value: Any) -> Fault:
    """A number above the input's maximum."""
    message = f"Value {value} bigger than max of {item.maximum}"
    return fault("value_bigger_than_max", message, item.name, **_about(item, None), received_value=value)


def not_in_list(item: InputSpec, value: Any, choices: list[Any]) -> Fault:
    """A combo value that is not among the choices."""
    about: dict[str, Any] = _about(item, choices)
    listed = str(choices)
    if len(choices) > LISTED_CHOICES:
        listed = f"(list of length {len(choices)})"
        about["input_config"] = None
    details = f"{item.name}: '{value}' not in {listed}"
    return fault("value_not_in_list", "Value not in list", details, **about, received_value=value)


def refused(name: str, answer: Any) -> Fault:
    """An input that the class's own validation refused; `answer` may say why."""
    details = name if answer is False else f"{name} - {answer}"
    return fault("custom_validation_failed", "Custom validation failed for node", details, input_name=name)


def raised(details: str, exception_type: str, consumer: InputSpec | None, linked: list[Any] | None) -> Fault:
    """An exception while a node was checked: a link to nowhere, or whatever its class's own code raised.

    consumer, linked: the link through which the faulty node is used; None at an output node.
    """
    if consumer is None:
        kind, message = "exception_during_validation", "Exception when validating node"
        return fault(kind, message, details, exception_type=exception_type, traceback=[])
    extra = {**_about(consumer, None), "exception_message": details, "exception_type": exception_type}
    kind, message = "exception_during_inner_validation", "Exception when validating inner node"
    return fault(kind, message, details, **extra, traceback=[], linked_node=linked)


def cycle(node_ids: list[str]) -> Fault:
    """Nodes that feed each other in a circle."""
    path = " -> ".join([*node_ids, node_ids[0]])
    return fault("dependency_cycle", "Nodes feed each other in a circle", path, nodes=node_ids)


def no_outputs() -> Fault:
    """Nothing to run."""
    return fault("prompt_no_outputs", "Prompt has no outputs")


def outputs_failed(own_faults: list[Fault]) -> Fault:
    """No output survived; own_faults: those of the output nodes themselves."""
    details = "\n".join(f"{item['message']}: {item['details']}" for item in own_faults)
    return fault("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)


def _about(item: InputSpec, choices: list[Any] | None) -> dict[str, Any]:
    config = [str(item.type) if choices is None else choices, item.options()]
    return {"input_name": item.name, "input_config": config}
