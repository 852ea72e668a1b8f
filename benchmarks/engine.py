"""What the engine itself costs per node, on nodes that do nothing.

    python benchmarks/engine.py [--json FILE] [--repeat N] [--sizes 10,100,...]

For each shape and size: JSON to Graph, validation, and a run in which every constant is new (plan, keys, cache look-up,
calls, cache stores, events), then the same graph again, posted as new JSON and fully cached. Best of N repetitions,
microseconds of processor time per node (the engine is single-threaded: on an idle machine that is wall time, on a
shared one it leaves out what others run, though not their use of the processor's caches). The exponent is the slope of
log(total time) over log(nodes): 1 is linear. From 100 nodes up it also shows where a graph outgrows those caches.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Annotated, Any

if not __package__:  # run as a script, this file would be found as the package it measures
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from engine import Graph, InputSpec, NodeSpec, OutputSpec, Registry, Socket, Ui, Widget, node, spec_of
from engine.cache import ResultCache
from engine.executor import Executor
from engine.validate import validate

Any1 = Annotated[Any, Socket("ANY")]
Amount = Annotated[int, Widget(default=0)]
Json = dict[str, Any]

COLLECT_FROM = 1000
TARGET_US_PER_NODE = 20.0
TARGET_CACHED_CHAIN_MS = 0.5
TARGET_EXPONENT = 1.1


@node("Source", category="bench")
def source(amount: Amount) -> Any1:
    """Give a constant."""
    return amount


@node("Pass", category="bench")
def pass_on(a: Any1, amount: Amount) -> Any1:
    """Give the input."""
    return a


@node("Join", category="bench")
def join(a: Any1, b: Any1) -> Any1:
    """Give the first of two inputs."""
    return a


@node("Out", category="bench", output=True)
def out(a: Any1) -> Ui:
    """Show nothing much."""
    return Ui({"text": ["done"]})


def _gather(**inputs: Any) -> tuple[()]:
    return ()


def _any_input(name: str) -> InputSpec:
    return InputSpec(name, "ANY")


GATHER = NodeSpec("Gather", _gather, output_node=True, open_input=_any_input, outputs=(OutputSpec("ANY"),))
REGISTRY = Registry([*(spec_of(f) for f in (source, pass_on, join, out)), GATHER])


def entry(class_type: str, **inputs: Any) -> Json:
    """Write one node."""
    return {"class_type": class_type, "inputs": inputs}


def chain(n: int, salt: int) -> Json:
    """One after the other."""
    nodes = {"0": entry("Source", amount=salt)}
    for i in range(1, n - 1):
        nodes[str(i)] = entry("Pass", a=[str(i - 1), 0], amount=i)
    return {**nodes, str(n - 1): entry("Out", a=[str(n - 2), 0])}


def fan_out(n: int, salt: int) -> Json:
    """One source, branches of two nodes, each with an output."""
    nodes = {"0": entry("Source", amount=salt)}
    for i in range(1, n - 1, 2):
        nodes[str(i)] = entry("Pass", a=["0", 0], amount=i)
        nodes[str(i + 1)] = entry("Out", a=[str(i), 0])
    return nodes


def fan_in(n: int, salt: int) -> Json:
    """All into one."""
    nodes = {str(i): entry("Source", amount=salt + i) for i in range(n - 1)}
    return {**nodes, "all": entry("Gather", **{f"in{i}": [str(i), 0] for i in range(n - 1)})}


def grid(n: int, salt: int) -> Json:
    """A square in which each node joins its left and its upper neighbour."""
    side = max(2, round(math.sqrt(n)))
    nodes: Json = {}
    for row in range(side):
        for column in range(side):
            here, left, up = f"{row},{column}", f"{row},{column - 1}", f"{row - 1},{column}"
            if row and column:
                nodes[here] = entry("Join", a=[left, 0], b=[up, 0])
            elif row or column:
                nodes[here] = entry("Pass", a=[up if row else left, 0], amount=row * side + column)
            else:
                nodes[here] = entry("Source", amount=salt)
    return {**nodes, "out": entry("Out", a=[f"{side - 1},{side - 1}", 0])}


SHAPES: dict[str, Callable[[int, int], Json]] = {"chain": chain, "fan-out": fan_out, "fan-in": fan_in, "grid": grid}


def measure(shape: str, size: int, repeat: int) -> dict[str, Any]:
    """Time the stages of one shape and size; seconds, best of `repeat`."""
    best: dict[str, float] = {}
    nodes = size
    executor = Executor(REGISTRY, ResultCache(1 << 30))
    for turn in range(repeat):
        data = SHAPES[shape](size, (turn + 1) * 1_000_000)
        nodes = len(data)
        executor.cache.clear()
        if size >= COLLECT_FROM:
            gc.collect()  # not for small graphs: it leaves the processor's caches cold
        for stage, seconds in one_turn(executor, data).items():
            best[stage] = min(best.get(stage, math.inf), seconds)
    return {"shape": shape, "nodes": nodes, "seconds": best}


def one_turn(executor: Executor, data: Json) -> dict[str, float]:
    """Time one new graph and its repetition."""
    start = process_time()
    graph = Graph.from_json(data)
    parsed = process_time()
    checked = validate(graph, REGISTRY)
    validated = process_time()
    new = executor.run(checked.graph, checked.outputs)
    ran = process_time()
    again = validate(Graph.from_json(data), REGISTRY)
    cached = executor.run(again.graph, again.outputs)
    end = process_time()
    assert new.status == cached.status == "succeeded", (new.error, cached.error)
    assert not cached.executed, cached.executed
    return {
        "parse": parsed - start,
        "validate": validated - parsed,
        "run": ran - validated,
        "total": ran - start,
        "cached": end - ran,
    }


def exponent(rows: list[dict[str, Any]], stage: str, least: int = 0) -> float:
    """Fit log(time) = slope * log(nodes) + c over graphs of at least `least` nodes; the slope."""
    points = [(math.log(r["nodes"]), math.log(r["seconds"][stage])) for r in rows if r["nodes"] >= least]
    if len(points) < 2:
        return float("nan")
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def main() -> None:
    """Print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description="engine cost per node")
    parser.add_argument("--json", type=Path, default=None, help="write the numbers to this file")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--sizes", default="10,100,1000,10000")
    chosen = parser.parse_args()
    sizes = [int(size) for size in chosen.sizes.split(",")]
    print(f"{'shape':8} {'nodes':>6} {'parse':>7} {'validate':>8} {'run':>7} {'total':>7} {'cached':>7}   us per node")
    rows, exponents = [], {}
    measure("chain", 100, 3)
    for shape in SHAPES:
        mine = [measure(shape, size, chosen.repeat) for size in sizes]
        rows += mine
        for row in mine:
            each = {stage: 1e6 * seconds / row["nodes"] for stage, seconds in row["seconds"].items()}
            row["us_per_node"] = each
            print(
                f"{shape:8} {row['nodes']:6} {each['parse']:7.2f} {each['validate']:8.2f} {each['run']:7.2f} "
                f"{each['total']:7.2f} {each['cached']:7.2f}"
            )
        exponents[shape] = {stage: exponent(mine, stage) for stage in ("total", "cached")}
        exponents[shape]["total from 100"] = exponent(mine, "total", least=90)
    worst = max(row["us_per_node"]["total"] for row in rows)
    hundred = next((r["seconds"]["cached"] * 1e3 for r in rows if r["shape"] == "chain" and r["nodes"] == 100), None)
    steepest = max(max(found["total"], found["cached"]) for found in exponents.values())
    for shape, found in exponents.items():
        print(f"exponent {shape:8}", ", ".join(f"{stage} {slope:.3f}" for stage, slope in found.items()))
    print(f"worst total {worst:.1f} us/node (target {TARGET_US_PER_NODE:g})")
    print(f"steepest exponent {steepest:.3f} (target {TARGET_EXPONENT:g})")
    if hundred is not None:
        print(f"cached re-run of a 100-node chain: {hundred:.3f} ms (target {TARGET_CACHED_CHAIN_MS:g})")
    if chosen.json is not None:
        report = {
            "machine": platform.platform(),
            "python": platform.python_version(),
            "load_average": os.getloadavg(),
            "rows": rows,
            "exponents": exponents,
            "worst_us_per_node": worst,
            "cached_chain_100_ms": hundred,
        }
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
