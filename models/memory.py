"""What is in memory, and where: models load once, stay within a byte budget and are evicted least valuable first."""

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Sequence

import torch

from models.dtypes import DtypePolicy
from models.errors import OutOfMemory
from models.merge import Merge, Patch, signature
from models.resident import GIB, Level, Loader, Resident

__all__ = ["DtypePolicy", "Level", "Loader", "Residency", "Resident"]

logger = logging.getLogger(__name__)

HOST_RESERVE_BYTES = 4 * GIB  # left to the system, the API process and pictures
DEVICE_SHARE = 0.92  # of a GPU's memory; the rest is context, kernels and fragmentation


class Residency:
    """All modules of one device, under one budget. Thread-safe.

    budget_bytes: weights and working memory on the device (default: most of it). host_budget_bytes: weights offloaded
    from a GPU into main memory; on a CPU there is no such level and evicted weights are read from the file again.
    """

    def __init__(
        self,
        device: str | torch.device = "cpu",
        budget_bytes: int | None = None,
        dtypes: DtypePolicy | None = None,
        host_budget_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.device = torch.device(device)
        self.dtypes = dtypes or DtypePolicy.for_device(self.device)
        host = _host_bytes()
        apart = self.device.type == "cuda"  # a device with memory of its own
        self.budget_bytes = budget_bytes or (_device_bytes(self.device) if apart else host)
        self.host_budget_bytes = (host if apart else 0) if host_budget_bytes is None else host_budget_bytes
        self._residents: dict[Hashable, Resident] = {}
        self._changed = threading.Condition(threading.RLock())
        self._working_bytes = 0
        self._clock = clock

    def load(self, key: Hashable, loader: Loader) -> Resident:
        """Return the module of this key, making a handle for it the first time. Weights are read at the first use."""
        with self._changed:
            resident = self._residents.get(key)
            if resident is None:
                resident = self._residents[key] = Resident(self, key, loader)
            return resident

    def bytes_at(self, level: Level) -> int:
        """Return the bytes of all weights at a level."""
        with self._changed:
            return sum(r.bytes for r in self._residents.values() if r.level is level)

    def free(self) -> None:
        """Drop everything that is not in use."""
        with self._changed:
            for resident in self._idle(Level.HOST) + self._idle(Level.DEVICE):
                self._drop(resident)
            self._return_device_memory()

    def acquire(self, resident: Resident, loras: Sequence[Patch], working_bytes: int) -> None:
        """Pin a module on the device with these LoRAs (`Resident.use` does this)."""
        wanted = signature(loras)
        with self._changed:
            while resident._holders and resident._merge.patches != wanted:
                if threading.get_ident() in resident._holders:
                    raise RuntimeError(f"{resident!r} is in use by this thread with other LoRAs")
                self._changed.wait()
            resident._holders.append(threading.get_ident())
            self._working_bytes += working_bytes
            try:
                # Tensors made in inference mode could never be changed outside of it, as LoRAs do.
                with torch.inference_mode(False), torch.no_grad():
                    self._bring(resident)
                    resident._merge.switch(resident._module, loras)
                    self._make_room(0)  # base copies may have gone over the budget
            except BaseException:
                self.release(resident, working_bytes)
                raise

    def release(self, resident: Resident, working_bytes: int) -> None:
        """Unpin."""
        with self._changed:
            resident._holders.remove(threading.get_ident())
            resident._last_used = self._clock()
            self._working_bytes -= working_bytes
            self._changed.notify_all()

    def _bring(self, resident: Resident) -> None:
        if resident.level is Level.DEVICE:
            return
        if resident.arena.bytes > self.budget_bytes:
            need, have = resident.arena.bytes / GIB, self.budget_bytes / GIB
            raise OutOfMemory(
                f"The {resident.part} needs {need:.1f} GiB, the memory budget is {have:.1f} GiB.",
                "Raise the memory budget or choose a smaller model.",
            )
        self._make_room(resident.arena.bytes)
        started = self._clock()
        if resident.level is Level.HOST:
            resident.arena.move(self.device)
        else:
            resident.arena.allocate(self.device)
            try:
                resident._loader.fill(resident._module)
            except BaseException:
                resident.arena.release()
                raise
            resident.loads += 1
            resident._reload_s = max(self._clock() - started, 1e-3)
        resident.level = Level.DEVICE
        logger.info("%r in %.2f s", resident, self._clock() - started)

    def _make_room(self, needed_bytes: int) -> None:
        limit = self.budget_bytes - self._working_bytes - needed_bytes
        evicted = False
        for victim in self._idle(Level.DEVICE):
            if self.bytes_at(Level.DEVICE) <= limit:
                break
            self._evict(victim)
            evicted = True
        if evicted:
            self._return_device_memory()
        if self.bytes_at(Level.DEVICE) > limit:
            logger.warning("over the memory budget of %.1f GiB: everything left is in use", self.budget_bytes / GIB)

    def _idle(self, level: Level) -> list[Resident]:
        """Modules at a level that nobody uses, least valuable first."""
        now = self._clock()
        idle = [r for r in self._residents.values() if r.level is level and not r._holders]
        return sorted(idle, key=lambda r: r.value(now))

    def _evict(self, resident: Resident) -> None:
        if resident.arena.bytes > self.host_budget_bytes:
            self._drop(resident)
            return
        for victim in self._idle(Level.HOST):
            if self.bytes_at(Level.HOST) + resident.arena.bytes <= self.host_budget_bytes:
                break
            self._drop(victim)
        resident._merge.switch(resident._module, ())
        resident.arena.move(torch.device("cpu"))
        resident.level = Level.HOST

    def _drop(self, resident: Resident) -> None:
        resident._merge = Merge(resident.part)
        resident.arena.release()
        resident.level = Level.FILE

    def _return_device_memory(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _host_bytes() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(total - HOST_RESERVE_BYTES, total // 2)


def _device_bytes(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[1] * DEVICE_SHARE)
