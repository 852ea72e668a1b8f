"""Between pixels and latents."""

from engine.node import node
from nodes.sockets import Image, Latent, Vae


@node("VAEDecode", category="latent", display_name="VAE Decode")
def decode_latent(samples: Latent, vae: Vae) -> Image:
    """Turn latents into pictures.

    samples: (B, 4, H/8, W/8). Returns (B, H, W, 3) float32 in 0..1.
    Raises NonFiniteOutput when the VAE overflows even in float32.
    """
    return vae.decode(samples["samples"])


@node("VAEEncode", category="latent", display_name="VAE Encode")
def encode_image(pixels: Image, vae: Vae) -> Latent:
    """Turn pictures into latents: the mean of the posterior. Sides are cut to multiples of 8, from the middle."""
    return {"samples": vae.encode(pixels[..., :3])}
