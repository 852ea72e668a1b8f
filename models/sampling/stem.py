"""A network that gets features added to its first convolution at every call."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from models.errors import ModelError
from models.unet import Injections


class WrongStemSize(ModelError):
    """Features of another size than the latent."""

    code = "wrong_stem_size"


class WithStem:
    """A UNet with an addition to its stem. stem: (1, C, h, w), of the latents that the network will get."""

    def __init__(self, network: Any, stem: Tensor) -> None:
        self.sizes, self.emb_weight, self.prepare = network.sizes, network.emb_weight, network.prepare
        self._network = network
        self._injections = Injections(stem=stem.to(network.emb_weight.device, network.emb_weight.dtype))
        self._size = stem.shape[-2:]

    def __call__(self, x: Tensor, *args: Any, injections: Injections | None = None, **options: Any) -> Tensor:
        if x.shape[-2:] != self._size:
            raise WrongStemSize(
                f"The inpaint engine was made for a latent of {tuple(self._size)} cells, not {tuple(x.shape[-2:])}.",
                "Sample the latent of the same picture, and without conditioning areas.",
            )
        both = self._injections if injections is None else replace(injections, stem=self._injections.stem)
        return self._network(x, *args, injections=both, **options)
