"""A Control-LoRA in training: diffusers' ControlNet whose encoder is the frozen UNet's plus low-rank changes.

Written and read in the dialect of Stability's files (feasibility §8): marker `lora_controlnet`, LDM names, `.up` and
`.down` of every matrix and convolution, everything else in full.
"""

from pathlib import Path

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.control.formats import MARKER, ldm_name

RANK = 32
HINT_WIDTHS = (8, 16, 32, 64)  # of the convolutions on the control picture; wider ones take longer than the UNet
LAYERS_PER_LEVEL = 2
OWN = ("controlnet_cond_embedding.", "controlnet_down_blocks.", "controlnet_mid_block.")
Outputs = tuple[list[Tensor], Tensor]


class ControlLora:
    """`tensors` are what a file holds, by its names, and what is trained."""

    def __init__(self, unet: UNet2DConditionModel, rank: int = RANK) -> None:
        self._network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT_WIDTHS)
        self._network.requires_grad_(False)
        self._frozen = dict(self._network.named_parameters())
        self.tensors: dict[str, Tensor] = {}
        for name, weight in self._frozen.items():
            self.tensors |= _trainable(name, weight, rank)

    def parameters(self) -> list[Tensor]:
        return list(self.tensors.values())

    def weights(self) -> dict[str, Tensor]:
        """The weights of the ControlNet, by diffusers' names."""
        return {name: self._weight(name, frozen) for name, frozen in self._frozen.items()}

    def _weight(self, name: str, frozen: Tensor) -> Tensor:
        if (key := file_name(name)) in self.tensors:
            return self.tensors[key]
        layer = key.removesuffix(".weight")
        up, down = (self.tensors[f"{layer}.{part}"].flatten(1) for part in ("up", "down"))
        return frozen + (up @ down).view_as(frozen)

    def __call__(self, x: Tensor, timestep: Tensor, context: Tensor, hint: Tensor, conditions: dict) -> Outputs:
        """Return what is added to the UNet's skips, and after its middle block."""
        arguments = (x, timestep, context, hint)
        options = {"added_cond_kwargs": conditions, "return_dict": False}
        return torch.func.functional_call(self._network, self.weights(), arguments, options)


def _trainable(name: str, weight: Tensor, rank: int) -> dict[str, Tensor]:
    """What a file holds of one parameter, as it is before training: the change is zero."""
    key = file_name(name)
    if name.startswith(OWN) or weight.dim() == 1:
        return {key: weight.detach().clone().requires_grad_()}
    rows, columns = weight.shape[0], weight[0].numel()
    inner, layer = min(rank, rows, columns), key.removesuffix(".weight")
    up = torch.zeros(rows, inner, *[1] * len(weight.shape[2:]))
    down = torch.randn(inner, *weight.shape[1:]) / columns**0.5
    return {f"{layer}.up": up.requires_grad_(), f"{layer}.down": down.requires_grad_()}


def file_name(name: str) -> str:
    """Translate diffusers' name of a parameter into the file's."""
    return ldm_name(name, LAYERS_PER_LEVEL, 2 * (len(HINT_WIDTHS) - 1))


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write fp16 safetensors atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {name: value.detach().half().contiguous() for name, value in sorted(tensors.items())}
    part = path.with_name(path.name + ".part")
    save_file({MARKER: torch.zeros(0, dtype=torch.float16), **halves}, part, metadata={"format": "pt"})
    part.rename(path)


@torch.no_grad()
def load(path: Path, lora: ControlLora) -> None:
    """Read a file back into a module of the same sizes."""
    tensors = load_file(path)
    for name, place in lora.tensors.items():
        place.copy_(tensors[name])
