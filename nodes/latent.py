"""Latents: to start from, resized, put together, taken apart. The input's dict is copied, never changed."""

from typing import Annotated, Any, Literal

import torch
from msgspec import Meta

from engine.node import node
from engine.types import Widget
from models.files.resize import Crop, LatentMethod, resize
from nodes.sockets import Latent, Mask

MAX_SIDE = 16384
CELL = 8  # pixels per latent cell
SMALLEST = 64  # pixels of a side after LatentUpscale

Pixels = Annotated[int, Meta(ge=16, le=MAX_SIDE), Widget(default=512, step=8)]
Side = Annotated[int, Meta(ge=0, le=MAX_SIDE), Widget(default=512, step=8)]


@node("EmptyLatentImage", category="latent", display_name="Empty Latent Image")
def empty_latent(
    width: Pixels, height: Pixels, batch_size: Annotated[int, Meta(ge=1, le=4096), Widget(default=1)]
) -> Latent:
    """Zeros (batch, 4, height/8, width/8): the start of a picture out of noise alone."""
    return {"samples": torch.zeros(batch_size, 4, height // CELL, width // CELL)}


@node("LatentUpscale", category="latent", display_name="Upscale Latent")
def upscale_latent(samples: Latent, upscale_method: LatentMethod, width: Side, height: Side, crop: Crop) -> Latent:
    """Resize to a size in pixels; 0 for one side keeps the aspect, for both changes nothing."""
    if width == 0 and height == 0:
        return samples
    rows, columns = samples["samples"].shape[-2:]
    if width == 0:
        height = max(SMALLEST, height)
        width = round(columns * height / rows)
    elif height == 0:
        width = max(SMALLEST, width)
        height = round(rows * width / columns)
    size = max(SMALLEST, width) // CELL, max(SMALLEST, height) // CELL
    return {**samples, "samples": resize(samples["samples"], *size, upscale_method, crop)}


@node("LatentUpscaleBy", category="latent", display_name="Upscale Latent By")
def upscale_latent_by(
    samples: Latent,
    upscale_method: LatentMethod,
    scale_by: Annotated[float, Meta(ge=0.01, le=8.0), Widget(default=1.5, step=0.01)],
) -> Latent:
    """Resize by a factor."""
    rows, columns = samples["samples"].shape[-2:]
    size = round(columns * scale_by), round(rows * scale_by)
    return {**samples, "samples": resize(samples["samples"], *size, upscale_method)}


@node("SetLatentNoiseMask", category="latent/inpaint", display_name="Set Latent Noise Mask")
def set_noise_mask(samples: Latent, mask: Mask) -> Latent:
    """Let sampling repaint only where the mask is 1."""
    return {**samples, "noise_mask": mask.reshape(-1, 1, *mask.shape[-2:])}


@node("LatentFromBatch", category="latent/batch", display_name="Latent From Batch")
def latent_from_batch(
    samples: Latent,
    batch_index: Annotated[int, Meta(ge=0, le=63), Widget(default=0)],
    length: Annotated[int, Meta(ge=1, le=64), Widget(default=1)],
) -> Latent:
    """Take some of a batch; sampled again with the same seed, they get the noise they had in the batch."""
    batch = samples["samples"].shape[0]
    start = min(batch - 1, batch_index)
    taken = slice(start, start + min(batch - start, length))
    positions = samples.get("batch_index") or list(range(batch))
    changed = {**samples, "samples": samples["samples"][taken].clone(), "batch_index": positions[taken]}
    mask = samples.get("noise_mask")
    if mask is not None and mask.shape[0] > 1:
        repeats = -(-batch // mask.shape[0])
        changed["noise_mask"] = mask.repeat(repeats, 1, 1, 1)[:batch][taken]
    return changed


@node("RepeatLatentBatch", category="latent/batch", display_name="Repeat Latent Batch")
def repeat_latent(samples: Latent, amount: Annotated[int, Meta(ge=1, le=64), Widget(default=1)]) -> Latent:
    """Repeat a batch as a whole: a b a b."""
    changed = {**samples, "samples": samples["samples"].repeat(amount, 1, 1, 1)}
    mask = samples.get("noise_mask")
    if mask is not None and mask.shape[0] > 1:
        changed["noise_mask"] = mask.repeat(amount, 1, 1, 1)
    if known := samples.get("batch_index"):
        offset = max(known) - min(known) + 1
        changed["batch_index"] = [position + offset * turn for turn in range(amount) for position in known]
    return changed


@node("LatentBatch", category="latent/batch")
def join_latents(samples1: Latent, samples2: Latent) -> Latent:
    """Put two batches one after the other; the second is resized to the first."""
    first, second = samples1["samples"], samples2["samples"]
    if first.shape[1:] != second.shape[1:]:
        second = resize(second, first.shape[-1], first.shape[-2], "bilinear", "center")
    positions = [samples.get("batch_index") or list(range(len(samples["samples"]))) for samples in (samples1, samples2)]
    return {**samples1, "samples": torch.cat([first, second]), "batch_index": positions[0] + positions[1]}


@node("LatentFlip", category="latent/transform", display_name="Flip Latent")
def flip_latent(samples: Latent, flip_method: Literal["x-axis: vertically", "y-axis: horizontally"]) -> Latent:
    """Mirror a latent."""
    axis = -2 if flip_method.startswith("x") else -1
    return {**samples, "samples": samples["samples"].flip(axis)}


@node("LatentRotate", category="latent/transform", display_name="Rotate Latent")
def rotate_latent(samples: Latent, rotation: Literal["none", "90 degrees", "180 degrees", "270 degrees"]) -> Latent:
    """Turn a latent clockwise."""
    turns = ("none", "90", "180", "270").index(rotation.split()[0])
    return {**samples, "samples": torch.rot90(samples["samples"], turns, dims=(3, 2))}


@node("LatentAdd", category="latent/advanced")
def add_latents(samples1: Latent, samples2: Latent) -> Latent:
    """Add two latents, the second resized to the first."""
    return {**samples1, "samples": samples1["samples"] + _fitted(samples2, samples1)}


@node("LatentSubtract", category="latent/advanced")
def subtract_latents(samples1: Latent, samples2: Latent) -> Latent:
    """Subtract the second latent, resized to the first."""
    return {**samples1, "samples": samples1["samples"] - _fitted(samples2, samples1)}


@node("LatentMultiply", category="latent/advanced")
def multiply_latent(
    samples: Latent, multiplier: Annotated[float, Meta(ge=-10.0, le=10.0), Widget(default=1.0, step=0.01)]
) -> Latent:
    """Multiply a latent by a number."""
    return {**samples, "samples": samples["samples"] * multiplier}


def _fitted(samples: dict[str, Any], target: dict[str, Any]) -> torch.Tensor:
    """Return a latent with the size and the batch of another: resized, repeated, cut."""
    own, wanted = samples["samples"], target["samples"]
    if own.shape[1:] != wanted.shape[1:]:
        own = resize(own, wanted.shape[-1], wanted.shape[-2], "bilinear", "center")
    return own.repeat(-(-len(wanted) // len(own)), 1, 1, 1)[: len(wanted)]
