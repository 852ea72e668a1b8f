"""A union ControlNet: one network for several kinds of control pictures, told which kind it sees.

Published as xinsir/controlnet-union-sdxl-1.0; names as in its files, `transformer_layes` included. Its attention runs
over one token at a time, as diffusers' does for one picture: what a kind adds can be computed once per run.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.control.controlnet import ControlNet, ControlNetSizes, UnionSizes
from models.errors import ModelError
from models.unet import timestep_embedding


class UnknownControlType(ModelError):
    """A kind of control picture that a union ControlNet was not made for."""

    code = "unknown_control_type"


class UnionControlNet(ControlNet):
    """A ControlNet whose features and time embedding depend on the kind of picture."""

    def __init__(self, sizes: ControlNetSizes, union: UnionSizes) -> None:
        super().__init__(sizes)
        self._union = union
        width, embed = sizes.encoder.model_channels, sizes.encoder.embed_channels
        self.task_embedding = nn.Parameter(torch.zeros(union.types, width))
        self.transformer_layes = nn.ModuleList(_Block(width, union.hidden) for _ in range(union.layers))
        self.spatial_ch_projs = nn.Linear(width, width)
        self.control_add_embedding = nn.ModuleDict(
            {"linear_1": nn.Linear(union.types * union.flags, embed), "linear_2": nn.Linear(embed, embed)}
        )

    def read_hint(self, hint: Tensor, types: tuple[int, ...] = ()) -> Tensor:
        """Turn control pictures into features, moved per channel by what their kind makes of them.

        types: the kinds, one for all pictures. Without any the features stay as they are.
        """
        features = super().read_hint(hint)
        for kind in types:
            token = features.mean(dim=(2, 3)) + self.task_embedding[self._known(kind)]
            for layer in self.transformer_layes:
                token = layer(token)
            features = features + self.spatial_ch_projs(token)[:, :, None, None]
        return features

    def type_shift(self, types: tuple[int, ...]) -> Tensor | None:
        """Return what the kinds add to the time embedding, (1, E)."""
        flags = torch.zeros(self._union.types, device=self.emb_weight.device)
        for kind in types:
            flags[self._known(kind)] = 1.0
        waves = timestep_embedding(flags, self._union.flags).reshape(1, -1).to(self.emb_weight.dtype)
        first, second = self.control_add_embedding["linear_1"], self.control_add_embedding["linear_2"]
        return second(F.silu(first(waves)))

    def _known(self, kind: int) -> int:
        if not 0 <= kind < self._union.types:
            raise UnknownControlType(
                f"This union ControlNet knows {self._union.types} kinds of pictures, not the one numbered {kind}.",
                "Choose another type, or the promax file, which also knows tile and repaint.",
            )
        return kind


class _Block(nn.Module):
    """A transformer block on single tokens: attention of one token to itself returns its value."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.attn = _Attention(width)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, hidden), "c_proj": nn.Linear(hidden, width)})
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        inner = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](inner * torch.sigmoid(1.702 * inner))  # quick GELU


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.in_proj_weight.chunk(3)[2], self.in_proj_bias.chunk(3)[2]
        return self.out_proj(F.linear(x, weight, bias))
