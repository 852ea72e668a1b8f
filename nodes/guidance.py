"""Patches of a MODEL that change how it is guided, not its weights. Each returns a new value."""

from typing import Annotated

from msgspec import Meta

from engine.node import node
from engine.types import Widget
from models.freeu import FreeU
from models.sdxl import AdaptiveGuidance, SizeScale
from nodes.sockets import Model


@node("ScaleSizeConditioning", category="model_patches")
def scale_size_conditioning(
    model: Model,
    positive: Annotated[float, Meta(ge=0.0, le=3.0), Widget(step=0.01)] = 1.5,
    negative: Annotated[float, Meta(ge=0.0, le=3.0), Widget(step=0.01)] = 0.8,
    end: Annotated[float, Meta(ge=0.0, le=1.0), Widget(step=0.01)] = 0.3,
) -> Model:
    """Tell SDXL of a larger original for the positive prompt and a smaller one for the negative (Fooocus' ADM scaler).

    positive, negative: factors on the picture's size. end: until this share of the timesteps has passed; 0 = never.
    """
    return model.patched(size_scale=SizeScale(positive, negative, end))


@node("AdaptiveGuidance", category="model_patches")
def adaptive_guidance(
    model: Model,
    adaptive_cfg: Annotated[float, Meta(ge=0.0, le=100.0), Widget(step=0.1)] = 7.0,
    sharpness: Annotated[float, Meta(ge=0.0, le=100.0), Widget(step=0.1)] = 2.0,
) -> Model:
    """Guide as Fooocus does: a high cfg acts late, and the positive branch's noise is filtered along edges.

    adaptive_cfg: a cfg above this one is reached only towards the end. sharpness: 2 is Fooocus' default, 30 its limit.
    """
    return model.patched(guidance=AdaptiveGuidance(adaptive_cfg, sharpness))


@node("FreeU_V2", category="model_patches/unet")
def free_u(
    model: Model,
    b1: Annotated[float, Meta(ge=0.0, le=10.0), Widget(default=1.3, step=0.01)],
    b2: Annotated[float, Meta(ge=0.0, le=10.0), Widget(default=1.4, step=0.01)],
    s1: Annotated[float, Meta(ge=0.0, le=10.0), Widget(default=0.9, step=0.01)],
    s2: Annotated[float, Meta(ge=0.0, le=10.0), Widget(default=0.2, step=0.01)],
) -> Model:
    """Weigh the decoder's own features (b) against the skip connections (s) in its first two stages."""
    return model.patched(freeu=FreeU(b1, b2, s1, s2))
