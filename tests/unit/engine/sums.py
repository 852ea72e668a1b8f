"""Nodes that do sums and note that they were called."""

from collections.abc import Callable
from typing import Annotated, Any

from engine import Socket, Ui, node

Thing = Annotated[Any, Socket("THING")]
Node = Callable[..., dict[str, Any]]

calls: list[Any] = []


@node("Source")
def source(value: int) -> Thing:
    calls.append(("Source", value))
    return value


@node("Add")
def add(a: Thing, b: Thing) -> Thing:
    calls.append(("Add", a, b))
    return a + b


@node("Split")
def split(a: Thing) -> tuple[Thing, Thing]:
    return a, -a


@node("Show", output=True)
def show(a: Thing, label: str = "") -> Ui:
    calls.append(("Show", a))
    return Ui({"values": [a]})


@node("Write", output=True, cacheable=False)
def write(a: Thing) -> Ui:
    calls.append(("Write", a))
    return Ui({"files": [f"{a}.png"]})


@node("Fail")
def fail(a: Thing, message: str = "no such luck") -> Thing:
    calls.append(("Fail", a))
    raise ValueError(message)


NODES = (source, add, split, show, write, fail)


def two_outputs(n: Node) -> dict[str, Any]:
    return {
        "1": n("Source", value=1),
        "2": n("Source", value=2),
        "3": n("Add", a=["1", 0], b=["2", 0]),
        "4": n("Show", a=["3", 0]),
        "5": n("Add", a=["3", 0], b=["3", 0]),
        "6": n("Show", a=["5", 0]),
    }
