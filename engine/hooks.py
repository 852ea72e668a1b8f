"""Calling what a node class brings besides its function (fingerprint, validate, check_lazy), and hidden inputs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from typing import Any

from engine.context import Context
from engine.types import NodeSpec


def call_hook(spec: NodeSpec, hook: str, arguments: Mapping[str, Any], context: Context | None, *first: Any) -> Any:
    """Call a hook with those of the arguments that it names, and the context if it names that; await what it gives.

    first: positional arguments before them (the node's instance).
    """
    function, names = getattr(spec, hook), spec.hook_names[hook]
    chosen = dict(arguments) if names is None else {k: v for k, v in arguments.items() if k in names}
    if spec.wants_context and (names is None or spec.wants_context in names):
        chosen[spec.wants_context] = context
    answer = function(*first, **chosen)
    return asyncio.run(_wait(answer)) if inspect.isawaitable(answer) else answer


async def _wait(answer: Any) -> Any:
    return await answer


EXTRAS = {"EXTRA_PNGINFO", "AUTH_TOKEN_COMFY_ORG", "API_KEY_COMFY_ORG"}
"""Hidden words whose value the submitter sends along, under the same name in lower case."""


def hidden_inputs(spec: NodeSpec, context: Context, dynamic_prompt: Any) -> dict[str, Any]:
    """Give the values of the inputs that a class asks for in ComfyUI's hidden words; other words mean nothing."""
    found: dict[str, Any] = {}
    for name, word in spec.hidden.items():
        if word == "UNIQUE_ID":
            found[name] = context.node_id
        elif word == "PROMPT":
            found[name] = context.prompt
        elif word == "DYNPROMPT":
            found[name] = dynamic_prompt
        elif word in EXTRAS:
            found[name] = context.extra.get(word.lower())
    return found


def hidden_placeholders(spec: NodeSpec, node_id: str) -> dict[str, Any]:
    """Give the hidden inputs as they are before a run: only the node's id is known."""
    return {name: {"UNIQUE_ID": node_id, "PROMPT": {}}.get(word) for name, word in spec.hidden.items()}
