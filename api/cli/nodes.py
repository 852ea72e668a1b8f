"""`focal nodes list|show`: what a graph can be made of. The worker is asked, since packs may bring nodes."""

import argparse
import asyncio
from typing import Any

import msgspec

from api.cli.failure import Failure
from api.engine_room import running, worker_config
from api.library import Library
from api.settings import Loaded
from engine.jobs.memory_store import MemoryStore
from graphs.names import did_you_mean


def run(parsed: argparse.Namespace, loaded: Loaded, notes: list[str]) -> int:
    if parsed.action == "show" and not parsed.name:
        raise Failure("Which node? `focal nodes show KSampler`; `focal nodes list` names them all.")
    known = asyncio.run(_object_info(loaded))
    if parsed.action == "list":
        return _list(known, parsed)
    if parsed.name not in known:
        raise Failure(f"There is no node class {parsed.name!r}.{did_you_mean(parsed.name, known)}")
    if parsed.json:
        print(msgspec.json.format(msgspec.json.encode(known[parsed.name])).decode())
    else:
        _show(known[parsed.name])
    return 0


async def _object_info(loaded: Loaded) -> dict[str, Any]:
    settings = loaded.settings
    async with running(settings, MemoryStore(), worker_config(settings, Library(settings))) as engine_room:
        return await engine_room.worker.call("object_info")


def _list(known: dict[str, Any], parsed: argparse.Namespace) -> int:
    if parsed.json:
        print(msgspec.json.format(msgspec.json.encode(sorted(known))).decode())
        return 0
    width = max(map(len, known), default=0)
    for name in sorted(known, key=lambda name: (known[name]["category"], name)):
        summary = (known[name]["description"] or "").partition("\n")[0]
        print(f"{name:{width}}  {known[name]['category']:20}  {summary}".rstrip())
    return 0


def _show(node: dict[str, Any]) -> None:
    print(f"{node['name']}  ({node['category']}, {node['python_module']})")
    if node["description"]:
        print(f"\n{node['description']}\n")
    for section, inputs in node["input"].items():
        for name, config in inputs.items() if section != "hidden" else ():
            kind, options = config[0], config[1] if len(config) > 1 else {}
            words = (
                kind
                if isinstance(kind, str)
                else " | ".join(map(str, kind[:12])) + (" | ..." if len(kind) > 12 else "")
            )
            bounds = ", ".join(f"{key} {options[key]}" for key in ("default", "min", "max") if key in options)
            print(f"  {section:8}  {name}: {words}" + (f"  ({bounds})" if bounds else ""))
    for name, kind in zip(node["output_name"], node["output"], strict=True):
        print(f"  gives     {name}: {kind if isinstance(kind, str) else 'COMBO'}")
