"""Between IMAGE tensors (B, H, W, 3), float32, 0..1, and latents, with a second try in float32."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from models.errors import NonFiniteOutput
from models.memory import Resident
from models.tiles import DECODING, ENCODING, Tiling, decode_in_tiles, encode_in_tiles
from models.vae import AutoencoderKL

logger = logging.getLogger(__name__)

# Feature maps alive at once at full resolution, each with the next level's width: the upsampled input of the last
# convolution but one level, its output, and the norm's copy.
FEATURE_MAPS = 3
PIECE_BYTES = 4 * 2**30  # a batch that needs more is run in pieces


@dataclass(frozen=True)
class Work:
    """One direction of an autoencoder over some inputs. size: height and width in pixels."""

    name: str
    call: Callable[..., Tensor]
    tiled_call: Callable[..., Tensor]
    inputs: Sequence[Tensor]
    size: tuple[int, int]
    tiling: Tiling


def decode_latent(module: Resident, full: Resident, samples: Tensor, tiled: bool | Tiling = False) -> Tensor:
    """Decode unscaled latents (B, 4, h, w) to images (B, H, W, 3) in main memory. Raises NonFiniteOutput."""
    size = samples.shape[-2] * downscale(module), samples.shape[-1] * downscale(module)
    tiling = tiled if isinstance(tiled, Tiling) else DECODING
    in_tiles = partial(decode_tiled_pixels, tiling=tiling)
    work = Work("VAE decode", decode_pixels, in_tiles, [samples], size, tiling)
    return _run(work, (module, full), bool(tiled)).clamp(0, 1)


def encode_image(
    module: Resident, full: Resident, image: Tensor, noise: Tensor | None = None, tiled: bool | Tiling = False
) -> Tensor:
    """Encode images (B, H, W, 3…) to unscaled latents (B, 4, H/8, W/8) in main memory. Raises NonFiniteOutput.

    In tiles, the mean is returned whatever the noise.
    """
    pixels = crop(image, downscale(module))[..., :3]
    inputs = [pixels] if noise is None else [pixels, noise]
    tiling = tiled if isinstance(tiled, Tiling) else ENCODING
    in_tiles = partial(encode_tiled_pixels, tiling=tiling)
    work = Work("VAE encode", encode_pixels, in_tiles, inputs, (pixels.shape[1], pixels.shape[2]), tiling)
    return _run(work, (module, full), bool(tiled)).clone()


def decode_pixels(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Decode to float32 (B, H, W, 3), about 0..1, on the VAE's device."""
    return _to_image(vae.decode(latents).float())


def decode_tiled_pixels(vae: AutoencoderKL, latents: Tensor, tiling: Tiling = DECODING) -> Tensor:
    """The same in tiles."""
    return _to_image(decode_in_tiles(vae.decode, latents, vae.downscale, tiling))


def encode_pixels(vae: AutoencoderKL, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
    """Encode (B, H, W, 3), 0..1, to float32 latents on the VAE's device."""
    return vae.encode(pixels.permute(0, 3, 1, 2) * 2 - 1, noise).float()


def encode_tiled_pixels(
    vae: AutoencoderKL, pixels: Tensor, noise: Tensor | None = None, tiling: Tiling = ENCODING
) -> Tensor:
    """The same in tiles, the mean only."""
    return encode_in_tiles(vae.encode, pixels.permute(0, 3, 1, 2) * 2 - 1, vae.downscale, tiling)


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


def _run(work: Work, precisions: tuple[Resident, Resident], tiled: bool) -> Tensor:
    """Run in the VAE's own precision and, when that gives NaN or infinity, again in float32."""
    for resident in dict.fromkeys(precisions):
        with torch.inference_mode():
            out = _in_tiles_if_needed(work, resident, tiled)
            if torch.isfinite(out).all():
                return out
        logger.warning("%s gave NaN or infinity in %s", work.name, resident.dtype)
    raise NonFiniteOutput(
        f"{work.name} gave NaN or infinity, in float32 too.", "The latent or the VAE file is broken; try another VAE."
    )


def _in_tiles_if_needed(work: Work, resident: Resident, tiled: bool) -> Tensor:
    if not tiled:
        try:
            return _in_pieces(work.call, resident, work.inputs, working_bytes(resident, *work.size))
        except torch.OutOfMemoryError:
            logger.warning("%s of %d x %d pixels does not fit into memory; doing it in tiles", work.name, *work.size)
    side = min(max(work.size), work.tiling.side)
    return _in_pieces(work.tiled_call, resident, work.inputs, working_bytes(resident, side, side))


def _in_pieces(call: Callable[..., Tensor], resident: Resident, inputs: Sequence[Tensor], one: int) -> Tensor:
    """Run a batch, as many at once as fit into PIECE_BYTES."""
    count = max(1, PIECE_BYTES // one)
    batches = zip(*(tensor.split(count) for tensor in inputs), strict=True)
    with resident.use(working_bytes=one * min(count, len(inputs[0]))) as vae:
        like = next(vae.parameters())
        pieces = [call(vae, *(x.to(like.device, like.dtype) for x in batch)).to("cpu") for batch in batches]
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _to_image(pixels: Tensor) -> Tensor:
    """(B, 3, H, W), -1..1 → (B, H, W, 3), 0..1."""
    return pixels.mul_(0.5).add_(0.5).permute(0, 2, 3, 1).contiguous()
