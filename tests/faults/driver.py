"""The only kill harness: a server in its own process, killed from outside, and looked at afterwards.

As a script it is that server: it runs jobs of fake nodes from a data folder, submits new ones, and writes each id into
the file `acknowledged` when, and only when, the submission was answered.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from engine.jobs.job import NewJob
from engine.jobs.messages import WorkerConfig
from engine.jobs.process import WorkerLimits
from engine.jobs.queue import JobService
from engine.jobs.store import SqlStore
from engine.jobs.supervisor import Supervisor

ROOT = Path(__file__).parents[2]
FAKE_NODES = ROOT / "tests" / "unit" / "engine" / "jobs"
CLIENTS = 16


def supervisor(data: Path, limits: WorkerLimits | None = None) -> Supervisor:
    """Make a supervisor whose worker knows the fake nodes."""
    config = WorkerConfig(
        modules=("fake_nodes",), runtime="fake_nodes:start", entry_points=False, output_dir=str(data / "outputs")
    )
    return Supervisor(config, log_path=data / "worker.log", environment={"PYTHONPATH": str(FAKE_NODES)}, limits=limits)


def nap(steps: int = 1, seconds: float = 0.0, **changes) -> NewJob:
    """Make a job that naps and then writes a file."""
    graph = {
        "1": {"class_type": "Nap", "inputs": {"steps": steps, "seconds": seconds}},
        "2": {"class_type": "Write", "inputs": {"value": ["1", 0]}},
    }
    return NewJob(kind="test", contract="cli", graph=graph, outputs=("2",), **changes)


def one(class_type: str, **inputs) -> NewJob:
    """Make a job of a single output node."""
    graph = {"1": {"class_type": class_type, "inputs": inputs}}
    return NewJob(kind="test", contract="cli", graph=graph, outputs=("1",))


async def until(condition, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def acknowledged(data: Path) -> list[str]:
    """The ids that were answered; a torn last line was not."""
    path = data / "acknowledged"
    return [line for line in path.read_text().splitlines() if len(line) == 36] if path.exists() else []


def worker_pids(data: Path) -> list[int]:
    """Workers of servers on this folder that are alive, found by their environment."""
    mark = f"FAULTS_DATA={data}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"engine.jobs.worker" in (entry / "cmdline").read_bytes():
                found += [int(entry.name)] if mark in (entry / "environ").read_bytes().split(b"\0") else []
        except OSError:  # it ended meanwhile
            continue
    return found


@contextmanager
def server(data: Path, *, jobs: int = 0, steps: int = 1, seconds: float = 0.0, workers: int = 1):
    """Start a server process on a data folder; it is killed at the end of the block, if it has not ended."""
    arguments = [str(data), "--jobs", str(jobs), "--steps", str(steps), "--seconds", str(seconds)]
    arguments += ["--workers", str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FAULTS_DATA": str(data)}
    process = subprocess.Popen([sys.executable, str(Path(__file__)), *arguments], env=environment)
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


async def serve(data: Path, jobs: int, steps: int, seconds: float, workers: int) -> None:
    """Submit `jobs` jobs from several clients at once, run everything there is, end when nothing is left."""
    store = SqlStore(data / "jobs.sqlite3")
    service = JobService(store, [supervisor(data) for _ in range(workers)], queue_size=0)
    await service.start()
    numbers = iter(range(jobs))

    async def client() -> None:
        for _ in numbers:
            job = await service.submit(nap(steps, seconds))
            with (data / "acknowledged").open("a") as file:
                file.write(job.id + "\n")

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    if workers:
        await until(lambda: service.remaining == 0, 60)
    await service.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    asyncio.run(serve(given.data, given.jobs, given.steps, given.seconds, given.workers))
