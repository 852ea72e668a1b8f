"""Telling about a node that failed: which one the user sees, what it was given, where it broke."""

from __future__ import annotations

import traceback
from typing import Any

from engine.errors import DependencyCycle
from engine.events import Failed
from engine.expansion import Origins
from engine.mapping import list_inputs
from engine.plan import Plan, Step
from engine.signature import PLAIN

SHOWN_CHARACTERS = 200
SHOWN_ELEMENTS = 20


def failed(job_id: str, step: Step, plan: Plan, origins: Origins, error: Exception, executed: list[str]) -> Failed:
    """Describe a failure at the submitted node that the step belongs to."""
    node_id = origins.real(step.node_id)
    message, code, hint = told(error)
    return Failed(
        job_id=job_id,
        node=node_id,
        node_type=plan.nodes[node_id].class_type,
        exception_type=type_name(error),
        message=message,
        traceback=traceback.format_tb(error.__traceback__),
        code=code,
        hint=hint,
        executed=executed,
        inputs={name: [*map(shown, values[:SHOWN_ELEMENTS])] for name, values in list_inputs(step, plan).items()},
    )


def told(error: Exception) -> tuple[str, str, str]:
    """Give message, code and hint: an error's own where it has them as FocalError does (those of models/ do)."""
    message, code, hint = (getattr(error, name, None) for name in ("message", "code", "hint"))
    if isinstance(message, str) and isinstance(code, str) and isinstance(hint, str):
        return message, code, hint
    return str(error), "node_failed", ""


def type_name(error: Exception) -> str:
    """Give the dotted name of an exception's class; builtins without prefix, a cycle under ComfyUI's name for it."""
    if isinstance(error, DependencyCycle):
        return "graph.DependencyCycleError"
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def shown(value: Any) -> str:
    """Give a short text for a value; never the contents of a tensor."""
    if type(value) in PLAIN:
        return str(value)[:SHOWN_CHARACTERS]
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__} {tuple(shape)}" if shape is not None else type(value).__name__
