"""`focal graph run|show|validate FILE`: graphs in ComfyUI's API format from the terminal."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from api.cli.failure import Failure
from api.cli.run import run_in
from api.engine_room import running, worker_config
from api.library import Library
from api.settings import Loaded, Settings
from engine.errors import InvalidGraph
from engine.graph import Graph
from engine.jobs.job import Job, NewJob
from engine.jobs.memory_store import MemoryStore


def run(parsed: argparse.Namespace, loaded: Loaded, notes: list[str]) -> int:
    graph = _read(parsed.file)
    if parsed.action == "show":
        return _show(graph, parsed)
    verdict, job = asyncio.run(_in_worker(loaded.settings, graph, parsed))
    if parsed.action == "validate":
        return _report(verdict, parsed)
    if job is None:
        _print_faults(verdict)
        return 1
    if parsed.json:
        print(msgspec.json.format(msgspec.json.encode(job.result)).decode())
    else:
        for file in job.files():
            folder = loaded.settings.temp_dir if file.type == "temp" else loaded.settings.outputs_dir
            print(folder / file.subfolder / file.filename)
    return 0


def _read(file: Path) -> Graph:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.") from error
    try:
        content = msgspec.json.decode(data)
        wrapped = isinstance(content, dict) and isinstance(content.get("prompt"), dict)
        return Graph.from_json(content["prompt"] if wrapped else content)  # a saved body of POST /prompt will do
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{file} is not JSON: {error}.") from error
    except InvalidGraph as error:
        raise Failure(f"{file} is no graph in API format: {error}") from error


async def _in_worker(settings: Settings, graph: Graph, parsed: argparse.Namespace) -> tuple[dict[str, Any], Job | None]:
    """Validate the graph and, when that is wanted and it can run, run it."""
    async with running(settings, MemoryStore(), worker_config(settings, Library(settings))) as room:
        verdict = await room.worker.call("validate", graph=graph.to_json(), timeout_s=300)
        if parsed.action == "validate" or not verdict["outputs"]:
            return verdict, None
        new = NewJob(kind="Graph", contract="cli", graph=verdict["graph"], outputs=tuple(verdict["outputs"]))
        return verdict, await run_in(room, new, quiet=parsed.json)


def _show(graph: Graph, parsed: argparse.Namespace) -> int:
    if parsed.json:
        print(msgspec.json.format(graph.to_bytes()).decode())
        return 0
    for node_id, node in graph.nodes.items():
        inputs = ", ".join(f"{name}={_value(value)}" for name, value in node.to_json()["inputs"].items())
        print(f"{node_id:>4}  {node.class_type}({inputs})")
    print(f"{len(graph)} nodes, hash {graph.hash}")
    return 0


def _value(value: Any) -> str:
    if isinstance(value, list) and len(value) == 2:
        return f"#{value[0]}.{value[1]}"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."


def _report(verdict: dict[str, Any], parsed: argparse.Namespace) -> int:
    if parsed.json:
        told = {name: verdict[name] for name in ("outputs", "node_errors", "error")}
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
    elif verdict["outputs"] and not verdict["node_errors"]:
        print(f"valid; outputs: {', '.join(verdict['outputs'])}")
    else:
        _print_faults(verdict)
    return 0 if verdict["outputs"] and not verdict["node_errors"] else 1


def _print_faults(verdict: dict[str, Any]) -> None:
    if error := verdict["error"]:
        print(f"{error['type']}: {error['message']} {error['details']}".strip(), file=sys.stderr)
    for node_id, node in verdict["node_errors"].items():
        for fault in node["errors"]:
            text = f"node {node_id} ({node['class_type']}): {fault['message']} {fault['details']}"
            print(text.strip(), file=sys.stderr)
