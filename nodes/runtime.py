"""What a worker process has and its nodes share: a device, the models in memory, the model folders.

`start` is called once, before the first graph. Combo lists and fingerprints ask `current`, because they are wanted also
where no graph runs (validation, /object_info).
"""

import logging
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from models.folders import ModelFolders, read_extra_paths
from models.lora import LoraFile, load_lora
from models.memory import Level, Residency
from models.onnx import free_onnx
from models.sdxl import load_checkpoint

log = logging.getLogger(__name__)

_LORAS_KEPT = 4  # files in memory, each up to a few hundred MB; changing only a strength then reads nothing


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `start` may be told.

    extra_folders: more model folders by kind. device: auto, cpu, cuda, cuda:1, mps. budgets in bytes; threads of CPU
    arithmetic.
    """

    models_dirs: tuple[str, ...] = ("data/models",)
    extra_model_paths: str | None = None
    extra_folders: dict[str, tuple[str, ...]] = {}
    data_dir: str = "data"
    input_dir: str | None = None
    device: str = "auto"
    vram_bytes: int | None = None
    ram_bytes: int | None = None
    threads: int | None = None


class Runtime:
    """The worker's device, its loaded models and its folders."""

    def __init__(self, options: Options) -> None:
        self.device = choose_device(options.device)
        torch.set_num_threads(options.threads or physical_cores())
        on_cpu = self.device.type == "cpu"
        self.residency = Residency(
            self.device,
            budget_bytes=options.ram_bytes if on_cpu else options.vram_bytes,
            host_budget_bytes=None if on_cpu else options.ram_bytes,
        )
        extra = read_extra_paths(Path(options.extra_model_paths)) if options.extra_model_paths else {}
        for kind, folders in options.extra_folders.items():
            extra[kind] = [*extra.get(kind, ()), *map(Path, folders)]
        self.folders = ModelFolders(
            [Path(root) for root in options.models_dirs], extra, cache_dir=Path(options.data_dir)
        )
        self.input_dir = Path(options.input_dir or Path(options.data_dir) / "input")
        self.background = ThreadPoolExecutor(max_workers=2, thread_name_prefix="focal-files")
        """Threads for previews: encoding must not hold up the sampling thread."""

    guard = staticmethod(torch.inference_mode)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Give the generators of random numbers back as they were: no node of ours draws from those that a process
        shares, but one of somebody else's may, and must find them so after a graph that ran in between."""
        python, numpy = random.getstate(), np.random.get_state()
        try:
            with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
                yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)

    def about(self) -> dict[str, Any]:
        """Tell the device and what is loaded, for /system_stats and `focal doctor`."""
        told: dict[str, Any] = {
            "device": str(self.device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "budget_bytes": self.residency.budget_bytes,
            "loaded_bytes": self.residency.bytes_at(Level.DEVICE),
        }
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            told |= {"name": torch.cuda.get_device_name(self.device), "vram_free": free, "vram_total": total}
        return told

    def warm(self, checkpoint: str) -> None:
        """Load all parts of a checkpoint now, so that the first job does not wait for the disk."""
        model, clip, vae = load_checkpoint(self.folders.path("checkpoints", checkpoint), self.residency)
        for resident in (model.unet, *clip.encoders.values(), vae.module):
            with resident.use():
                pass

    def free(self) -> None:
        """Drop every model that is not in use."""
        _read_lora.cache_clear()
        free_onnx()
        self.residency.free()

    def lora(self, name: str) -> LoraFile:
        """Read a LoRA file; the last few stay in memory."""
        path = self.folders.path("loras", name)
        stat = path.stat()
        return _read_lora(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=_LORAS_KEPT)
def _read_lora(path: Path, size: int, modified_ns: int) -> LoraFile:
    return load_lora(path)


_running: list[Runtime] = []
_starting = threading.Lock()


def start(options: dict[str, Any] | None = None) -> Runtime:
    """Make this process's runtime from `Options` as a dict. Raises msgspec.ValidationError, BadFoldersFile."""
    runtime = Runtime(msgspec.convert(options or {}, Options, strict=False))
    with _starting:
        _running[:] = [runtime]
    log.info("Worker on %s, %d threads.", runtime.device, torch.get_num_threads())
    return runtime


def current() -> Runtime | None:
    """Return the runtime of this process, None before `start` (when only the nodes' schemas are wanted)."""
    return _running[0] if _running else None


def model_names(kind: str) -> list[str]:
    """List the files of a kind for a combo."""
    runtime = current()
    return runtime.folders.list(kind) if runtime else []


def file_identity(kind: str, name: str | None) -> tuple[str, int, int] | None:
    """Return path, size and time of change of a model file: another file under the name is another result."""
    runtime = current()
    if runtime is None or name is None:
        return None
    path = runtime.folders.path(kind, name)
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def embedding_files() -> list[tuple[str, int, int]]:
    """Return path, size and time of change of every embedding file."""
    runtime = current()
    names = runtime.folders.list("embeddings") if runtime else []
    return [identity for name in names if (identity := file_identity("embeddings", name))]


def choose_device(wish: str) -> torch.device:
    """Return the device that a setting names; auto takes CUDA, then Apple's, then the CPU."""
    if wish != "auto":
        return torch.device(wish)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def physical_cores() -> int:
    """Return the cores this process may use, hyper-threads counted once; OMP_NUM_THREADS has the last word."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = len({_siblings(cpu) for cpu in usable})
    return max(min(cores, _container_cores(Path("/sys/fs/cgroup/cpu.max")) or cores), 1)


def _container_cores(limit: Path) -> int | None:
    """Return how many cores' time a container may take, rounded up; more threads would wait for each other."""
    try:
        quota, period = limit.read_text().split()
        return None if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        return None


def _siblings(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)
