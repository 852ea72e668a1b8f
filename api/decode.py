"""Lenient decoding of plain data into msgspec structs that reports every fault at once.

The coercion rules are those that clients of the REST contracts rely on: numbers as text, booleans as words, `null`
for "not given", names in any case, unknown fields ignored. `msgspec.Meta(extra=...)` adds to a field: `choices` (a
literal's words in the order to print), `aliases` (other spellings of them), `lone` (a text in place of a list is its
one entry) and `read` (a function that checks or rewrites the value, raising ValueError). A field whose type says None
keeps a `null` that was sent.
"""

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect as types

from api.errors import MOST_FAULTS, Fault, InvalidRequest, shown

T = TypeVar("T", bound=msgspec.Struct)
Loc = tuple[str | int, ...]
Bounds = Mapping[str, tuple[float, float]]
_INTEGER = re.compile(r"\s*([+-]?\d{1,300})(?:\.0*)?\s*")
_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})


class _Refused(Exception):
    """A value that does not fit; becomes a Fault at the place where it stands."""

    def __init__(self, type: str, msg: str, **ctx: Any) -> None:
        super().__init__(msg)
        self.type, self.msg, self.ctx = type, msg, ctx

    def at(self, loc: Loc, value: Any, reading: "_Reading") -> None:
        reading.refuse(self.type, loc, self.msg, value, self.ctx or msgspec.UNSET)


def decode(cls: type[T], data: Any, loc: Loc = ("body",), bounds: Bounds | None = None) -> T:
    """Build a `cls` from parsed JSON, query parameters or form fields. Raises InvalidRequest with every fault.

    bounds: by "Struct.field", in place of those that the struct names.
    """
    reading = _Reading(bounds or {})
    value = _struct(_plan(cls), data, loc, reading)
    if reading.found:
        raise InvalidRequest(reading.faults, reading.found - len(reading.faults))
    return value


class _Reading:
    """One decoding: the bounds that hold for it, how many faults it found, and the first MOST_FAULTS of them."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.found = 0
        self.faults: list[Fault] = []

    def refuse(self, type: str, loc: Loc, msg: str, value: Any, ctx: Any = msgspec.UNSET) -> None:
        """Note a fault. Millions of them cost no memory."""
        self.found += 1
        if self.found <= MOST_FAULTS:
            self.faults.append(Fault(type, loc, msg, shown(value), ctx))

    def bound(self, cls: type, field: types.Field) -> types.Type:
        """The field's type, with the bounds of this decoding."""
        low_high = self.bounds.get(f"{cls.__name__}.{field.name}")
        return field.type if low_high is None else types.FloatType(ge=low_high[0], le=low_high[1])


@cache
def _plan(cls: type[msgspec.Struct]) -> types.StructType:
    plan = types.type_info(cls)
    assert isinstance(plan, types.StructType)
    return plan


def _struct(plan: types.StructType, data: Any, loc: Loc, reading: _Reading) -> Any:
    if not isinstance(data, Mapping):
        msg = "Input should be a valid dictionary or object to extract fields from"
        reading.refuse("model_attributes_type", loc, msg, data)
        return None
    aliases: dict[str, tuple[str, ...]] = getattr(plan.cls, "ALIASES", {})
    values: dict[str, Any] = {}
    before = reading.found
    for field in plan.fields:
        names = (field.name, *aliases.get(field.name, ()))
        name = next((n for n in names if data.get(n) is not None), None)
        if name is not None:
            values[field.name] = _value(reading.bound(plan.cls, field), data[name], (*loc, name), reading)
        elif _may_be_null(field.type) and any(n in data for n in names):
            values[field.name] = None
        elif field.required:
            reading.refuse("missing", (*loc, field.name), "Field required", dict(data))
    return plan.cls(**values) if reading.found == before else None


def _may_be_null(kind: types.Type) -> bool:
    return isinstance(kind, types.UnionType) and any(isinstance(t, types.NoneType) for t in kind.types)


def _value(kind: types.Type, value: Any, loc: Loc, reading: _Reading) -> Any:
    if isinstance(kind, types.UnionType):  # X | None | UnsetType: null never comes here
        kind = next(t for t in kind.types if not isinstance(t, types.NoneType))
    extra: Mapping[str, Any] = {}
    if isinstance(kind, types.Metadata):
        kind, extra = kind.type, kind.extra or {}
    if isinstance(kind, types.StructType):
        return _struct(kind, value, loc, reading)
    if isinstance(kind, types.ListType):
        return _list(kind, value, loc, reading, extra)
    try:
        return _read(extra, _scalar(kind, value, extra))
    except _Refused as refused:
        refused.at(loc, value, reading)
    return None


def _list(kind: types.ListType, value: Any, loc: Loc, reading: _Reading, extra: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and extra.get("lone"):
        value = [value]
    if not isinstance(value, list):
        reading.refuse("list_type", loc, "Input should be a valid list", value)
        return None
    before = reading.found
    items = [_value(kind.item_type, item, (*loc, i), reading) for i, item in enumerate(value)]
    try:
        return _read(extra, items) if reading.found == before else None
    except _Refused as refused:
        refused.at(loc, value, reading)
        return None


def _read(extra: Mapping[str, Any], value: Any) -> Any:
    if "read" not in extra:
        return value
    try:
        return extra["read"](value)
    except ValueError as error:
        raise _Refused("value_error", f"Value error, {error}", error=str(error)) from error


def _scalar(kind: types.Type, value: Any, extra: Mapping[str, Any]) -> Any:
    match kind:
        case types.BoolType():
            return _bool(value)
        case types.IntType():
            return _bounded(kind, _int(value))
        case types.FloatType():
            return _bounded(kind, _float(value))
        case types.StrType():
            return _str(value)
        case types.LiteralType():
            return _literal(extra.get("choices", kind.values), value, extra.get("aliases", {}))
        case _:
            return value


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise _Refused("string_type", "Input should be a valid string")
    return value


def _int(value: Any) -> int:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not value.is_integer():
            raise _Refused("int_from_float", "Input should be a valid integer, got a number with a fractional part")
        return int(value)
    if isinstance(value, str):
        if match := _INTEGER.fullmatch(value):
            return int(match[1])
        raise _Refused("int_parsing", "Input should be a valid integer, unable to parse string as an integer")
    raise _Refused("int_type", "Input should be a valid integer")


def _float(value: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            msg = "Input should be a valid number, unable to parse string as a number"
            raise _Refused("float_parsing", msg) from None
    if not isinstance(value, int | float):
        raise _Refused("float_type", "Input should be a valid number")
    if (isinstance(value, int) and abs(value) > 2**1000) or not math.isfinite(value):
        raise _Refused("finite_number", "Input should be a finite number")
    return float(value)


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else str(value).removesuffix(".0")
    if isinstance(value, str | int | float):
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise _Refused("bool_parsing", "Input should be a valid boolean, unable to interpret input")
    raise _Refused("bool_type", "Input should be a valid boolean")


def _bounded(kind: types.IntType | types.FloatType, value: float) -> Any:
    if kind.ge is not None and value < kind.ge:
        bound = f"{kind.ge:g}"
        raise _Refused("greater_than_equal", f"Input should be greater than or equal to {bound}", ge=kind.ge)
    if kind.le is not None and value > kind.le:
        bound = f"{kind.le:g}"
        raise _Refused("less_than_equal", f"Input should be less than or equal to {bound}", le=kind.le)
    return value


def _literal(choices: tuple[Any, ...], value: Any, aliases: Mapping[str, str]) -> Any:
    if value in choices:
        return value
    if isinstance(value, str):
        wanted = value.strip().casefold()
        wanted = aliases.get(wanted, wanted).casefold()
        for choice in choices:
            if isinstance(choice, str) and choice.casefold() == wanted:
                return choice
    quoted = [f"'{choice}'" for choice in choices]
    expected = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    raise _Refused("enum", f"Input should be {expected}", expected=expected)
