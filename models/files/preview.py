"""Which matrix shows a model's latents: SDXL's, or the one that a checkpoint carries for its own VAE."""

import json
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

from models.errors import BadModelFile
from models.formats.weights import open_weights
from models.sampling.preview import NO_BIAS, SDXL_RGB, Factors
from models.sdxl import Model, Vae

METADATA_KEY = "focal.preview_rgb"
"""In a checkpoint's header: JSON, five rows of red, green, blue; one per latent channel and the value at zero."""

log = logging.getLogger(__name__)


def preview_factors(model: Model) -> tuple[Factors, Sequence[float]]:
    """Return the rows per latent channel and the bias for a model's latents."""
    path, size, modified_ns = model.unet.key[:3]  # pyright: ignore[reportIndexIssue]
    return _read(Path(path), size, modified_ns)


@lru_cache(maxsize=32)
def _read(path: Path, size: int, modified_ns: int) -> tuple[Factors, Sequence[float]]:
    try:
        with open_weights(path) as file:
            text = file.metadata.get(METADATA_KEY)
    except (OSError, BadModelFile):
        text = None
    if text is None:
        return SDXL_RGB, NO_BIAS
    try:
        rows = torch.tensor(json.loads(text), dtype=torch.float32).reshape(5, 3).tolist()
    except (ValueError, TypeError, RuntimeError):
        log.warning("%s: the preview matrix in the header is not 5 x 3 numbers; SDXL's is used.", path.name)
        return SDXL_RGB, NO_BIAS
    return rows[:4], rows[4]


def fit_preview(vae: Vae, samples: int = 64, cells: int = 8, seed: int = 0) -> list[list[float]]:
    """Fit the five rows to a VAE: least squares from smooth random latents to the mean colour of each cell, -1..1."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(samples, 4, cells // 2, cells // 2, generator=random)
    latents = torch.nn.functional.interpolate(coarse, scale_factor=2.0, mode="bilinear")  # (n, 4, cells, cells)
    pixels = vae.decode(latents / vae.scaling).permute(0, 3, 1, 2) * 2 - 1
    colours = torch.nn.functional.adaptive_avg_pool2d(pixels, (cells, cells))
    known = torch.cat([latents, torch.ones(samples, 1, cells, cells)], dim=1)
    columns = (t.permute(0, 2, 3, 1).flatten(0, 2) for t in (known, colours))
    return torch.linalg.lstsq(*columns).solution.tolist()
