"""An upscaler as a value: the UPSCALE_MODEL socket, how it is read from a file, and pictures of any size through it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.errors import NonFiniteOutput, OutOfMemory
from models.formats.plan import check_plan, fill
from models.memory import Loader, Residency, Resident
from models.upscale.formats import open_upscaler, plan_rrdb
from models.upscale.rrdb import RrdbNet, RrdbSizes
from models.upscale.tiles import OVERLAP_PX, SMALLEST_TILE_PX, Report, smaller_tiles, upscale_tiled

logger = logging.getLogger(__name__)

FEATURE_MAPS = 3  # alive at once at the full output size


@dataclass(frozen=True)
class Upscaler:
    """A super-resolution network. `full` is the same file in float32, for when half precision overflows."""

    module: Resident
    full: Resident
    memory_bytes: int  # what a tile may need; larger tiles are not even tried

    @property
    def scale(self) -> int:
        """How many times larger the output is per side."""
        return self.module.sizes.scale

    def upscale(self, image: Tensor, report: Report | None = None) -> Tensor:
        """Enlarge pictures (B, H, W, 3), 0..1, to (B, H · scale, W · scale, 3), 0..1, in main memory.

        report: told after each tile; may raise to interrupt. Raises OutOfMemory, NonFiniteOutput.
        """
        pixels = image[..., :3].permute(0, 3, 1, 2)
        for resident in dict.fromkeys((self.module, self.full)):
            try:
                return self._enlarge(resident, pixels, report).clamp_(0, 1).permute(0, 2, 3, 1)
            except Overflow:
                logger.warning("upscaling gave NaN or infinity in %s", resident.dtype)
        raise NonFiniteOutput(
            "Upscaling gave NaN or infinity, in float32 too.", "The file is broken; try another upscaler."
        )

    def _enlarge(self, resident: Resident, pixels: Tensor, report: Report | None) -> Tensor:
        side = max(pixels.shape[-2:])
        for tile in smaller_tiles():
            needed = working_bytes(resident, min(tile, side))
            if needed > self.memory_bytes and tile // 2 >= SMALLEST_TILE_PX:
                continue
            try:
                with resident.use(working_bytes=needed) as network:
                    return upscale_tiled(_on_device(network), pixels, self.scale, tile, OVERLAP_PX, report)
            except torch.OutOfMemoryError:
                logger.warning("upscaling in tiles of %d pixels does not fit into memory", tile)
        raise OutOfMemory(
            f"Upscaling does not fit into memory, not even in tiles of {SMALLEST_TILE_PX} pixels.",
            "Free memory on the device, or choose a smaller upscaler.",
        )


class Overflow(ArithmeticError):
    """NaN or infinity in a tile."""


def load_upscaler(path: str | Path, residency: Residency) -> Upscaler:
    """Open an upscaler's file; its weights are read at the first use. Raises BadModelFile."""
    path = Path(path)
    with open_upscaler(path) as file:
        sizes, plan = plan_rrdb(file)
        status = path.stat()
        both = []
        for dtype in (None, torch.float32):
            loader = Loader("upscaler", lambda: RrdbNet(sizes), _filler(path), dtype)
            key = (str(path.resolve()), status.st_size, status.st_mtime_ns, "upscaler", dtype or residency.dtypes.text)
            resident = residency.load(key, loader)
            check_plan(file, {name: place.shape for name, place in resident.arena.places.items()}, plan)
            both.append(resident)
    half, full = both
    return Upscaler(half, full, memory_bytes=residency.budget_bytes)


def working_bytes(resident: Resident, side: int) -> int:
    """Estimate what a square tile of this side needs besides the weights: the last layers, at the output's size."""
    sizes: RrdbSizes = resident.sizes
    larger = (side * sizes.scale) ** 2 * sizes.features * FEATURE_MAPS
    dense = (side // sizes.unshuffle) ** 2 * (sizes.features + 4 * sizes.growth) * FEATURE_MAPS
    return max(larger, dense) * resident.dtype.itemsize


def _on_device(network: nn.Module) -> Callable[[Tensor], Tensor]:
    like = next(network.parameters())

    def run(tile: Tensor) -> Tensor:
        with torch.inference_mode():
            larger = network(tile.to(like.device, like.dtype))
        if not torch.isfinite(larger).all():
            raise Overflow
        return larger

    return run


def _filler(path: Path) -> Callable[[nn.Module], None]:
    def read(module: nn.Module) -> None:
        with open_upscaler(path) as file:
            fill(module, file, plan_rrdb(file)[1])

    return read
