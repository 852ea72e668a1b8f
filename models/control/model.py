"""A ControlNet as a value: the CONTROL_NET socket, how it is read from a file, and the network for a given model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.control.controlnet import ControlNet, ControlNetSizes
from models.control.formats import ControlFile, read_control_file
from models.control.union import UnionControlNet
from models.errors import BadModelFile, ModelError
from models.formats.pickled import open_either
from models.formats.plan import check_plan, fill
from models.formats.weights import WeightFile
from models.memory import Loader, Residency, Resident
from models.merge import signature

if TYPE_CHECKING:
    from models.sdxl import Model

PART = "controlnet"
Filler = Callable[[torch.nn.Module], None]


class ControlMismatch(ModelError):
    """A ControlNet made for a model of another size."""

    code = "control_mismatch"


@dataclass(frozen=True)
class ControlModel:
    """A ControlNet's file, opened; its weights are read when a run needs them.

    types: the kinds of its pictures, for a union ControlNet; another one ignores them.
    """

    file: ControlFile
    residency: Residency
    types: tuple[int, ...] = ()

    def network(self, model: "Model") -> Resident:
        """Return the network that controls this model. A Control-LoRA is made from its UNet, LoRAs included.

        Raises ControlMismatch, and BadModelFile for a Control-LoRA of another architecture.
        """
        encoder = model.unet.sizes
        if self.file.sizes is None:
            return self._lora_network(model, ControlNetSizes(encoder, self.file.hints))
        own = self.file.sizes.encoder
        same = ("inputs", "middle", "model_channels", "context_dim", "adm_channels", "in_channels")
        different = [name for name in same if getattr(own, name) != getattr(encoder, name)]
        if different:
            raise ControlMismatch(
                f"{self.file.path.name} was made for another model ({', '.join(different)} differ).",
                "Choose a ControlNet for this checkpoint's architecture.",
            )
        return self._resident(self.file.sizes, (), self._fill, model)

    def _fill(self, network: torch.nn.Module) -> None:
        with open_either(self.file.path, wrappers=("state_dict",)) as file:
            fill(network, file, self.file.plan)

    def _lora_network(self, model: "Model", sizes: ControlNetSizes) -> Resident:
        def materialise(network: torch.nn.Module) -> None:
            with open_either(self.file.path, wrappers=("state_dict",)) as file, model.use() as unet:
                base = dict(unet.named_parameters())
                for name, parameter in network.named_parameters():
                    parameter.copy_(_lora_weight(file, name, base.get(name), tuple(parameter.shape)))

        return self._resident(sizes, (model.unet.key, signature(model.loras)), materialise, model)

    def _resident(self, sizes: ControlNetSizes, base: tuple, fill_in: Filler, model: "Model") -> Resident:
        status = self.file.path.stat()
        dtype = model.unet.dtype
        key = (str(self.file.path.resolve()), status.st_size, status.st_mtime_ns, PART, dtype, *base)
        resident = self.residency.load(key, Loader(PART, lambda: _network(sizes), fill_in, dtype))
        if self.file.sizes is not None:
            with open_either(self.file.path, wrappers=("state_dict",)) as file:
                shapes = {name: place.shape for name, place in resident.arena.places.items()}
                check_plan(file, shapes, self.file.plan)
        return resident


def load_control(path: str | Path, residency: Residency) -> ControlModel:
    """Open a ControlNet or Control-LoRA. Raises BadModelFile."""
    return ControlModel(read_control_file(path), residency)


def _network(sizes: ControlNetSizes) -> ControlNet:
    return ControlNet(sizes) if sizes.union is None else UnionControlNet(sizes, sizes.union)


def _lora_weight(file: WeightFile, name: str, base: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """One parameter of a Control-LoRA: the file's own, the UNet's with up · down added, or the UNet's.

    Biases of changed layers are in the file, in full.
    """
    if name in file.tensors:
        found = file.tensor(name)
    elif base is None:
        raise BadModelFile(file.path, f"lacks the tensor {name}", "The file is damaged or another architecture.")
    else:
        found = base.float()
        layer = name.removesuffix(".weight")
        if f"{layer}.up" in file.tensors:
            up, down = (file.tensor(f"{layer}.{part}").float().flatten(1) for part in ("up", "down"))
            if up.shape[1] != down.shape[0] or up.shape[0] * down.shape[1] != found.numel():
                fault = (
                    f"changes {layer} by {tuple(up.shape)} times {tuple(down.shape)}, which is of shape {shape} here"
                )
                raise BadModelFile(file.path, fault, "It was made for another checkpoint architecture.")
            found = found + (up.to(found.device) @ down.to(found.device)).reshape(found.shape)
    if found.numel() != torch.Size(shape).numel():
        fault = f"has {name} with shape {tuple(found.shape)} where {shape} is needed"
        raise BadModelFile(file.path, fault, "It was made for another checkpoint architecture.")
    return found.reshape(shape)
