"""Coercion and fault reports of the wire decoder, by the table of the contract."""

from typing import Annotated, Literal

import pytest
from msgspec import UNSET, Meta, Struct, UnsetType

from api.decode import decode
from api.errors import MOST_FAULTS, Fault, InvalidRequest


class Inner(Struct):
    name: str
    weight: Annotated[float, Meta(ge=-2, le=2)] = 0.5


class Outer(Struct):
    ALIASES = {"words": ("text",)}

    count: Annotated[int, Meta(ge=1, le=32)] = 1
    size: Annotated[float, Meta(ge=0, le=30)] = 2.0
    flag: bool = False
    words: str = ""
    kind: Annotated[Literal["Speed", "Quality"], Meta(extra={"aliases": {"fast": "Speed"}})] = "Speed"
    items: list[Inner] | UnsetType = UNSET
    maybe: str | None = None


@pytest.mark.parametrize(
    ("field", "sent", "read"),
    [
        ("count", 2, 2),
        ("count", "2", 2),
        ("count", "2.0", 2),
        ("count", 2.0, 2),
        ("count", True, 1),
        ("size", "2.5", 2.5),
        ("size", 3, 3.0),
        ("size", True, 1.0),
        *[("flag", word, True) for word in (True, 1, "true", "True", "t", "yes", "Y", "on", "1", 1.0)],
        *[("flag", word, False) for word in (False, 0, "false", "F", "no", "n", "OFF", "0")],
        ("kind", "quality", "Quality"),
        ("kind", "FAST", "Speed"),
    ],
)
def test_values_are_read_as_lenient_clients_expect(field, sent, read):
    value = getattr(decode(Outer, {field: sent}), field)
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize(
    ("field", "sent", "type", "msg"),
    [
        ("count", 2.5, "int_from_float", "Input should be a valid integer, got a number with a fractional part"),
        ("count", "x", "int_parsing", "Input should be a valid integer, unable to parse string as an integer"),
        ("count", [], "int_type", "Input should be a valid integer"),
        ("count", 33, "less_than_equal", "Input should be less than or equal to 32"),
        ("count", 0, "greater_than_equal", "Input should be greater than or equal to 1"),
        ("size", "wide", "float_parsing", "Input should be a valid number, unable to parse string as a number"),
        ("size", "nan", "finite_number", "Input should be a finite number"),
        ("size", 10**400, "finite_number", "Input should be a finite number"),
        ("flag", "maybe", "bool_parsing", "Input should be a valid boolean, unable to interpret input"),
        ("flag", {}, "bool_type", "Input should be a valid boolean"),
        ("words", 5, "string_type", "Input should be a valid string"),
        ("kind", "slow", "enum", "Input should be 'Quality' or 'Speed'"),
        ("items", "a", "list_type", "Input should be a valid list"),
    ],
)
def test_a_wrong_value_is_refused_with_the_words_clients_know(field, sent, type, msg):
    with pytest.raises(InvalidRequest) as refused:
        decode(Outer, {field: sent})
    (fault,) = refused.value.faults
    assert (fault.type, fault.msg, fault.loc) == (type, msg, ("body", field))


def test_all_faults_are_reported_at_once_with_their_places():
    sent = {"count": 99, "items": [{"name": "a"}, {"weight": 3}, 7], "flag": "maybe"}
    with pytest.raises(InvalidRequest) as refused:
        decode(Outer, sent)
    assert [(fault.type, fault.loc) for fault in refused.value.faults] == [
        ("less_than_equal", ("body", "count")),
        ("bool_parsing", ("body", "flag")),
        ("missing", ("body", "items", 1, "name")),
        ("less_than_equal", ("body", "items", 1, "weight")),
        ("model_attributes_type", ("body", "items", 2)),
    ]


def test_of_very_many_faults_the_first_are_told_and_the_others_counted():
    with pytest.raises(InvalidRequest) as refused:
        decode(Outer, {"items": [5] * 5000, "count": 99})
    *told, last = refused.value.faults
    assert [fault.loc for fault in told[:2]] == [("body", "count"), ("body", "items", 0)]
    assert (len(told), last.type, last.ctx) == (MOST_FAULTS, "too_many_errors", {"left_out": 5001 - MOST_FAULTS})
    assert "4901 more errors" in last.msg


@pytest.mark.parametrize(("count", "more"), [(1, []), (MOST_FAULTS, []), (MOST_FAULTS + 1, [1])])
def test_nothing_is_counted_that_is_told(count, more):
    faults = InvalidRequest([Fault("missing", ("body",), "Field required")] * count).faults
    assert [fault.ctx for fault in faults[MOST_FAULTS:]] == [{"left_out": number} for number in more]
    assert len(faults) == count


def test_unknown_fields_and_nulls_count_as_not_given():
    assert decode(Outer, {"count": None, "items": None, "maybe": None, "denoising": 1}) == Outer()


def test_an_alias_is_read_and_the_canonical_name_wins():
    assert decode(Outer, {"text": "a"}).words == "a"
    assert decode(Outer, {"text": "a", "words": "b"}).words == "b"


def test_a_long_refused_value_is_cut_in_the_report():
    with pytest.raises(InvalidRequest) as refused:
        decode(Outer, {"count": "9" * 10_000})
    assert len(refused.value.faults[0].input) < 300


def test_something_that_is_no_object_is_refused_as_a_whole():
    with pytest.raises(InvalidRequest) as refused:
        decode(Outer, [1])
    assert refused.value.faults[0].loc == ("body",)
