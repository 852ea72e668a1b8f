"""Prompts and conditioning."""

from typing import Annotated

from msgspec import Meta

from engine.node import node
from engine.types import Widget
from models.text import conditioning as arithmetic
from models.text.embeddings import PREFIX
from models.text.encode import encode_comfy, encode_comfy_pair, encode_fooocus
from nodes.runtime import embedding_files
from nodes.sockets import Clip, Conditioning

MAX_SIDE = 16384

Prompt = Annotated[str, Widget(extra={"multiline": True, "dynamicPrompts": True})]
Offset = Annotated[int, Meta(ge=0, le=MAX_SIDE), Widget(default=0)]
Side = Annotated[int, Meta(ge=0, le=MAX_SIDE), Widget(default=1024)]


def _embeddings_in(*texts: str | list[str] | None) -> list[tuple[str, int, int]] | None:
    """Return the state of the embedding files if a text may name one; a text that comes over a link (None) may."""
    return embedding_files() if any(text is None or PREFIX in str(text) for text in texts) else None


@node(
    "CLIPTextEncode",
    category="conditioning",
    display_name="CLIP Text Encode (Prompt)",
    fingerprint=lambda text, **_: _embeddings_in(text),
)
def encode_text(text: Prompt, clip: Clip) -> Conditioning:
    """Encode a prompt as ComfyUI does. `(words:1.2)` weighs, `embedding:name` inserts a textual inversion."""
    return encode_comfy(clip, text)


@node(
    "CLIPTextEncodeSDXL",
    category="advanced/conditioning",
    fingerprint=lambda text_g, text_l, **_: _embeddings_in(text_g, text_l),
)
def encode_text_sdxl(
    clip: Clip,
    width: Side,
    height: Side,
    crop_w: Offset,
    crop_h: Offset,
    target_width: Side,
    target_height: Side,
    text_g: Prompt,
    text_l: Prompt,
) -> Conditioning:
    """Encode a prompt for each text encoder and say which picture size the model shall believe in (pixels)."""
    return encode_comfy_pair(
        clip,
        text_l,
        text_g,
        width=width,
        height=height,
        crop_w=crop_w,
        crop_h=crop_h,
        target_width=target_width,
        target_height=target_height,
    )


@node(
    "CLIPTextEncodeSDXLRefiner",
    category="advanced/conditioning",
    fingerprint=lambda text, **_: _embeddings_in(text),
)
def encode_text_refiner(
    ascore: Annotated[float, Meta(ge=0.0, le=1000.0), Widget(default=6.0, step=0.01)],
    width: Side,
    height: Side,
    text: Prompt,
    clip: Clip,
) -> Conditioning:
    """Encode a prompt for SDXL's refiner and say which aesthetic score and picture size (pixels) to believe in."""
    return encode_comfy_pair(clip, text, text, aesthetic_score=ascore, width=width, height=height)


@node("EncodePrompts", category="conditioning", fingerprint=lambda texts, **_: _embeddings_in(texts))
def encode_prompts(clip: Clip, texts: list[str], pooled_top_k: Annotated[int, Meta(ge=1, le=1024)] = 1) -> Conditioning:
    """Encode several texts as Fooocus does and lay them end to end.

    Weighted chunks keep their mean; the pooled vector is the sum over the first pooled_top_k texts.
    """
    return encode_fooocus(clip, texts or [""], pooled_top_k)


@node("CLIPSetLastLayer", category="conditioning", display_name="CLIP Set Last Layer")
def set_last_layer(
    clip: Clip, stop_at_clip_layer: Annotated[int, Meta(ge=-24, le=-1), Widget(default=-1, step=1)]
) -> Clip:
    """Choose the hidden layer that becomes the context, counted from the end; SDXL was trained on -2, SD 1.x on -1."""
    return clip.patched(clip_skip=-stop_at_clip_layer)


@node("ConditioningCombine", category="conditioning", display_name="Conditioning (Combine)")
def combine(conditioning_1: Conditioning, conditioning_2: Conditioning) -> Conditioning:
    """Let both act: the model is evaluated for each and the results are averaged."""
    return [*conditioning_1, *conditioning_2]


@node("ConditioningConcat", category="conditioning", display_name="Conditioning (Concat)")
def concatenate(conditioning_to: Conditioning, conditioning_from: Conditioning) -> Conditioning:
    """Append tokens to tokens, as if the prompts were one longer prompt in separate chunks."""
    return arithmetic.concatenated(conditioning_to, conditioning_from)


@node("ConditioningAverage", category="conditioning", display_name="Conditioning (Average)")
def average(
    conditioning_to: Conditioning,
    conditioning_from: Conditioning,
    conditioning_to_strength: Annotated[float, Meta(ge=0.0, le=1.0), Widget(default=1.0, step=0.01)],
) -> Conditioning:
    """Blend two prompts token by token; 1 is all `conditioning_to`."""
    return arithmetic.averaged(conditioning_to, conditioning_from, conditioning_to_strength)


@node("ConditioningZeroOut", category="advanced/conditioning")
def zero_out(conditioning: Conditioning) -> Conditioning:
    """Replace a prompt by zeros, which for SDXL is not the same as an empty prompt."""
    return arithmetic.zeroed(conditioning)
