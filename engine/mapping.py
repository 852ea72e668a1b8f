"""Lists: how often a node is called with what, and how the answers become output slots.

Every output slot has elements, nearly always one. A node is called once per element of its longest input
(shorter ones repeat their last), or once with whole lists (`input_is_list`). A slot declared `is_list` takes a call's
list apart again. Batches inside a tensor are no lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.cache import Outputs
from engine.errors import BadNodeResult, NodeInputError
from engine.graph import Link, unwrap
from engine.plan import Plan, Step, passed
from engine.signature import PLAIN
from engine.types import ExecutionBlocker, Expansion, NodeSpec, Ui


def single_inputs(step: Step, plan: Plan) -> dict[str, Any] | None:
    """Give the arguments of the common case: every source has one element and none blocks. None for all other cases."""
    steps = plan.steps
    arguments: dict[str, Any] = {}
    for name, value in passed(step.spec, step.node):
        kind = type(value)
        if kind is Link:
            outputs = steps[value[0]].outputs
            if outputs is None or not 0 <= value[1] < len(outputs):
                return None
            elements = outputs[value[1]]
            if len(elements) != 1 or type(elements[0]) is ExecutionBlocker:
                return None
            arguments[name] = elements[0]
        else:
            arguments[name] = value if kind in PLAIN else unwrap(value)
    return arguments


def list_inputs(step: Step, plan: Plan) -> dict[str, Sequence[Any]]:
    """Give every input's elements; a lazy one not computed, or a slot the source does not have, is one None."""
    arguments: dict[str, Sequence[Any]] = {}
    for name, value in passed(step.spec, step.node):
        if type(value) is not Link:
            arguments[name] = (unwrap(value),)
            continue
        source = plan.steps.get(value.source)
        outputs = None if source is None else source.outputs
        if name in step.spec.raw_names:
            arguments[name] = (list(value),)
        elif outputs is None or not 0 <= value.slot < len(outputs):
            arguments[name] = (None,)
        else:
            arguments[name] = outputs[value.slot]
    return arguments


def calls(spec: NodeSpec, inputs: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Spread inputs over calls. Raises NodeInputError for an empty list beside a filled one."""
    if spec.input_is_list:
        return [{name: list(values) for name, values in inputs.items()}]
    count = max(map(len, inputs.values()), default=1) or 1
    empty = [name for name, values in inputs.items() if not values]
    if empty and len(empty) < len(inputs):
        raise NodeInputError(f"Input {empty[0]!r} of {spec.class_type} is an empty list.", "Give it an element.")
    return [{name: values[min(i, len(values) - 1)] for name, values in inputs.items() if values} for i in range(count)]


def blocker_in(spec: NodeSpec, arguments: Mapping[str, Any]) -> ExecutionBlocker | None:
    """Find the blocker that keeps this call from being made."""
    for value in arguments.values():
        if type(value) is ExecutionBlocker:
            return value
        if spec.input_is_list and type(value) is list:
            for item in value:
                if type(item) is ExecutionBlocker:
                    return item
    return None


def values_of(spec: NodeSpec, returned: Any) -> tuple[Any, ...]:
    """Read one call's return value as a tuple of outputs. Raises BadNodeResult."""
    kind = type(returned)
    if kind is Ui or kind is Expansion:
        values = returned.result
        if type(values) is not ExecutionBlocker:
            return tuple(values)
        returned, kind = values, ExecutionBlocker
    if kind is ExecutionBlocker:
        return (returned,) * len(spec.outputs)
    if spec.single_output:
        return (returned,)
    if kind is tuple or kind is list:
        return tuple(returned)
    if returned is None and not spec.outputs:
        return ()
    raise BadNodeResult(spec.class_type, f"returned {kind.__name__}, not a tuple of {len(spec.outputs)} outputs")


def merge(spec: NodeSpec, answers: Sequence[tuple[Any, ...]]) -> Outputs:
    """Join the calls' outputs slot by slot. Raises BadNodeResult when a list slot did not get a list."""
    if len(answers) == 1 and not spec.has_list_slot:
        return tuple([(value,) for value in answers[0]])
    width = max(map(len, answers), default=0)
    slots: list[list[Any]] = [[] for _ in range(width)]
    for answer in answers:
        for index, value in enumerate(answer):
            if is_list_slot(spec, index) and type(value) is not ExecutionBlocker:
                slots[index].extend(as_list(spec, index, value))
            else:
                slots[index].append(value)
    return tuple(map(tuple, slots))


def is_list_slot(spec: NodeSpec, index: int) -> bool:
    """Whether slot `index` is declared as a list."""
    return index < len(spec.outputs) and spec.outputs[index].is_list


def as_list(spec: NodeSpec, index: int, value: Any) -> Sequence[Any]:
    """Check that a list slot got a list. Raises BadNodeResult."""
    if isinstance(value, list | tuple):
        return value
    raise BadNodeResult(spec.class_type, f"returned {type(value).__name__} for output {index}, which is a list")


def merge_ui(returned: Sequence[Any]) -> dict[str, list[Any]] | None:
    """Join what the calls show: lists of the same key one after the other."""
    if len(returned) == 1 and type(returned[0]) is tuple:
        return None
    shown = [answer.ui for answer in returned if isinstance(answer, (Ui, Expansion)) and answer.ui is not None]
    if not shown:
        return None
    merged: dict[str, list[Any]] = {}
    for ui in shown:
        for name, values in ui.items():
            merged.setdefault(name, []).extend(values)
    return merged
