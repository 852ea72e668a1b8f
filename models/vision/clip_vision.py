"""CLIP's image encoder as a value: the CLIP_VISION socket, and what it says of pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.formats.plan import check_plan, fill
from models.formats.vision import open_vision, plan_vision
from models.memory import Loader, Residency, Resident
from models.vision.encoder import VisionEncoder

PART = "clip_vision"
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, eq=False)
class VisionOutput:
    """What the encoder says of pictures: the CLIP_VISION_OUTPUT socket, float32 in main memory.

    last_hidden_state, penultimate_hidden_states: (B, 1 + patches, C). image_embeds: (B, P). encoder: whose words.
    """

    last_hidden_state: Tensor
    penultimate_hidden_states: Tensor
    image_embeds: Tensor
    encoder: "ClipVision"

    @property
    def cache_bytes(self) -> int:
        """What the engine's cache counts."""
        return self.last_hidden_state.nbytes + self.penultimate_hidden_states.nbytes + self.image_embeds.nbytes


@dataclass(frozen=True)
class ClipVision:
    """An image encoder."""

    module: Resident

    @property
    def side(self) -> int:
        """Pixels per side of the pictures that it reads."""
        return self.module.sizes.image

    def encode(self, pixels: Tensor) -> VisionOutput:
        """Encode pictures (B, side, side, 3), 0..1."""
        mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
        return self._encode(((pixels[..., :3].float().cpu() - mean) / deviation).movedim(-1, 1))

    def encode_nothing(self) -> VisionOutput:
        """Encode one picture whose normalised values are all 0: what IP-Adapters were trained on as no picture."""
        return self._encode(torch.zeros(1, 3, self.side, self.side))

    def _encode(self, values: Tensor) -> VisionOutput:
        with torch.inference_mode(), self.module.use() as network:
            like = network.visual_projection.weight
            states = network(values.to(like.device, like.dtype))
            last, penultimate, embeds = (t.float().cpu() for t in (states.last, states.penultimate, states.embeds))
        return VisionOutput(last.clone(), penultimate.clone(), embeds.clone(), self)  # no inference tensors


def load_clip_vision(path: str | Path, residency: Residency) -> ClipVision:
    """Open an image encoder's file; its weights are read at the first use. Raises BadModelFile."""
    path = Path(path)
    with open_vision(path) as file:
        sizes, plan = plan_vision(file)
        status = path.stat()
        key = (str(path.resolve()), status.st_size, status.st_mtime_ns, PART)
        resident = residency.load(key, Loader(PART, lambda: VisionEncoder(sizes), _filler(path)))
        check_plan(file, {name: place.shape for name, place in resident.arena.places.items()}, plan)
    return ClipVision(resident)


def _filler(path: Path) -> Callable[[nn.Module], None]:
    def read(module: nn.Module) -> None:
        with open_vision(path) as file:
            fill(module, file, plan_vision(file)[1])

    return read
