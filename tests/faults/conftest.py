import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import driver

from engine.jobs.memory_store import MemoryStore
from engine.jobs.queue import JobService


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def running(tmp_path):
    """Run a job service with one worker, on a store in memory unless another is given."""

    @asynccontextmanager
    async def run(store=None, *, limits=None, **settings):
        service = JobService(store or MemoryStore(), [driver.supervisor(tmp_path, limits)], **settings)
        await service.start()
        try:
            yield service
        finally:
            await service.close()

    return run
