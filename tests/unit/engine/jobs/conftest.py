import pytest

from engine.jobs.memory_store import MemoryStore
from engine.jobs.store import SqlStore


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
