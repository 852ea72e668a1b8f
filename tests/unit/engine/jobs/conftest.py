from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.jobs.job import NewJob
from engine.jobs.memory_store import MemoryStore
from engine.jobs.messages import WorkerConfig
from engine.jobs.process import WorkerLimits
from engine.jobs.queue import JobService
from engine.jobs.store import SqlStore
from engine.jobs.supervisor import Supervisor

HERE = Path(__file__).parent


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(params=["sqlite", "memory"])
async def store(request, tmp_path):
    """Both stores, one after the other: what holds for one holds for the other."""
    store = SqlStore(tmp_path / "jobs.sqlite3") if request.param == "sqlite" else MemoryStore()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def worker(tmp_path):
    """Make a supervisor whose worker knows the fake nodes."""

    def make(limits=None, **config) -> Supervisor:
        settings = {
            "modules": ("fake_nodes",),
            "runtime": "fake_nodes:start",
            "entry_points": False,
            "output_dir": str(tmp_path / "outputs"),
        }
        return Supervisor(
            WorkerConfig(**(settings | config)),
            log_path=tmp_path / "logs" / "worker.log",
            environment={"PYTHONPATH": str(HERE)},
            limits=replace(limits or WorkerLimits(), pauses_s=(0.0, 0.05)),
        )

    return make


@pytest.fixture
def running(worker):
    """Run a job service with one worker, on a store in memory unless another is given."""

    @asynccontextmanager
    async def run(store=None, *, limits=None, config=None, **settings):
        service = JobService(store or MemoryStore(), [worker(limits, **(config or {}))], **settings)
        await service.start()
        try:
            yield service
        finally:
            await service.close()

    return run


@pytest.fixture
def nap():
    """Make a job that naps and then writes a file."""

    def make(steps=1, seconds=0.0, seed=0, **changes) -> NewJob:
        graph = {
            "1": {"class_type": "Nap", "inputs": {"steps": steps, "seconds": seconds, "seed": seed}},
            "2": {"class_type": "Write", "inputs": {"value": ["1", 0]}},
        }
        return NewJob(kind="test", contract="cli", graph=graph, outputs=("2",), **changes)

    return make


@pytest.fixture
def one():
    """Make a job of a single output node."""

    def make(class_type, _first=None, **inputs) -> NewJob:
        graph = {"1": {"class_type": class_type, "inputs": inputs}}
        return NewJob(kind="test", contract="cli", graph=graph, outputs=("1",))

    return make
