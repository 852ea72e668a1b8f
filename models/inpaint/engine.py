"""An inpaint engine on a model: a patch of the UNet's weights, and features added to its first convolution.

The features tell the UNet the mask and what is around it. For the last steps both are taken away again, so that the
unchanged model finishes the picture (Fooocus behaviour §5.4.6).
"""

import logging
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from models.arena import Place
from models.errors import BadModelFile
from models.formats.inpaint_files import QuantizedDelta, read_head, read_patch
from models.lora import MAX_UNMATCHED
from models.merge import Patch
from models.sampling.latent_format import latent_format_for

if TYPE_CHECKING:
    from models.sdxl import Model

logger = logging.getLogger(__name__)

UNTIL = 0.8  # of the steps


@dataclass(frozen=True, eq=False)
class InpaintPatch:
    """A patch file fitted to a UNet; goes into `Model.loras`."""

    key: Hashable
    changes: Mapping[str, QuantizedDelta]
    strength: float = 1.0

    def deltas(self, part: str) -> Mapping[str, QuantizedDelta]:
        """The changes of "unet"; no other part has any."""
        return self.changes if part == "unet" else {}


@dataclass(frozen=True, eq=False)
class InpaintEngine:
    """What sampling has to know. stem: (1, C, h, w), added to the first convolution's output. until: share of steps,
    1 for all of them."""

    stem: Tensor
    patch: Patch
    until: float = UNTIL

    def last_step(self, steps: int) -> int:
        """The step, from 0, after whose first evaluation the engine is taken away; halves go to the even number."""
        return round(steps * self.until)


def apply_engine(
    model: "Model", head: str | Path, patch: str | Path, hidden: Tensor, cells: Tensor, until: float = UNTIL
) -> "Model":
    """Return the model with an inpaint engine.

    hidden: the latent of the picture with its masked part grey, (1, 4, h, w), in the VAE's space. cells: its mask
    (1, 1, h, w). Raises BadModelFile for files made for another UNet.
    """
    weight = read_head(head)
    channels = model.unet.sizes.model_channels
    if weight.shape[0] != channels:
        fault = f"is for a UNet of {weight.shape[0]} channels, this one has {channels}"
        raise BadModelFile(head, fault, "Inpaint without an engine (None) on this checkpoint.")
    fitted = _fitted(model, Path(patch))
    latent = latent_format_for(model.options.schedule).to_model(hidden)
    stem = stem_features(weight, latent, cells)
    return model.patched(loras=(*model.loras, fitted), inpaint=InpaintEngine(stem, fitted, until))


def without_engine(model: "Model") -> "Model":
    """Return the model as it finishes a picture: its LoRAs stay; engine, FreeU and image prompts go."""
    engine = model.options.inpaint
    loras = tuple(patch for patch in model.loras if engine is None or patch is not engine.patch)
    return model.patched(loras=loras, inpaint=None, freeu=None, image_prompts=())


def stem_features(head: Tensor, latent: Tensor, cells: Tensor) -> Tensor:
    """Convolve mask and latent (in the model's space) with the head; the edge is repeated. Returns (1, C, h, w)."""
    both = torch.cat((cells, latent), dim=1).float()
    return F.conv2d(F.pad(both, (1, 1, 1, 1), mode="replicate"), head)


def _fitted(model: "Model", path: Path) -> InpaintPatch:
    """Fit a patch to a UNet; as with LoRAs, up to 12 strange weights are ignored."""
    places = model.unet.arena.places
    changes = {name: _as_here(delta, places.get(name)) for name, delta in read_patch(path).items()}
    wrong = [name for name, delta in changes.items() if delta is None]
    if len(wrong) > MAX_UNMATCHED:
        fault = f"changes {len(wrong)} weights that this UNet does not have (the first: {wrong[0]})"
        raise BadModelFile(path, fault, "It was made for another model; inpaint without an engine (None).")
    if wrong:
        logger.warning("%s: %d weights do not fit and are ignored", path.name, len(wrong))
    status = path.stat()
    fitting = {name: delta for name, delta in changes.items() if delta is not None}
    return InpaintPatch((str(path.resolve()), status.st_size, status.st_mtime_ns), fitting)


def _as_here(delta: QuantizedDelta, place: Place | None) -> QuantizedDelta | None:
    """Return the change in the shape of its weight; None where it does not fit.

    Files store 1 × 1 convolutions as (out, in, 1, 1); here they are matrices.
    """
    if place is None:
        return None
    shape, found = tuple(place.shape), tuple(delta.values.shape)
    if found == shape:
        return delta
    if found != (*shape, 1, 1):
        return None
    low, high = (bound[..., 0, 0] if bound.dim() == len(found) else bound for bound in (delta.low, delta.high))
    return QuantizedDelta(delta.values.reshape(shape), low, high)
