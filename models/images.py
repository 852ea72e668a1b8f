"""Between IMAGE tensors (B, H, W, 3), float32, 0..1, and latents, with a second try in float32."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from models.errors import NonFiniteOutput
from models.memory import Resident

logger = logging.getLogger(__name__)

# Feature maps of the finest level's size and width that are alive at once: its input has twice the width, two
# convolutions.
FEATURE_MAPS = 6
PIECE_BYTES = 4 * 2**30  # a batch that needs more is run in pieces


def decode_latent(module: Resident, full: Resident, samples: Tensor) -> Tensor:
    """Decode unscaled latents (B, 4, h, w) to images (B, H, W, 3) in main memory. Raises NonFiniteOutput."""
    side = _downscale(module)
    size = samples.shape[-2] * side, samples.shape[-1] * side
    pixels = _run("VAE decode", lambda vae, x: vae.decode(x), module, full, samples, size)
    return pixels.mul_(0.5).add_(0.5).clamp_(0, 1).permute(0, 2, 3, 1).contiguous()


def encode_image(module: Resident, full: Resident, image: Tensor, noise: Tensor | None = None) -> Tensor:
    """Encode images (B, H, W, 3…) to unscaled latents (B, 4, H/8, W/8) in main memory. Raises NonFiniteOutput."""
    pixels = crop(image, _downscale(module))[..., :3].permute(0, 3, 1, 2) * 2 - 1

    def encode(vae: torch.nn.Module, x: Tensor) -> Tensor:
        return vae.encode(x, None if noise is None else noise.to(x))  # pyright: ignore[reportCallIssue]

    return _run("VAE encode", encode, module, full, pixels, (pixels.shape[-2], pixels.shape[-1]))


def crop(image: Tensor, multiple: int) -> Tensor:
    """Cut images (B, H, W, C) to multiples, from the middle."""
    height, width = image.shape[1] // multiple * multiple, image.shape[2] // multiple * multiple
    top, left = image.shape[1] % multiple // 2, image.shape[2] % multiple // 2
    return image[:, top : top + height, left : left + width]


def working_bytes(module: Resident, height: int, width: int) -> int:
    """Estimate what one image of this size needs besides the weights."""
    return FEATURE_MAPS * height * width * 2 * module.sizes.widths[0] * module.dtype.itemsize


def _run(
    what: str,
    call: Callable[[torch.nn.Module, Tensor], Tensor],
    module: Resident,
    full: Resident,
    x: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """Run in the module's precision and, when that gives NaN or infinity, again in float32."""
    for resident in (module, full) if module is not full else (module,):
        out = _in_pieces(call, resident, x, size)
        if torch.isfinite(out).all():
            return out.clone()  # out of inference mode: others may change it in place
        if resident.dtype is torch.float32:
            break
        logger.warning("%s overflowed in %s; trying float32", what, resident.dtype)
    raise NonFiniteOutput(
        f"{what} gave NaN or infinity, in float32 too.", "The latent or the VAE file is broken; try another VAE."
    )


def _in_pieces(
    call: Callable[[torch.nn.Module, Tensor], Tensor], resident: Resident, x: Tensor, size: tuple[int, int]
) -> Tensor:
    one = working_bytes(resident, *size)
    count = max(1, PIECE_BYTES // one)
    with torch.inference_mode(), resident.use(working_bytes=one * min(count, len(x))) as vae:
        like = next(vae.parameters())
        pieces = [call(vae, piece.to(like.device, like.dtype)).to("cpu", torch.float32) for piece in x.split(count)]
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _downscale(module: Resident) -> int:
    return 2 ** (len(module.sizes.widths) - 1)
