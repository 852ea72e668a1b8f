"""Between IMAGE tensors (B, H, W, 3), float32, 0..1, and latents, with a second try in float32."""

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models.errors import NonFiniteOutput
from models.memory import Resident
from models.vae import AutoencoderKL

logger = logging.getLogger(__name__)

# Feature maps of the finest level's size and width that are alive at once: its input has twice the width, two
# convolutions.
FEATURE_MAPS = 6
PIECE_BYTES = 4 * 2**30  # a batch that needs more is run in pieces


def decode_latent(module: Resident, full: Resident, samples: Tensor) -> Tensor:
    """Decode unscaled latents (B, 4, h, w) to images (B, H, W, 3) in main memory. Raises NonFiniteOutput."""
    one = working_bytes(module, samples.shape[-2] * downscale(module), samples.shape[-1] * downscale(module))
    return _run("VAE decode", decode_pixels, (module, full), [samples], one).clamp(0, 1)


def encode_image(module: Resident, full: Resident, image: Tensor, noise: Tensor | None = None) -> Tensor:
    """Encode images (B, H, W, 3…) to unscaled latents (B, 4, H/8, W/8) in main memory. Raises NonFiniteOutput."""
    pixels = crop(image, downscale(module))[..., :3]
    one = working_bytes(module, pixels.shape[1], pixels.shape[2])
    inputs = [pixels] if noise is None else [pixels, noise]
    return _run("VAE encode", encode_pixels, (module, full), inputs, one).clone()


def decode_pixels(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Decode to float32 (B, H, W, 3), about 0..1, on the VAE's device."""
    return vae.decode(latents).float().mul_(0.5).add_(0.5).permute(0, 2, 3, 1).contiguous()


def encode_pixels(vae: AutoencoderKL, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
    """Encode (B, H, W, 3), 0..1, to float32 latents on the VAE's device."""
    return vae.encode(pixels.permute(0, 3, 1, 2) * 2 - 1, noise).float()


def crop(image: Tensor, multiple: int) -> Tensor:
    """Cut images (B, H, W, C) to multiples, from the middle."""
    height, width = image.shape[1] // multiple * multiple, image.shape[2] // multiple * multiple
    top, left = image.shape[1] % multiple // 2, image.shape[2] % multiple // 2
    return image[:, top : top + height, left : left + width]


def working_bytes(module: Resident, height: int, width: int) -> int:
    """Estimate what one image of this size needs besides the weights."""
    return FEATURE_MAPS * height * width * 2 * module.sizes.widths[0] * module.dtype.itemsize


def downscale(module: Resident) -> int:
    """Return how many pixels one latent value covers per side."""
    return 2 ** (len(module.sizes.widths) - 1)


def _run(
    what: str,
    call: Callable[..., Tensor],
    precisions: tuple[Resident, Resident],
    inputs: Sequence[Tensor],
    bytes_per_image: int,
) -> Tensor:
    """Run in the VAE's own precision and, when that gives NaN or infinity, again in float32."""
    for resident in dict.fromkeys(precisions):
        with torch.inference_mode():
            out = _in_pieces(call, resident, inputs, bytes_per_image)
            if torch.isfinite(out).all():
                return out
        logger.warning("%s gave NaN or infinity in %s", what, resident.dtype)
    raise NonFiniteOutput(
        f"{what} gave NaN or infinity, in float32 too.", "The latent or the VAE file is broken; try another VAE."
    )


def _in_pieces(call: Callable[..., Tensor], resident: Resident, inputs: Sequence[Tensor], one: int) -> Tensor:
    """Run a batch, as many at once as fit into PIECE_BYTES."""
    count = max(1, PIECE_BYTES // one)
    batches = zip(*(tensor.split(count) for tensor in inputs), strict=True)
    with resident.use(working_bytes=one * min(count, len(inputs[0]))) as vae:
        like = next(vae.parameters())
        pieces = [call(vae, *(x.to(like.device, like.dtype) for x in batch)).to("cpu") for batch in batches]
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]
