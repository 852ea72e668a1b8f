"""Checking the constants of a graph against their inputs: type, bounds, choices."""

from __future__ import annotations

from typing import Any

from engine import faults
from engine.faults import Fault
from engine.graph import unwrap
from engine.types import CONVERSIONS, InputSpec, NodeSpec

LIST_SUFFIX = "_LIST"
HASHED_CHOICES = 16
"""From this many choices on, membership is looked up in a set."""

Checked = tuple[Fault | None, Any]
"""A fault, or None and the value to use."""


class ConstantChecker:
    """Checks constants for one validation: choices that a class lists by calling something are listed once."""

    def __init__(self) -> None:
        self._choices: dict[tuple[str, str], tuple[list[Any] | None, frozenset[Any] | None]] = {}

    def choices(self, spec: NodeSpec, item: InputSpec) -> list[Any] | None:
        """List what is allowed for an input; None when it is no combo."""
        return None if item.choices is None else self._listed(spec, item)[0]

    def check(self, spec: NodeSpec, item: InputSpec, value: Any, bounded: bool) -> Checked:
        """Check one constant. bounded: False when the class checks bounds and choices itself."""
        if type(value) is list and not item.is_list_widget:
            return faults.bad_link(item, value, self.choices(spec, item)), value
        inner = unwrap(value)
        if item.is_list_widget:
            return self._check_list(item, value, inner)
        problem, converted = self._check_one(spec, item, inner, bounded)
        if inner is not value and type(inner) is list:
            return problem, value  # it stays wrapped: a bare list would be taken for a link
        return problem, converted

    def _check_list(self, item: InputSpec, value: Any, inner: Any) -> Checked:
        convert = CONVERSIONS[item.type.removesuffix(LIST_SUFFIX)]
        try:
            if type(inner) is not list:
                raise TypeError(f"expected a list, wrapped as {{'__value__': [...]}}, got {type(inner).__name__}")
            converted = [convert(element) for element in inner]
        except (TypeError, ValueError, OverflowError) as error:
            return faults.not_convertible(item, value, error), value
        same = inner is not value and list(map(type, converted)) == list(map(type, inner))
        return None, value if same else {"__value__": converted}

    def _check_one(self, spec: NodeSpec, item: InputSpec, value: Any, bounded: bool) -> Checked:
        convert = CONVERSIONS.get(item.type)
        try:
            if convert is not None and type(value) is not convert:
                value = convert(value)
            if not bounded:
                return None, value
            if item.minimum is not None and value < item.minimum:
                return faults.too_small(item, value), value
            if item.maximum is not None and value > item.maximum:
                return faults.too_big(item, value), value
        except (TypeError, ValueError, OverflowError) as error:
            return faults.not_convertible(item, value, error), value
        if item.choices is not None:
            listed, hashed = self._listed(spec, item)
            if listed is not None and not _contains(listed, hashed, value):
                return faults.not_in_list(item, value, listed), value
        return None, value

    def _listed(self, spec: NodeSpec, item: InputSpec) -> tuple[list[Any] | None, frozenset[Any] | None]:
        where = (spec.class_type, item.name)
        if where not in self._choices:
            listed = item.current_choices()
            plain = listed is not None and len(listed) >= HASHED_CHOICES and all(type(c) is str for c in listed)
            self._choices[where] = (listed, frozenset(listed) if plain and listed is not None else None)
        return self._choices[where]


def _contains(listed: list[Any], hashed: frozenset[Any] | None, value: Any) -> bool:
    if hashed is not None and isinstance(value, str):
        return value in hashed
    return value in listed
