"""A prompt gets more words, and texts get their places filled."""

import json
from typing import Annotated, Any

from msgspec import Meta

from engine.context import Context
from engine.node import node
from engine.types import Choices, Socket, Widget
from models.expansion import Expander, load_expander
from nodes.runtime import Runtime, file_identity, model_names

KIND = "prompt_expansion"

ExpansionModel = Annotated[Expander, Socket("EXPANSION_MODEL")]
Text = Annotated[str, Widget(extra={"multiline": True})]


@node(
    "ExpansionModelLoader",
    category="loaders",
    display_name="Load Prompt Expansion",
    fingerprint=lambda model_name: file_identity(KIND, model_name),
)
def load_expansion_model(
    model_name: Annotated[str, Choices(lambda: model_names(KIND))], context: Context
) -> ExpansionModel:
    """Open a GPT-2 by its weights; config.json, vocab.json, merges.txt and positive.txt are read from beside them."""
    runtime: Runtime = context.runtime
    return load_expander(runtime.folders.path(KIND, model_name), runtime.residency)


@node("ExpandPrompt", category="prompt", display_name="Expand Prompt")
def expand_prompt(
    expansion_model: ExpansionModel,
    text: Text,
    seed: Annotated[int, Meta(ge=0, le=2**64 - 1), Widget(default=0)],
) -> str:
    """Let a language model go on with a prompt until the text encoders' chunk is full. Same seed, same words."""
    return expansion_model.expand(text, seed)


@node("InsertText", category="utils/string", display_name="Insert Text")
def insert_text(template: Text, slot: str, text: Text, as_json: bool = False) -> str:
    """Put a text wherever `slot` stands in a template. as_json: the template is JSON and stays it; keys get sorted."""
    if not slot:
        return template
    if as_json:
        return json.dumps(_filled(json.loads(template), slot, text), sort_keys=True)
    return template.replace(slot, text)


def _filled(value: Any, slot: str, text: str) -> Any:
    """The same JSON value with every string filled in, keys aside."""
    if isinstance(value, str):
        return value.replace(slot, text)
    if isinstance(value, list):
        return [_filled(item, slot, text) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, slot, text) for key, item in value.items()}
    return value
