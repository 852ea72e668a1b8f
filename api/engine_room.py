"""The queue and its worker, started and stopped together: the server and the terminal commands run the same way."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from api.library import Library
from api.settings import Settings
from engine.jobs.interface import JobStore
from engine.jobs.job import Job
from engine.jobs.messages import WorkerConfig
from engine.jobs.queue import JobService
from engine.jobs.supervisor import Supervisor


@dataclass(frozen=True)
class EngineRoom:
    """A running queue with its one worker."""

    jobs: JobService
    worker: Supervisor


def worker_config(settings: Settings, library: Library, *, warm: bool = False) -> WorkerConfig:
    """What the worker is told. warm: load the default checkpoint before the first job asks for it."""
    data = settings.data.resolve()
    return WorkerConfig(
        options={
            "models_dirs": [str(settings.models_dir.resolve())],
            "extra_folders": {kind: [str(path.resolve()) for path in paths] for kind, paths in library.extra.items()},
            "data_dir": str(data),
            "input_dir": str(settings.input_dir.resolve()),
            "device": settings.device,
            "vram_bytes": settings.vram,
            "ram_bytes": settings.ram,
        },
        warm=library.catalog.default_checkpoint if warm else None,
        output_dir=str(settings.outputs_dir.resolve()),
        input_dir=str(settings.input_dir.resolve()),
        temp_dir=str(settings.temp_dir.resolve()),
        log_level=settings.log_level.upper(),
    )


@asynccontextmanager
async def running(
    settings: Settings,
    store: JobStore,
    config: WorkerConfig,
    *,
    on_end: Callable[[Job], None] | None = None,
) -> AsyncIterator[EngineRoom]:
    """Start the queue and its worker; both end with the block. Raises StoreInUse, StoreTooNew, StoreUnavailable."""
    settings.data.mkdir(parents=True, exist_ok=True)
    worker = Supervisor(config, log_path=settings.data / "logs" / "worker.log")
    jobs = JobService(store, [worker], queue_size=settings.queue_size, on_end=on_end)
    try:
        await jobs.start()
        yield EngineRoom(jobs, worker)
    finally:
        await jobs.close()
