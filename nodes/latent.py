"""Latents to start from."""

from typing import Annotated

import torch
from msgspec import Meta

from engine.node import node
from engine.types import Widget
from nodes.sockets import Latent

MAX_SIDE = 16384
CELL = 8  # pixels per latent cell

Pixels = Annotated[int, Meta(ge=16, le=MAX_SIDE), Widget(default=512, step=8)]


@node("EmptyLatentImage", category="latent", display_name="Empty Latent Image")
def empty_latent(
    width: Pixels, height: Pixels, batch_size: Annotated[int, Meta(ge=1, le=4096), Widget(default=1)]
) -> Latent:
    """Zeros (batch, 4, height/8, width/8): the start of a picture out of noise alone."""
    return {"samples": torch.zeros(batch_size, 4, height // CELL, width // CELL)}
