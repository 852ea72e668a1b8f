"""Control pictures: finding edges and depths, loading ControlNets, adding them to a conditioning."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta

from engine.context import Context
from engine.node import node
from engine.types import Choices, Socket, Widget
from models.control.apply import Control, controlled, controlled_together
from models.control.canny import pyramid_edges
from models.control.cpds import contrast_preserving
from models.control.edges import find_edges
from models.control.model import ControlModel, load_control
from models.files.image import to_uint8
from models.resample import cover
from nodes.runtime import Runtime, file_identity, model_names
from nodes.sockets import Conditioning, Image, Model, Vae

ControlNet = Annotated[ControlModel, Socket("CONTROL_NET")]
ControlNetName = Annotated[str, Choices(lambda: model_names("controlnet"))]
Strength = Annotated[float, Meta(ge=0.0, le=10.0), Widget(default=1.0, step=0.01)]
Percent = Annotated[float, Meta(ge=0.0, le=1.0), Widget(step=0.001)]
AUTO = "auto"
# In the order of xinsir's union ControlNets; only the promax one knows the last two.
UNION_TYPES = (
    "openpose",
    "depth",
    "hed/pidi/scribble/ted",
    "canny/lineart/anime_lineart/mlsd",
    "normal",
    "segment",
    "tile",
    "repaint",
)
ControlType = Annotated[str, Choices((AUTO, *UNION_TYPES))]
MAX_SIDE, CELL_PX = 16384, 8

Threshold = Annotated[int, Meta(ge=1, le=255)]


@node(
    "ControlNetLoader",
    category="loaders",
    display_name="Load ControlNet Model",
    fingerprint=lambda control_net_name: file_identity("controlnet", control_net_name),
)
def load_controlnet(control_net_name: ControlNetName, context: Context) -> ControlNet:
    """Open an SDXL ControlNet (diffusers' or LDM layout) or a Control-LoRA."""
    runtime: Runtime = context.runtime
    return load_control(runtime.folders.path("controlnet", control_net_name), runtime.residency)


@node(
    "DiffControlNetLoader",
    category="loaders",
    display_name="Load ControlNet Model (diff)",
    fingerprint=lambda control_net_name, **_: file_identity("controlnet", control_net_name),
)
def load_difference_controlnet(model: Model, control_net_name: ControlNetName, context: Context) -> ControlNet:
    """Open a ControlNet beside a model. Files that hold differences to a model exist for SD 1.x only; they are refused.

    A Control-LoRA, SDXL's kind of difference, is added to the model that samples.
    """
    runtime: Runtime = context.runtime
    return load_control(runtime.folders.path("controlnet", control_net_name), runtime.residency)


@node("SetUnionControlNetType", category="conditioning/controlnet")
def set_union_controlnet_type(control_net: ControlNet, type: ControlType) -> ControlNet:
    """Tell a union ControlNet which kind of picture it gets. auto: no kind; the network sees the bare picture."""
    return replace(control_net, types=() if type == AUTO else (UNION_TYPES.index(type),))


@node("ControlNetApply", category="conditioning/controlnet", display_name="Apply ControlNet (old)")
def apply_controlnet(
    conditioning: Conditioning, control_net: ControlNet, image: Image, strength: Strength
) -> Conditioning:
    """Let a picture steer both prompts through the whole run. Several controls add up."""
    if strength == 0:
        return conditioning
    return controlled(conditioning, Control(control_net, image, strength), both_branches=True)


@node(
    "ControlNetApplyAdvanced",
    category="conditioning/controlnet",
    display_name="Apply ControlNet",
    outputs=("positive", "negative"),
)
def apply_controlnet_advanced(
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    image: Image,
    strength: Strength,
    start_percent: Annotated[float, Meta(ge=0.0, le=1.0), Widget(default=0.0, step=0.001)],
    end_percent: Annotated[float, Meta(ge=0.0, le=1.0), Widget(default=1.0, step=0.001)],
    vae: Vae | None = None,
) -> tuple[Conditioning, Conditioning]:
    """Let a picture steer both prompts between two shares of the run. vae: not needed by SDXL's ControlNets."""
    return _steered(positive, negative, Control(control_net, image, strength, start_percent, end_percent))


@node(
    "ApplyControl", category="conditioning/controlnet", display_name="Apply Control", outputs=("positive", "negative")
)
def apply_control(
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    image: Image,
    weight: Strength,
    stop: Percent = 0.5,
    softness: Percent = 0.25,
) -> tuple[Conditioning, Conditioning]:
    """Steer as Fooocus does, from the start.

    stop: share of the run after which the picture no longer acts. softness: how much less fine detail counts.
    """
    return _steered(positive, negative, Control(control_net, image, weight, end=stop, softness=softness))


def _steered(positive: list, negative: list, control: Control) -> tuple[list, list]:
    if control.strength == 0:
        return positive, negative
    steered_positive, steered_negative = controlled_together((positive, negative), control)
    return steered_positive, steered_negative


@node("FitForControl", category="image/preprocessors", display_name="Fit Image for Control")
def fit_for_control(
    image: Image,
    like: Image | None = None,
    width: Annotated[int, Meta(ge=CELL_PX, le=MAX_SIDE), Widget(default=1024, step=8)] = 1024,
    height: Annotated[int, Meta(ge=CELL_PX, le=MAX_SIDE), Widget(default=1024, step=8)] = 1024,
) -> Image:
    """Resize pictures so that they cover the size of the result, and cut what stands out, centred.

    like: a picture whose latent's size counts instead.
    """
    if like is not None:
        height, width = (side // CELL_PX * CELL_PX for side in like.shape[1:3])
    if tuple(image.shape[1:3]) == (height, width):
        return image
    return cover(image[..., :3], width, height)


@node("Canny", category="image/preprocessors")
def canny(
    image: Image,
    low_threshold: Annotated[float, Meta(ge=0.01, le=0.99), Widget(default=0.4, step=0.01)],
    high_threshold: Annotated[float, Meta(ge=0.01, le=0.99), Widget(default=0.8, step=0.01)],
) -> Image:
    """Find the edges of pictures, white on black. Thresholds are on the Sobel magnitude; a full step reaches 2.6."""
    return find_edges(image, low_threshold, high_threshold)


@node("PyraCanny", category="image/preprocessors")
def pyra_canny(image: Image, low_threshold: Threshold = 64, high_threshold: Threshold = 128) -> Image:
    """Find edges at nine scales as Fooocus does; those that show at many scales are brightest."""
    return _each(image, lambda pixels: pyramid_edges(pixels, low_threshold, high_threshold))


@node("CPDS", category="image/preprocessors")
def cpds(image: Image) -> Image:
    """Turn pictures into grey that keeps the contrast of colours, the control picture of Fooocus' CPDS."""
    return _each(image, contrast_preserving)


def _each(image: Image, process: Callable[[np.ndarray], np.ndarray]) -> Image:
    planes = np.stack([process(pixels) for pixels in to_uint8(image[..., :3])])
    return torch.from_numpy(planes).float().div(255.0)[..., None].repeat(1, 1, 1, 3)
