from typing import Any

import pytest

from engine.cache import ENTRY_BYTES, Result, ResultCache, value_bytes

SIZE = 10_000


def result(label: str = "") -> Result:
    return Result(((label,),))


def cache_of(entries: int, size: int = SIZE) -> ResultCache:
    """Make a cache with room for this many values of `size` bytes."""
    return ResultCache(entries * (size + ENTRY_BYTES), size_of=lambda value: size)


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_what_was_put_is_found_and_counted() -> None:
    cache = cache_of(3)
    cache.put(key(1), result("a"), 1.0)
    assert cache.get(key(1)) == result("a")
    assert cache.get(key(2)) is None
    assert key(1) in cache
    assert (len(cache), cache.bytes, cache.hits, cache.stores) == (1, SIZE + ENTRY_BYTES, 1, 1)


def test_the_cheapest_to_make_per_byte_goes_first() -> None:
    cache = cache_of(3)
    for number, seconds in ((1, 5.0), (2, 0.1), (3, 3.0), (4, 4.0)):
        cache.put(key(number), result(), seconds)
    assert [key(number) in cache for number in (1, 2, 3, 4)] == [True, False, True, True]


def test_size_counts_as_much_as_time() -> None:
    cache = ResultCache(100_000, size_of=lambda value: value)
    cache.put(key(1), Result(((60_000,),)), 1.0)  # a second for 60 kB
    cache.put(key(2), Result(((1_000,),)), 0.5)  # half a second for 1 kB
    cache.put(key(3), Result(((50_000,),)), 1.0)
    assert key(1) not in cache
    assert key(2) in cache
    assert key(3) in cache


def test_the_budget_is_never_exceeded() -> None:
    cache = ResultCache(50_000, size_of=lambda value: value)
    for number in range(500):
        cache.put(key(number), Result(((number * 37 % 20_000,),)), number * 13 % 7)
        assert cache.bytes <= 50_000
    assert cache.evictions > 0


def test_what_is_larger_than_the_budget_is_not_kept_and_evicts_nothing() -> None:
    cache = ResultCache(5_000, size_of=lambda value: value)
    cache.put(key(1), Result(((100,),)), 1.0)
    cache.put(key(2), Result(((10_000,),)), 100.0)
    assert key(1) in cache
    assert key(2) not in cache


def test_what_was_dear_long_ago_gives_way_to_what_is_used_now() -> None:
    cache = cache_of(3)
    cache.put(key(0), result(), 10.0)
    for number in range(1, 60):
        cache.put(key(number), result(), 1.0)
        cache.get(key(number))
    assert key(0) not in cache


def test_use_keeps_an_entry_among_equals() -> None:
    cache = cache_of(3)
    for number in range(1, 4):
        cache.put(key(number), result(), 1.0)
    for number in range(4, 10):
        assert cache.get(key(1)) is not None
        cache.put(key(number), result(), 1.0)
    assert key(1) in cache


def test_a_key_put_again_replaces_its_result() -> None:
    cache = cache_of(3)
    for label in "abc":
        cache.put(key(1), result(label), 1.0)
    assert cache.get(key(1)) == result("c")
    assert (len(cache), cache.bytes) == (1, SIZE + ENTRY_BYTES)
    for number in range(2, 6):
        cache.put(key(number), result(), 2.0)
    assert cache.bytes <= cache.budget_bytes


def test_resize_and_clear_give_memory_back() -> None:
    cache = cache_of(4)
    for number in range(4):
        cache.put(key(number), result(), number)
    cache.resize(2 * (SIZE + ENTRY_BYTES))
    assert [key(number) in cache for number in range(4)] == [False, False, True, True]
    cache.clear()
    assert (len(cache), cache.bytes, cache.get(key(3))) == (0, 0, None)


def test_a_budget_of_nothing_keeps_nothing() -> None:
    cache = ResultCache(0)
    cache.put(key(1), result(), 9.0)
    assert len(cache) == 0


class Array:
    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


class Storage:
    def nbytes(self) -> int:
        return 4_000_000


class View:
    """Like a torch tensor that shows a part of a larger storage."""

    nbytes = 16

    def untyped_storage(self) -> Storage:
        return Storage()


class Weights:
    cache_bytes = 0


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        (5, 1, 100),
        (None, 1, 100),
        ("x" * 1000, 1000, 1200),
        (Array(1_000_000), 1_000_000, 1_000_000),
        (View(), 4_000_000, 4_000_000),
        ({"samples": Array(1000), "noise_mask": None}, 1000, 2000),
        ([[Array(1000), {"pooled_output": Array(500)}]], 1500, 3000),
        (Weights(), 0, 0),
        (object(), 1, 100),
        (b"x" * 500, 500, 700),
    ],
)
def test_values_are_measured_by_what_they_hold(value: Any, least: int, most: int) -> None:
    assert least <= value_bytes(value) <= most


def test_shared_and_circular_parts_count_once() -> None:
    array = Array(1_000_000)
    circle: list[Any] = [array, array]
    circle.append(circle)
    assert value_bytes(circle) < 1_001_000
