"""Parsing of request bodies: depth, size of numbers, encodings."""

import time

import pytest

from api.body import MAX_DEPTH, parse, too_deep
from api.errors import InvalidRequest


def test_a_byte_order_mark_is_skipped():
    assert parse(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_a_seed_of_64_bits_keeps_every_digit():
    assert parse(b'{"image_seed": 9223372036854775807}') == {"image_seed": 2**63 - 1}


@pytest.mark.parametrize("body", [b"{", b'{"a": }', b"nul", b'{"a": "\xff"}', b'{"a": NaN}', b'"\\ud800"'])
def test_malformed_json_is_refused_with_an_offset(body):
    with pytest.raises(InvalidRequest) as refused:
        parse(body)
    (fault,) = refused.value.faults
    assert fault.type == "json_invalid"
    assert fault.loc[0] == "body"
    assert isinstance(fault.loc[1], int)


@pytest.mark.parametrize("body", [b"", b"  \n"])
def test_an_absent_body_is_a_missing_field(body):
    with pytest.raises(InvalidRequest) as refused:
        parse(body)
    assert refused.value.faults[0].loc == ("body",)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_deep_nesting_is_refused_quickly(body):
    start = time.perf_counter()
    with pytest.raises(InvalidRequest):
        parse(body)
    assert time.perf_counter() - start < 0.05


def test_brackets_inside_strings_are_no_depth():
    assert not too_deep(b'{"prompt": "' + b"[" * 1000 + b'\\"[[["}')
    assert not too_deep(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert too_deep(b"[" * (MAX_DEPTH + 1))


def test_many_flat_arrays_are_not_deep():
    assert parse(b"[" + b",".join([b"[1]"] * 1000) + b"]") == [[1]] * 1000
