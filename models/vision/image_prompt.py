"""An IP-Adapter as a value, and pictures made ready to steer a model with it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.formats.pickled import open_either
from models.formats.plan import check_plan, fill
from models.formats.vision import open_adapter, plan_adapter
from models.memory import Loader, Residency, Resident
from models.unet import UNetSizes
from models.vision.adapter import Adapter, AdapterSizes
from models.vision.clip_vision import VisionOutput

if TYPE_CHECKING:
    from models.sdxl import Model

PART = "ip_adapter"
NEGATIVE_KEY = "data"  # of fooocus_ip_negative.safetensors

KeysValues = tuple[tuple[Tensor, Tensor], ...]


class AdapterMismatch(ModelError):
    """An IP-Adapter made for another checkpoint or another image encoder."""

    code = "ip_adapter_mismatch"


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """A picture that steers a model. stop: the share of the way from noise to picture at which it ceases to.

    positive, negative: keys and values (1 or B, heads, N, 64) of every cross-attention, in the order of the UNet.
    """

    positive: KeysValues
    negative: KeysValues
    weight: float
    stop: float

    @property
    def bytes(self) -> int:
        """Memory of the keys and values."""
        return sum(tensor.nbytes for part in (*self.positive, *self.negative) for tensor in part)

    def holds_at(self, progress: float) -> bool:
        return progress < self.stop


@dataclass(frozen=True)
class ImagePromptAdapter:
    """An IP-Adapter. negative: tokens (1, N, C) for the negative prompt, if a file gives them."""

    module: Resident
    name: str
    negative: Tensor | None = None

    def prompt(self, output: VisionOutput, model: "Model", weight: float, stop: float) -> ImagePrompt:
        """Make a picture steer this model. Everything that does not change from step to step is computed here.

        Without tokens of its own, the negative prompt sees no picture: an encoded blank one for adapters that read
        patches, zeros for the others, as in training. Raises AdapterMismatch.
        """
        sizes: AdapterSizes = self.module.sizes
        features = output.penultimate_hidden_states if sizes.is_plus else output.image_embeds
        if features.shape[-1] != sizes.image.features:
            raise AdapterMismatch(
                f"{self.name} reads features {sizes.image.features} wide, the encoder's are {features.shape[-1]}.",
                "Choose the image encoder that the adapter was trained with: ViT-H for most of them.",
            )
        order = _order(self, model)
        with torch.inference_mode(), self.module.use() as network:
            device = next(network.parameters()).device
            positive = network.tokens(features.to(device))
            if self.negative is not None:
                negative = self.negative.to(device)
            else:
                negative = network.tokens(_nothing(output, sizes).to(device))
            found = [network.keys_values(tokens) for tokens in (positive, negative)]
        seen, unseen = (_as_unet(parts, order) for parts in found)
        return ImagePrompt(seen, unseen, weight, stop)


def _nothing(output: VisionOutput, sizes: AdapterSizes) -> Tensor:
    if sizes.is_plus:
        return output.encoder.encode_nothing().penultimate_hidden_states
    return torch.zeros_like(output.image_embeds[:1])


def _as_unet(parts: list[tuple[Tensor, Tensor]], order: list[int]) -> KeysValues:
    """Sort from the file's order into the UNet's; in main memory, where kept results may lie, and plain tensors."""
    return tuple((_kept(parts[place][0]), _kept(parts[place][1])) for place in order)


def _kept(tensor: Tensor) -> Tensor:
    return tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)


def _order(adapter: ImagePromptAdapter, model: "Model") -> list[int]:
    """For each cross-attention of the UNet its place in the file."""
    order = file_order(model.unet.sizes)
    widths = cross_widths(model.unet.sizes)
    sizes: AdapterSizes = adapter.module.sizes
    if sizes.widths != tuple(widths[place] for place in order):
        raise AdapterMismatch(
            f"{adapter.name} was made for another model: it has {len(sizes.widths)} attentions, the checkpoint "
            f"{len(widths)}, or their widths differ.",
            "Choose an IP-Adapter for this checkpoint's architecture.",
        )
    return sorted(range(len(order)), key=order.__getitem__)


def file_order(sizes: UNetSizes) -> list[int]:
    """For each place in an adapter's file (down, up, middle) the UNet's cross-attention (down, middle, up)."""
    down = sum(block.depth for block in sizes.inputs)
    first_up, end = down + sizes.middle.depth, len(cross_widths(sizes))
    return [*range(down), *range(first_up, end), *range(down, first_up)]


def cross_widths(sizes: UNetSizes) -> list[int]:
    """Return the width of each cross-attention of the UNet."""
    return [b.channels_out for b in (*sizes.inputs, sizes.middle, *sizes.outputs) for _ in range(b.depth)]


def load_adapter(path: str | Path, residency: Residency, negative: str | Path | None = None) -> ImagePromptAdapter:
    """Open an IP-Adapter; its weights are read at the first use. negative: a file of tokens. Raises BadModelFile."""
    path = Path(path)
    with open_adapter(path) as file:
        sizes, plan = plan_adapter(file)
        status = path.stat()
        key = (str(path.resolve()), status.st_size, status.st_mtime_ns, PART)
        resident = residency.load(key, Loader(PART, lambda: Adapter(sizes), _filler(path)))
        check_plan(file, {name: place.shape for name, place in resident.arena.places.items()}, plan)
    return ImagePromptAdapter(resident, path.name, None if negative is None else _read_negative(Path(negative), sizes))


def _read_negative(path: Path, sizes: AdapterSizes) -> Tensor:
    """Tokens (1, N, C) from a file that holds nothing else."""
    with open_either(path) as file:
        shape = file.shape(NEGATIVE_KEY)
        if shape is None or len(shape) not in (2, 3) or shape[-1] != sizes.context:
            raise AdapterMismatch(
                f"{path.name} holds no tokens {sizes.context} wide under {NEGATIVE_KEY!r}.",
                "Use fooocus_ip_negative.safetensors, or leave the negative tokens out.",
            )
        return file.tensor(NEGATIVE_KEY).float().reshape(1, -1, sizes.context).clone()


def _filler(path: Path) -> Callable[[nn.Module], None]:
    def read(module: nn.Module) -> None:
        with open_adapter(path) as file:
            fill(module, file, plan_adapter(file)[1])

    return read
