"""The socket types of ComfyUI's vocabulary, as annotations for node functions."""

from typing import Annotated

from torch import Tensor

from engine.types import Socket
from models import sdxl
from models.sampling.protocol import Sampler as SamplerValue
from models.upscale.upscaler import Upscaler

Model = Annotated[sdxl.Model, Socket("MODEL")]
Clip = Annotated[sdxl.Clip, Socket("CLIP")]
Vae = Annotated[sdxl.Vae, Socket("VAE")]

Conditioning = Annotated[list, Socket("CONDITIONING")]
"""Pairs of a context (1, T, C) and a dict with `pooled_output` (1, P) and other facts."""

Latent = Annotated[dict, Socket("LATENT")]
"""`samples` (B, 4, H/8, W/8) in the VAE's own scale; optional `noise_mask` (B, 1, H, W) and `batch_index`."""

Image = Annotated[Tensor, Socket("IMAGE")]
"""float32 (B, H, W, 3), 0..1."""

Mask = Annotated[Tensor, Socket("MASK")]
"""float32 (B, H, W), 1 = selected."""

Sigmas = Annotated[Tensor, Socket("SIGMAS")]
"""float32 (steps + 1,), descending, last 0."""

Sampler = Annotated[SamplerValue, Socket("SAMPLER")]

UpscaleModel = Annotated[Upscaler, Socket("UPSCALE_MODEL")]
