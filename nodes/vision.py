"""Pictures as prompts: image encoders, IP-Adapters, and models that are steered by a picture."""

from typing import Annotated, Literal

import torch
from msgspec import Meta

from engine.context import Context
from engine.node import node
from engine.types import Choices, Socket, Widget
from models.files.image import to_uint8
from models.vision.clip_vision import ClipVision, VisionOutput, load_clip_vision
from models.vision.image_prompt import ImagePromptAdapter, load_adapter
from models.vision.pixels import cropped, stretched
from nodes.runtime import Runtime, file_identity, model_names
from nodes.sockets import Image, Model

ClipVisionSocket = Annotated[ClipVision, Socket("CLIP_VISION")]
ClipVisionOutput = Annotated[VisionOutput, Socket("CLIP_VISION_OUTPUT")]
Adapter = Annotated[ImagePromptAdapter, Socket("IMAGE_PROMPT_ADAPTER")]

NONE = "none"


def _kind_of(name: str) -> str:
    """The folder of an adapter: Fooocus keeps them beside the ControlNets, ComfyUI in a folder of their own."""
    return "ipadapter" if name in model_names("ipadapter") else "controlnet"


def _identities(adapter_name: str, negative_name: str = NONE) -> tuple:
    names = [adapter_name] if negative_name == NONE else [adapter_name, negative_name]
    return tuple(file_identity(_kind_of(name), name) for name in names)


AdapterName = Annotated[str, Choices(lambda: [*model_names("controlnet"), *model_names("ipadapter")])]
NegativeName = Annotated[str, Choices(lambda: [NONE, *model_names("controlnet"), *model_names("ipadapter")])]
ClipVisionName = Annotated[str, Choices(lambda: model_names("clip_vision"))]


@node(
    "CLIPVisionLoader",
    category="loaders",
    display_name="Load CLIP Vision",
    fingerprint=lambda clip_name: file_identity("clip_vision", clip_name),
)
def load_clip_vision_node(clip_name: ClipVisionName, context: Context) -> ClipVisionSocket:
    """Open a CLIP image encoder in transformers' or OpenCLIP's names."""
    runtime: Runtime = context.runtime
    return load_clip_vision(runtime.folders.path("clip_vision", clip_name), runtime.residency)


@node("CLIPVisionEncode", category="conditioning", display_name="CLIP Vision Encode")
def encode_clip_vision(
    clip_vision: ClipVisionSocket, image: Image, crop: Literal["center", "none"]
) -> ClipVisionOutput:
    """Encode pictures, cut to a square from the middle or squeezed into one."""
    return clip_vision.encode(cropped(image, clip_vision.side, crop == "center"))


@node("EncodeImagePrompt", category="conditioning/image prompt", display_name="Encode Image Prompt")
def encode_image_prompt(clip_vision: ClipVisionSocket, image: Image) -> ClipVisionOutput:
    """Encode whole pictures, squeezed into a square, as Fooocus does for image prompts."""
    return clip_vision.encode(
        torch.stack([stretched(picture, clip_vision.side) for picture in to_uint8(image[..., :3])])
    )


@node(
    "ImagePromptLoader",
    category="loaders",
    display_name="Load Image Prompt Adapter",
    fingerprint=_identities,
)
def load_image_prompt_adapter(
    adapter_name: AdapterName, context: Context, negative_name: NegativeName = NONE
) -> Adapter:
    """Open an IP-Adapter for SDXL: plus, plus-face or plain.

    negative_name: a file of tokens for the negative prompt; with none, it sees an empty picture.
    """
    runtime: Runtime = context.runtime
    folders = runtime.folders
    negative = None if negative_name == NONE else folders.path(_kind_of(negative_name), negative_name)
    return load_adapter(folders.path(_kind_of(adapter_name), adapter_name), runtime.residency, negative)


@node("ApplyImagePrompt", category="conditioning/image prompt", display_name="Apply Image Prompt")
def apply_image_prompt(
    model: Model,
    adapter: Adapter,
    clip_vision_output: ClipVisionOutput,
    weight: Annotated[float, Meta(ge=-1.0, le=5.0), Widget(default=0.6, step=0.01)],
    stop: Annotated[float, Meta(ge=0.0, le=1.0), Widget(default=0.5, step=0.001)],
) -> Model:
    """Let a picture steer a model beside the prompt. Several add up, each with its own weight and stop.

    stop: share of the way from noise to picture at which it ceases to act.
    """
    if weight == 0 or stop == 0:
        return model
    prompt = adapter.prompt(clip_vision_output, model, weight, stop)
    return model.patched(image_prompts=(*model.options.image_prompts, prompt))
