"""Which matrix shows a model's latents: SDXL's, or the one that a checkpoint carries for its own VAE.

    python -m models.files.preview FILE

fits a matrix to the VAE in a checkpoint file and writes it into the file's header; the weights stay as they are.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

from models.errors import BadModelFile
from models.files.output import write_file
from models.formats.weights import open_weights
from models.memory import Residency
from models.sampling.preview import NO_BIAS, SDXL_RGB, Factors
from models.sdxl import Model, Vae, load_vae

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


def write_preview(path: Path) -> list[list[float]]:
    """Fit the rows to the VAE in a safetensors file and put them into its header; returns them."""
    rows = [[round(value, 5) for value in row] for row in fit_preview(load_vae(path, Residency("cpu")))]
    content = path.read_bytes()
    header_bytes = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_bytes])
    header["__metadata__"] = {**header.get("__metadata__", {}), METADATA_KEY: json.dumps(rows)}
    changed = json.dumps(header, separators=(",", ":")).encode()
    changed += b" " * (-len(changed) % 8)  # tensors start at a multiple of 8 bytes
    write_file(path, len(changed).to_bytes(8, "little") + changed + content[8 + header_bytes :])
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    logging.basicConfig(level="INFO", format="%(message)s")
    for row in write_preview(parser.parse_args().file):
        log.info("%s", row)
