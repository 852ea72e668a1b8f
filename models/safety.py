"""The safety checker of Stable Diffusion: which pictures come too near to a list of unwanted concepts.

Rando et al. 2022, https://arxiv.org/abs/2210.04610 (how it decides, section 3). File: the names of diffusers'
`StableDiffusionSafetyChecker`, sizes read from the tensors. The concepts are vectors in CLIP's space; nobody published
what they stand for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from models.errors import BadModelFile
from models.files.image import to_uint8
from models.formats.pickled import open_either
from models.formats.plan import Plan, Source, check_plan, fill, plan_shapes
from models.formats.weights import WeightFile
from models.memory import Loader, Residency, Resident
from models.vision.clip_vision import DEVIATION, MEAN
from models.vision.encoder import VisionEncoder, VisionSizes

PART = "safety_checker"
HEAD_WIDTH = 64  # of ViT-L/14, whose checker this is
NEARER = 0.01  # what a special-care concept adds to the scores of the others
DIGITS = 3  # scores are rounded before they are compared with 0
CONCEPTS = ("concept_embeds", "concept_embeds_weights", "special_care_embeds", "special_care_embeds_weights")
_ENCODERS = ("vision_model.vision_model.", "vision_model.")  # as published; as transformers 5 writes it
_HINT = "Use stable-diffusion-safety-checker.bin."


@dataclass(frozen=True)
class SafetySizes:
    """The encoder's sizes, and how many concepts of either kind there are."""

    encoder: VisionSizes
    concepts: int
    special_care: int


class SafetyNetwork(nn.Module):
    """Pictures (B, 3, side, side), normalised → cosines to all concepts (B, concepts), (B, special care)."""

    def __init__(self, sizes: SafetySizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.encoder.projection
        self.encoder = VisionEncoder(sizes.encoder)
        self.concept_embeds = nn.Parameter(torch.empty(sizes.concepts, width))
        self.concept_embeds_weights = nn.Parameter(torch.empty(sizes.concepts))
        self.special_care_embeds = nn.Parameter(torch.empty(sizes.special_care, width))
        self.special_care_embeds_weights = nn.Parameter(torch.empty(sizes.special_care))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        found = F.normalize(self.encoder(pixels).embeds, dim=-1)
        return (
            found @ F.normalize(self.concept_embeds, dim=-1).T,
            found @ F.normalize(self.special_care_embeds, dim=-1).T,
        )


@dataclass(frozen=True)
class SafetyChecker:
    """The checker as a value: the SAFETY_CHECKER socket."""

    module: Resident

    def flagged(self, images: Tensor) -> list[bool]:
        """Tell which pictures (B, H, W, 3), 0..1, show what is unwanted."""
        side = self.module.sizes.encoder.image
        with torch.inference_mode(), self.module.use() as network:
            like = network.concept_embeds
            pixels = torch.cat([prepared(picture, side) for picture in images])
            cosines, special = (c.float().cpu() for c in network(pixels.to(like.device, like.dtype)))
            limits = network.concept_embeds_weights.float().cpu()
            special_limits = network.special_care_embeds_weights.float().cpu()
        return [unwanted(*pair, limits, special_limits) for pair in zip(cosines, special, strict=True)]

    def blacked_out(self, images: Tensor) -> tuple[Tensor, list[bool]]:
        """Pictures with the flagged ones all black; the others are the same, bit for bit."""
        flagged = self.flagged(images)
        if not any(flagged):
            return images, flagged
        black = images.clone()
        black[torch.tensor(flagged)] = 0.0
        return black, flagged


def unwanted(cosines: Tensor, special: Tensor, limits: Tensor, special_limits: Tensor) -> bool:
    """Decide from the cosines of one picture: one concept above its limit is enough."""
    special_care = any(round(float(score), DIGITS) > 0 for score in special - special_limits)
    nearer = NEARER if special_care else 0.0
    return any(round(float(score) + nearer, DIGITS) > 0 for score in cosines - limits)


def prepared(image: Tensor, side: int) -> Tensor:
    """Bring a picture (H, W, 3), 0..1, to CLIP's (1, 3, side, side): shortest side, middle, mean and deviation."""
    picture = Image.fromarray(to_uint8(image[..., :3]))
    short = min(picture.size)
    width, height = (int(side * length / short) for length in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    pixels = np.asarray(picture.crop((left, top, left + side, top + side)), dtype=np.float32) / 255
    return torch.from_numpy((pixels - np.array(MEAN)) / np.array(DEVIATION)).float().permute(2, 0, 1)[None]


def load_safety_checker(path: str | Path, residency: Residency) -> SafetyChecker:
    """Open a safety checker's file; its weights are read at the first use, in float32. Raises BadModelFile."""
    path = Path(path)
    with open_either(path) as file:
        sizes, plan = plan_safety(file)
        status = path.stat()
        key = (str(path.resolve()), status.st_size, status.st_mtime_ns, PART)
        loader = Loader(PART, lambda: SafetyNetwork(sizes), _filler(path), torch.float32)
        resident = residency.load(key, loader)
        check_plan(file, {name: place.shape for name, place in resident.arena.places.items()}, plan)
    return SafetyChecker(resident)


def plan_safety(file: WeightFile) -> tuple[SafetySizes, Plan]:
    """Say which tensor fills which parameter of a SafetyNetwork, and how large that is. Raises BadModelFile."""
    plan: Plan = {name: Source(name) for name in CONCEPTS if name in file.tensors}
    plan["encoder.visual_projection.weight"] = Source("visual_projection.weight")
    prefix = next((p for p in _ENCODERS if any(name.startswith(p) for name in file.tensors)), _ENCODERS[0])
    for name in file.tensors:
        if name.startswith(prefix):
            plan[f"encoder.vision_model.{name[len(prefix) :]}"] = Source(name)
    try:
        return _sizes(plan_shapes(file, plan)), plan
    except (KeyError, ValueError) as error:
        raise BadModelFile(file.path, "is no safety checker of Stable Diffusion", _HINT) from error


def _sizes(shapes: dict[str, tuple[int, ...]]) -> SafetySizes:
    stem = "encoder.vision_model."
    width, _, patch, _ = shapes[f"{stem}embeddings.patch_embedding.weight"]
    tokens = shapes[f"{stem}embeddings.position_embedding.weight"][0]
    layers = {name.split(".")[4] for name in shapes if name.startswith(f"{stem}encoder.layers.")}
    encoder = VisionSizes(
        width=width,
        layers=len(layers),
        hidden=shapes[f"{stem}encoder.layers.0.mlp.fc1.weight"][0],
        patch=patch,
        image=round((tokens - 1) ** 0.5) * patch,
        projection=shapes["encoder.visual_projection.weight"][0],
        heads=max(1, width // HEAD_WIDTH),
        activation="quick_gelu",
    )
    return SafetySizes(encoder, shapes["concept_embeds"][0], shapes["special_care_embeds"][0])


def _filler(path: Path) -> Callable[[nn.Module], None]:
    def read(module: nn.Module) -> None:
        with open_either(path) as file:
            fill(module, file, plan_safety(file)[1])

    return read
