"""How fast jobs are taken: submissions per second into the store on this disk, every one flushed before it is answered.

    python -m benchmarks.jobs [--jobs 1000] [--json]

Sixteen clients share transactions (group commit), one client pays for each flush alone.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from engine.jobs.job import NewJob
from engine.jobs.store import SqlStore

GRAPH = {str(n): {"class_type": "KSampler", "inputs": {"seed": n, "text": "x" * 200}} for n in range(12)}


async def measure(clients: int, jobs: int) -> dict[str, float]:
    """Give submissions per second, and the median and 99th percentile of one in ms."""
    waits: list[float] = []
    numbers = iter(range(jobs))
    with tempfile.TemporaryDirectory(dir=".") as folder:
        store = SqlStore(Path(folder) / "jobs.sqlite3")
        await store.open()

        async def client() -> None:
            for _ in numbers:
                started = time.perf_counter()
                await store.submit(NewJob(kind="benchmark", contract="cli", graph=GRAPH))
                waits.append((time.perf_counter() - started) * 1e3)

        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        seconds = time.perf_counter() - started
        await store.close()
    waits.sort()
    return {"per_second": jobs / seconds, "median_ms": waits[jobs // 2], "p99_ms": waits[int(jobs * 0.99)]}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = {clients: asyncio.run(measure(clients, given.jobs)) for clients in (1, 16, 64)}
    if given.json:
        print(json.dumps(results))
        return
    print(f"{'clients':>8} {'submits/s':>10} {'median ms':>10} {'p99 ms':>8}")
    for clients, result in results.items():
        print(f"{clients:>8} {result['per_second']:>10.0f} {result['median_ms']:>10.1f} {result['p99_ms']:>8.1f}")


if __name__ == "__main__":
    main()
