"""Putting the repainted area back: the rest of the picture stays as it was, bit for bit."""

import numpy as np
import torch
from torch import Tensor

from models.files.image import to_uint8
from models.inpaint.area import Area
from models.inpaint.masks import softened
from models.resample import lanczos


def pasted(original: Tensor, generated: Tensor, mask: Tensor, area: Area) -> Tensor:
    """Blend what was generated for an area into the picture, by the soft mask (Fooocus behaviour §5.4.7).

    original: (1, H, W, 3), in 8-bit steps. generated: (B, h, w, 3). mask: (1, H, W). Returns (B, H, W, 3); pixels 32 or
    more away from the mask equal the original's.
    """
    kept = to_uint8(original)
    fitted = lanczos(generated, area.width, area.height)
    content = np.repeat(kept, len(generated), axis=0)
    content[:, area.top : area.bottom, area.left : area.right] = to_uint8(fitted)
    share = softened(mask)[..., None].astype(np.float32) / 255.0
    blended = content.astype(np.float32) * share + kept.astype(np.float32) * (1.0 - share)
    return torch.from_numpy(blended.clip(0, 255).astype(np.uint8)).float().div(255.0)
