"""Which node classes exist: the engine's only door to the nodes."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from engine.errors import DuplicateNode, UnknownNode
from engine.node import collect
from engine.types import NodeSpec

log = logging.getLogger(__name__)


class Registry:
    """Node classes by name. Iterates over names, in order of registration."""

    def __init__(self, specs: Iterable[NodeSpec] = ()) -> None:
        self.specs: dict[str, NodeSpec] = {}
        for spec in specs:
            self.register(spec)

    def __contains__(self, class_type: str) -> bool:
        return class_type in self.specs

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def register(self, spec: NodeSpec, *, replace: bool = False) -> NodeSpec:
        """Add a class. Raises DuplicateNode when the name is taken and `replace` is not set."""
        known = self.specs.get(spec.class_type)
        if known is not None and not replace:
            where = f"{known.python_module} and {spec.python_module}"
            raise DuplicateNode(f"Node class {spec.class_type!r}", f"Rename one of the two ({where}).")
        self.specs[spec.class_type] = spec
        return spec

    def get(self, class_type: str) -> NodeSpec:
        """Find a class. Raises UnknownNode."""
        found = self.specs.get(class_type)
        if found is None:
            raise UnknownNode(class_type)
        return found

    def load_module(self, name: str) -> list[NodeSpec]:
        """Import a module and, if it is a package, every module below it; register their nodes."""
        module = importlib.import_module(name)
        found = self._add(module)
        for info in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{name}."):
            found += self._add(importlib.import_module(info.name))
        return found

    def load_entry_points(self, group: str = "focal.nodes") -> list[NodeSpec]:
        """Register what installed packages offer: an entry point names a module (or package), or a list of NodeSpec.

        A package that fails to import is logged and left out; the others load.
        """
        from importlib.metadata import entry_points  # slow to import, and only the worker asks

        found: list[NodeSpec] = []
        for entry in entry_points(group=group):
            try:
                offered = entry.load()
            except Exception:  # somebody else's import may raise anything, and must not take the worker down
                log.exception("node package %s (%s) failed to import; its nodes are missing", entry.name, entry.value)
                continue
            if isinstance(offered, ModuleType):
                found += self.load_module(offered.__name__)
            else:
                found += [self.register(spec) for spec in offered]
        return found

    def object_info(self, class_type: str | None = None) -> dict[str, Any]:
        """Describe all classes, or one ({} when unknown), as ComfyUI's /object_info does. A class whose choices
        cannot be listed is logged and left out."""
        names = list(self.specs) if class_type is None else [class_type]
        found = {}
        for spec in (self.specs[name] for name in names if name in self.specs):
            try:
                found[spec.class_type] = describe(spec)
            except Exception:  # choices come from node code; one broken class must not hide the others
                log.exception("node class %s cannot be described", spec.class_type)
        return found

    def _add(self, module: ModuleType) -> list[NodeSpec]:
        return [self.register(spec) for spec in collect(module)]


def describe(spec: NodeSpec) -> dict[str, Any]:
    """Describe one class in /object_info's words."""
    required = {item.name: item.config() for item in spec.inputs if item.required}
    optional = {item.name: item.config() for item in spec.inputs if not item.required}
    inputs: dict[str, Any] = {"required": required}
    if optional:
        inputs["optional"] = optional
    if spec.hidden:
        inputs["hidden"] = dict(spec.hidden)
    told: dict[str, Any] = {
        "input": inputs,
        "input_order": {section: list(names) for section, names in inputs.items()},
        "output": [slot.type if isinstance(slot.type, list) else str(slot.type) for slot in spec.outputs],
        "output_is_list": [slot.is_list for slot in spec.outputs],
        "output_name": [slot.name or str(slot.type) for slot in spec.outputs],
        "name": spec.class_type,
        "display_name": spec.display_name or spec.class_type,
        "description": spec.description,
        "python_module": spec.python_module,
        "category": spec.category or "sd",
        "output_node": spec.output_node,
    }
    if any(slot.tooltip for slot in spec.outputs):
        told["output_tooltips"] = [slot.tooltip for slot in spec.outputs]
    return {**told, **spec.flags}
