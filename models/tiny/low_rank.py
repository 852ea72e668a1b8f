"""A LoRA in training: low-rank changes of a frozen module's matrices and convolutions, by kohya's names.

Layers are named as in the published SDXL files: `lora_unet_` or `lora_te1_text_model_` and diffusers' or transformers'
module name with `_` for `.`; `.lora_down.weight`, `.lora_up.weight`, `.alpha`. Convolutions as in LoCon.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

NOT_CHANGED = ("conv_in", "conv_out", "time_embedding", "add_embedding", "text_projection")


class LowRank:
    """Changes of one module. scale: what they count in training, the weight at which the file is meant to be used."""

    def __init__(self, module: nn.Module, prefix: str, rank: int, scale: float = 1.0) -> None:
        self.module = module.requires_grad_(False)
        self.scale = scale
        self.layers: dict[str, tuple[str, Tensor, Tensor]] = {}  # kohya's name: module's name, up, down
        self._frozen = dict(module.named_parameters())
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Linear | nn.Conv2d) and not name.startswith(NOT_CHANGED):
                inner = name.removeprefix("text_model.")  # which transformers has in some versions only
                self.layers[prefix + inner.replace(".", "_")] = (name, *_new_layer(layer.weight, rank))

    def parameters(self) -> list[Tensor]:
        return [factor for _, up, down in self.layers.values() for factor in (up, down)]

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run the module with its changed weights."""
        changed = {}
        for name, up, down in self.layers.values():
            frozen = self._frozen[f"{name}.weight"]
            change = (up.flatten(1) @ down.flatten(1)).view_as(frozen)
            changed[f"{name}.weight"] = frozen + self.scale * change
        return torch.func.functional_call(self.module, changed, args, options)


def _new_layer(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    rows, columns = weight.shape[0], weight[0].numel()
    inner = min(rank, rows, columns)
    up = torch.zeros(rows, inner, *[1] * len(weight.shape[2:]))
    down = torch.randn(inner, *weight.shape[1:]) / columns**0.5
    return up.requires_grad_(), down.requires_grad_()


def write(path: Path, loras: list[LowRank], values: list[Tensor], metadata: Mapping[str, str]) -> None:
    """Write fp16 safetensors atomically. values: of all parameters, in their order."""
    tensors, rest = {}, iter(values)
    for lora in loras:
        for layer in lora.layers:
            up, down = next(rest).detach(), next(rest).detach()
            tensors[f"{layer}.lora_up.weight"] = up.half().contiguous()
            tensors[f"{layer}.lora_down.weight"] = down.half().contiguous()
            tensors[f"{layer}.alpha"] = torch.tensor(float(down.shape[0]), dtype=torch.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file(dict(sorted(tensors.items())), part, metadata={"format": "pt", **metadata})
    part.rename(path)
