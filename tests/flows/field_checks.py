"""What a changed field may do to the graph that a request compiles to: one function per kind of effect."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from graphs.save import Compiled
from graphs.wildcards import SHIPPED

Check = Callable[[Compiled, Compiled], None]


@dataclass(frozen=True)
class Row:
    """What to ask besides PLAIN, the value to give the field then, and what it must change."""

    start: dict[str, Any]
    value: Any
    check: Check


def inputs(compiled: Compiled, class_type: str, name: str) -> list[Any]:
    """One input of all nodes of a class; constants as they are, links as the class they come from."""
    graph = compiled.graph.to_json()
    found = [node["inputs"].get(name) for node in graph.values() if node["class_type"] == class_type]
    links = [graph[value[0]]["class_type"] if isinstance(value, list) else value for value in found]
    return [value["__value__"] if isinstance(value, dict) else value for value in links]


def classes(compiled: Compiled) -> list[str]:
    return sorted(node["class_type"] for node in compiled.graph.to_json().values())


def without_metadata(compiled: Compiled) -> dict[str, Any]:
    graph = compiled.graph.to_json()
    return {
        name: {**node, "inputs": {k: v for k, v in node["inputs"].items() if k not in ("metadata", "scheme")}}
        for name, node in graph.items()
    }


def sets(class_type: str, name: str, before: Any, after: Any) -> Check:
    """An input of every node of a class goes from one value to another."""

    def check(old: Compiled, new: Compiled) -> None:
        assert set(map(str, inputs(old, class_type, name))) == {str(before)}
        assert set(map(str, inputs(new, class_type, name))) == {str(after)}

    return check


def adds(*names: str) -> Check:
    """Nodes of these classes come, none goes."""

    def check(old: Compiled, new: Compiled) -> None:
        more = classes(new)
        for name in classes(old):
            more.remove(name)
        assert sorted(set(more)) == sorted(names)

    return check


def loses(*names: str) -> Check:
    return lambda old, new: adds(*names)(new, old)


def together(*checks: Check) -> Check:
    def check(old: Compiled, new: Compiled) -> None:
        for one in checks:
            one(old, new)

    return check


def seeds(*wanted: int) -> Check:
    def check(old: Compiled, new: Compiled) -> None:
        assert [image.seed for image in new.images] == list(wanted) != [image.seed for image in old.images]

    return check


def only_metadata(words: str) -> Check:
    """The picture stays; what is written into its file has these words."""

    def check(old: Compiled, new: Compiled) -> None:
        assert without_metadata(old) == without_metadata(new)
        assert words in str(inputs(new, "SaveGeneration", "metadata"))
        assert words not in str(inputs(old, "SaveGeneration", "metadata"))

    return check


def previews(old: Compiled, new: Compiled) -> None:
    assert (old.preview, new.preview) == (True, False)
    assert without_metadata(old) == without_metadata(new)


def texts(*wanted: Sequence[str]) -> Check:
    """What is encoded, positive then negative."""

    def check(old: Compiled, new: Compiled) -> None:
        assert inputs(new, "EncodePrompts", "texts") == [list(chunks) for chunks in wanted]
        assert inputs(old, "EncodePrompts", "texts") != inputs(new, "EncodePrompts", "texts")

    return check


def encoded(word: str) -> Check:
    """A word is encoded that was not."""

    def check(old: Compiled, new: Compiled) -> None:
        assert word in str(inputs(new, "EncodePrompts", "texts"))
        assert word not in str(inputs(old, "EncodePrompts", "texts"))

    return check


def order(first: str, second: str) -> Check:
    """Where one class comes before another in a graph, it comes after it in the other."""

    def place(compiled: Compiled, name: str) -> int:
        return [node["class_type"] for node in compiled.graph.to_json().values()].index(name)

    def check(old: Compiled, new: Compiled) -> None:
        assert place(old, first) < place(old, second)
        assert place(new, first) > place(new, second)

    return check


def at_least(*names: str) -> Check:
    """Nodes of these classes come, perhaps with others."""

    def check(old: Compiled, new: Compiled) -> None:
        assert set(names) <= set(classes(new))
        assert not set(names) & set(classes(old))

    return check


def no_more(*names: str) -> Check:
    return lambda old, new: at_least(*names)(new, old)


def counts(word: str, before: int, after: int) -> Check:
    """In how many prompts a word stands."""

    def check(old: Compiled, new: Compiled) -> None:
        found = [sum(word in str(chunks) for chunks in inputs(one, "EncodePrompts", "texts")) for one in (old, new)]
        assert found == [before, after]

    return check


def pictures(before: int, after: int) -> Check:
    def check(old: Compiled, new: Compiled) -> None:
        assert (len(old.images), len(new.images)) == (before, after)

    return check


def differ(old: Compiled, new: Compiled) -> None:
    """Masks have tests of their own for what differs."""
    assert without_metadata(old) != without_metadata(new)


def no_metadata(old: Compiled, new: Compiled) -> None:
    assert inputs(new, "SaveGeneration", "metadata") == [""]
    assert inputs(old, "SaveGeneration", "metadata") != [""]


def colours_in_order(old: Compiled, new: Compiled) -> None:
    first, second = (SHIPPED / "color.txt").read_text().splitlines()[:2]
    assert inputs(new, "EncodePrompts", "texts")[::2] == [[f"a {first} cat"], [f"a {second} cat"]]
    assert inputs(old, "EncodePrompts", "texts") != inputs(new, "EncodePrompts", "texts")


def changed(struct: Any, path: str, value: Any) -> Any:
    """A copy with the field at a path changed; of lists, the first entry's."""
    name, _, rest = path.partition(".")
    if not rest:
        return replace(struct, **{name: value})
    inner = getattr(struct, name)
    if isinstance(inner, list | tuple):
        return replace(struct, **{name: [changed(inner[0], rest, value), *inner[1:]]})
    return replace(struct, **{name: changed(inner, rest, value)})
