import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any

import pytest

from engine import ANY, Choices, InputSpec, NodeSpec, OutputSpec, Registry, node, spec_of
from engine.errors import DuplicateNode, UnknownNode

NODES = """
from engine import node

@node("{name}")
def function(value: int) -> int:
    return value
"""


def spec(name: str) -> NodeSpec:
    return NodeSpec(name, call=lambda: ())


def test_a_name_is_registered_once() -> None:
    registry = Registry([spec("A")])
    with pytest.raises(DuplicateNode, match="'A'"):
        registry.register(spec("A"))
    replacement = registry.register(spec("A"), replace=True)
    assert registry.get("A") is replacement
    assert list(registry) == ["A"]
    assert "A" in registry


def test_unknown_class_says_what_to_do() -> None:
    with pytest.raises(UnknownNode, match="focal nodes list") as caught:
        Registry().get("Nothing")
    assert caught.value.code == "unknown_node"


def test_every_module_of_a_package_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pack_of_nodes"
    (package / "deeper").mkdir(parents=True)
    for path, name in (("__init__", "Top"), ("one", "One"), ("deeper/__init__", "Deeper"), ("deeper/two", "Two")):
        (package / f"{path}.py").write_text(NODES.format(name=name))
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry()
    found = registry.load_module("pack_of_nodes")
    assert {s.class_type for s in found} == set(registry) == {"Top", "One", "Deeper", "Two"}


def test_entry_points_that_fail_to_import_do_not_take_the_others_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "good_nodes.py").write_text(NODES.format(name="Good"))
    (tmp_path / "bad_nodes.py").write_text("raise RuntimeError('broken pack')")
    monkeypatch.syspath_prepend(str(tmp_path))
    group = "focal.nodes"
    offered = [EntryPoint("bad", "bad_nodes", group), EntryPoint("good", "good_nodes", group)]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: offered)
    registry = Registry()
    assert [s.class_type for s in registry.load_entry_points()] == ["Good"]
    assert "bad_nodes" in caplog.text


def test_class_whose_choices_cannot_be_listed_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def no_folder() -> list[str]:
        raise FileNotFoundError("models")

    @node("Broken")
    def broken(name: Annotated[str, Choices(no_folder)]) -> int: ...

    registry = Registry([spec_of(broken), spec("Fine")])
    assert list(registry.object_info()) == ["Fine"]
    assert "Broken" in caplog.text
    assert registry.object_info("Missing") == {}


def test_choices_are_listed_anew_each_time() -> None:
    files = ["a"]

    @node("Load")
    def load(name: Annotated[str, Choices(lambda: files)]) -> int: ...

    registry = Registry([spec_of(load)])
    files.append("b")
    assert registry.object_info("Load")["Load"]["input"]["required"]["name"][0] == ["a", "b"]


def test_any_type_is_described_as_a_star() -> None:
    info = Registry(
        [NodeSpec("P", call=print, inputs=(InputSpec("a", ANY),), outputs=(OutputSpec(ANY), OutputSpec(["x", "y"])))]
    ).object_info()["P"]
    described: list[Any] = [info["input"]["required"]["a"][0], *info["output"]]
    assert described == ["*", "*", ["x", "y"]]
    assert type(described[0]) is type(described[1]) is str


def test_the_engine_imports_no_heavy_library() -> None:
    heavy = {"torch", "numpy", "networkx", "starlette", "sqlalchemy"}
    code = f"import engine, engine.executor, engine.validate, sys; print(sorted(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
