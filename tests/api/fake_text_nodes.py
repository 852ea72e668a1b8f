"""The node classes of prompt expansion without torch: the words stay words."""

from typing import Annotated, Any

from engine.node import node
from engine.types import Socket
from tests.api.fake_nodes import Clip, Conditioning

Expander = Annotated[Any, Socket("EXPANSION_MODEL")]


@node("ExpansionModelLoader", category="loaders")
def load_expander(model_name: str) -> Expander:
    """Pretend to load."""
    return model_name


@node("ExpandPrompt", category="prompt")
def expand(expansion_model: Expander, text: str, seed: int = 0) -> str:
    """Add the seed."""
    return f"{text}, {seed}"


@node("InsertText", category="utils/string")
def insert(template: str, slot: str, text: str, as_json: bool = False) -> str:
    """Fill in."""
    return template.replace(slot, text) if slot else template


@node("CLIPTextEncode", category="conditioning")
def encode(clip: Clip, text: str) -> Conditioning:
    """Keep the words."""
    return [text]


@node("ConditioningConcat", category="conditioning")
def concatenate(conditioning_to: Conditioning, conditioning_from: Conditioning) -> Conditioning:
    """All words."""
    return [*conditioning_to, *conditioning_from]
