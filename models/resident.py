"""One module under the care of `models.memory`: how it comes into being, where it is, how it is used."""

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from models.arena import Arena
from models.merge import Merge, Patch

if TYPE_CHECKING:
    from models.memory import Residency

logger = logging.getLogger(__name__)

GIB = 2**30


@dataclass(frozen=True)
class Loader:
    """How a module comes into being: built without memory, then filled. `build` runs under the meta device."""

    part: str  # "unet", "clip_l", "clip_g", "vae": chooses the dtype, and which changes of a LoRA apply
    build: Callable[[], nn.Module]
    fill: Callable[[nn.Module], None]
    dtype: torch.dtype | None = None  # instead of the policy's


class Level(IntEnum):
    """Where a module's weights are."""

    FILE = 0
    HOST = 1
    DEVICE = 2


class Resident:
    """A handle on one module: always valid, its weights in memory only while `use` needs them, or there is room."""

    def __init__(self, residency: "Residency", key: Hashable, loader: Loader) -> None:
        with torch.device("meta"):
            self._module = loader.build().eval()
        self.key = key
        self.part = loader.part
        self.arena = Arena(self._module, loader.dtype or residency.dtypes.of(loader.part))
        if self.arena.dtype is torch.float32 and self.arena.bytes > residency.budget_bytes:
            logger.warning("the %s does not fit into memory in float32 and is used in bfloat16", loader.part)
            self.arena = Arena(self._module, torch.bfloat16)
        self.level = Level.FILE
        self.loads = 0
        self._residency = residency
        self._loader = loader
        self._merge = Merge(loader.part)
        self._holders: list[int] = []  # thread ids inside `use`
        self._last_used = 0.0
        self._reload_s = 1.0

    def __repr__(self) -> str:
        return f"<Resident {self.part} {self.level.name.lower()} {self.bytes / GIB:.2f} GiB>"

    @property
    def dtype(self) -> torch.dtype:
        """The precision of weights and computation."""
        return self.arena.dtype

    @property
    def sizes(self) -> Any:
        """The sizes of the module (`UNetSizes`, `TextSizes`, `VaeSizes`), known without loading it."""
        return self._module.sizes

    @property
    def bytes(self) -> int:
        """Memory of the weights, base copies under LoRAs included."""
        return self.arena.bytes + self._merge.bytes

    @contextmanager
    def use(self, loras: Sequence[Patch] = (), working_bytes: int = 0) -> Iterator[Any]:
        """Give the module on the device with exactly these LoRAs in its weights.

        working_bytes: what the computation will need besides; room is made for it too. Blocks while another thread
        uses the module with other LoRAs. Raises BadModelFile, OutOfMemory.
        """
        self._residency.acquire(self, loras, working_bytes)
        try:
            yield self._module
        finally:
            self._residency.release(self, working_bytes)

    def value(self, now: float) -> float:
        """How much is lost per byte by dropping it: seconds to load it again, less for what was not used lately."""
        return self._reload_s / (self.bytes + 1) / (now - self._last_used + 1)
