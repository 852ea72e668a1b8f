"""Model files to values: checkpoints, VAEs, LoRAs."""

import logging
from typing import Annotated

from msgspec import Meta

from engine.context import Context
from engine.node import node
from engine.types import Choices, Widget
from models.sdxl import add_lora, load_checkpoint, load_vae
from nodes.runtime import Runtime, file_identity, model_names
from nodes.sockets import Clip, Model, Vae

log = logging.getLogger(__name__)

CheckpointName = Annotated[str, Choices(lambda: model_names("checkpoints"))]
VaeName = Annotated[str, Choices(lambda: model_names("vae"))]
LoraName = Annotated[str, Choices(lambda: model_names("loras"))]
LoraStrength = Annotated[float, Meta(ge=-100.0, le=100.0), Widget(default=1.0, step=0.01)]


@node(
    "CheckpointLoaderSimple",
    category="loaders",
    display_name="Load Checkpoint",
    fingerprint=lambda ckpt_name: file_identity("checkpoints", ckpt_name),
)
def load_checkpoint_node(ckpt_name: CheckpointName, context: Context) -> tuple[Model, Clip, Vae]:
    """Open an SDXL checkpoint: its UNet, both text encoders and its VAE. Weights are read when first used."""
    runtime: Runtime = context.runtime
    model, clip, vae = load_checkpoint(runtime.folders.path("checkpoints", ckpt_name), runtime.residency)
    return model, clip.patched(embeddings_dirs=runtime.folders.searched("embeddings")), vae


@node(
    "VAELoader",
    category="loaders",
    display_name="Load VAE",
    fingerprint=lambda vae_name: file_identity("vae", vae_name),
)
def load_vae_node(vae_name: VaeName, context: Context) -> Vae:
    """Open a VAE from its own file."""
    runtime: Runtime = context.runtime
    return load_vae(runtime.folders.path("vae", vae_name), runtime.residency)


@node(
    "LoraLoader",
    category="loaders",
    display_name="Load LoRA",
    fingerprint=lambda lora_name, **_: file_identity("loras", lora_name),
)
def load_lora_node(
    model: Model,
    clip: Clip,
    lora_name: LoraName,
    strength_model: LoraStrength,
    strength_clip: LoraStrength,
    context: Context,
) -> tuple[Model, Clip]:
    """Add a LoRA to the UNet and both text encoders. A file made for another architecture changes nothing."""
    if strength_model == 0 and strength_clip == 0:
        return model, clip
    model, clip, warnings = add_lora(model, clip, context.runtime.lora(lora_name), strength_model, strength_clip)
    _tell(warnings)
    return model, clip


@node(
    "LoraLoaderModelOnly",
    category="loaders",
    display_name="Load LoRA (UNet only)",
    fingerprint=lambda lora_name, **_: file_identity("loras", lora_name),
)
def load_lora_model_only(model: Model, lora_name: LoraName, strength_model: LoraStrength, context: Context) -> Model:
    """Add a LoRA to the UNet alone."""
    if strength_model == 0:
        return model
    model, _, warnings = add_lora(model, None, context.runtime.lora(lora_name), strength_model, 0.0)
    _tell(warnings)
    return model


def _tell(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        log.warning("%s", warning)
