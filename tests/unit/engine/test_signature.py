"""Keys in runs: what changes them and what never is found again. Properties of keys: tests/property/test_keys.py."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

from engine import Context, InputSpec, NodeSpec, OutputSpec, RunContext, Socket, Ui, node
from engine.signature import Unkeyable, encode

Thing = Annotated[Any, Socket("THING")]
Node = Callable[..., dict[str, Any]]


@node("Pass")
def pass_on(a: Thing) -> Thing:
    return a


@node("Show", output=True)
def show(a: Thing) -> Ui:
    return Ui({"values": [a]})


def identity(path: str) -> list[Any]:
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns]


@node("Read", fingerprint=identity)
def read(path: str) -> Thing:
    return Path(path).read_text()


def reading(n: Node, path: Path) -> dict[str, Any]:
    return {"1": n("Read", path=str(path)), "2": n("Pass", a=["1", 0]), "3": n("Show", a=["2", 0])}


def test_a_changed_file_is_read_again_and_so_is_what_follows(machine: Any, n: Node, tmp_path: Path) -> None:
    m = machine(read, pass_on, show)
    path = tmp_path / "a.txt"
    path.write_text("one")
    assert m.run(reading(n, path)).ui == {"3": {"values": ["one"]}}
    assert m.run(reading(n, path)).executed == []
    path.write_text("two!")
    assert m.run(reading(n, path)).ui == {"3": {"values": ["two!"]}}
    path.unlink()
    assert m.run(reading(n, path)).status == "failed"


def test_a_fingerprint_that_fails_or_is_nan_is_never_found_again(
    machine: Any, n: Node, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([float("nan"), float("nan"), RuntimeError("no"), {"nested": [float("nan")]}, object()])

    def fingerprint(value: int) -> Any:
        answer = next(answers)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    @node("Odd", fingerprint=fingerprint)
    def odd(value: int) -> Thing:
        return value

    m = machine(odd, pass_on, show)
    for _ in range(5):
        assert m.run({"1": n("Odd", value=1), "2": n("Pass", a=["1", 0]), "3": n("Show", a=["2", 0])}).executed == [
            "1",
            "2",
            "3",
        ]
    assert "fingerprint of node 1" in caplog.text


def test_a_fingerprint_sees_constants_none_for_links_and_the_context(machine: Any, n: Node, tmp_path: Path) -> None:
    got: list[Any] = []

    def fingerprint(ctx: Context, name: str, a: Any = None) -> Any:
        got.append((ctx.input_dir, name, a))
        return 1

    @node("Load", output=True, fingerprint=fingerprint)
    def load(ctx: Context, name: str, a: Thing) -> Ui:
        return Ui({})

    m = machine(load, pass_on)
    graph = {"1": n("Load", name="x", a=["2", 0]), "2": n("Pass", a=3)}
    m.run(graph, context=RunContext(input_dir=tmp_path))
    assert got == [(tmp_path, "x", None)]


def test_a_fingerprint_may_be_async_and_take_everything(machine: Any, n: Node) -> None:
    async def fingerprint(**inputs: Any) -> Any:
        return sorted(inputs)

    @node("Later", output=True, fingerprint=fingerprint)
    def later(value: int) -> Ui:
        return Ui({})

    m = machine(later)
    assert m.run({"1": n("Later", value=1)}).executed == ["1"]
    assert m.run({"1": n("Later", value=1)}).executed == []


def test_nodes_that_are_not_idempotent_share_nothing_between_ids(machine: Any, n: Node) -> None:
    @node("Dice", not_idempotent=True)
    def dice(value: int) -> Thing:
        return value

    m = machine(dice, show)
    graph = {"1": n("Dice", value=1), "2": n("Dice", value=1), "3": n("Show", a=["1", 0]), "4": n("Show", a=["2", 0])}
    assert m.run(graph).executed == ["1", "3", "2", "4"]
    assert m.run(graph).executed == []


def test_a_new_version_of_a_class_is_not_served_old_results(machine: Any, n: Node) -> None:
    def spec(version: int | str, answer: int) -> NodeSpec:
        return NodeSpec("Versioned", lambda: (answer,), outputs=(OutputSpec("THING"),), version=version)

    m = machine(spec(1, 1), show)
    graph = {"1": n("Versioned"), "2": n("Show", a=["1", 0])}
    assert m.run(graph).ui == {"2": {"values": [1]}}
    for version, answer in ((2, 2), ("2", 3)):
        m.registry.register(spec(version, answer), replace=True)
        assert m.run(graph).ui == {"2": {"values": [answer]}}


@pytest.mark.parametrize("value", [float("nan"), {"__value__": [float("nan")]}, {"deep": [{"x": float("nan")}]}])
def test_nan_constants_are_never_found_again(machine: Any, n: Node, value: Any) -> None:
    m = machine(show)
    for _ in range(2):
        assert m.run({"1": n("Show", a=value)}).executed == ["1"]


def test_inputs_that_a_class_accepts_openly_are_part_of_the_key(machine: Any, n: Node) -> None:
    spec = NodeSpec(
        "Open", lambda **inputs: Ui({"got": [inputs]}), output_node=True, open_input=lambda name: InputSpec(name, "INT")
    )
    m = machine(spec)
    assert m.run({"1": n("Open", x=1)}).ui == {"1": {"got": [{"x": 1}]}}
    assert m.run({"1": n("Open", x=2)}).ui == {"1": {"got": [{"x": 2}]}}
    assert m.run({"1": n("Open", y=2)}).ui == {"1": {"got": [{"y": 2}]}}


def test_values_that_only_look_alike_are_encoded_apart() -> None:
    values: list[Any] = [
        [], (), {}, "", b"", None, 0, False, 0.0, -0.0, "0", [0], [[0]], [[], 0], [0, []], {"a": 1}, {"a": 1.0},
        {"a": True}, {"a": "1"}, {"a": [1]}, {"a": {"b": 1}}, ["a", 1], ["a1"], ["a", "1"], 1 << 70, b"0", (0,),
    ]  # fmt: skip
    assert len({encode(value) for value in values}) == len(values)


def test_key_order_of_a_nested_object_does_not_matter() -> None:
    assert encode({"a": 1, "b": {"c": 2, "d": 3}}) == encode({"b": {"d": 3, "c": 2}, "a": 1})


def test_lists_as_deep_as_you_like_and_endless_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.signature.MAX_PARTS", 50_000)
    deep: list[Any] = []
    for _ in range(40_000):
        deep = [deep]
    assert encode(deep) != encode(deep[0])
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(Unkeyable):
        encode(endless)


@pytest.mark.parametrize("value", [object(), {1, 2}, type("Text", (str,), {})("x"), sys, [lambda: 0], {"a": object()}])
def test_things_without_content_cannot_be_encoded(value: Any) -> None:
    with pytest.raises(Unkeyable):
        encode(value)
