"""Unwanted pictures are blacked out."""

import logging
from typing import Annotated

from engine.context import Context
from engine.node import node
from engine.types import Choices, Socket
from models.safety import SafetyChecker as SafetyCheckerValue
from models.safety import load_safety_checker
from nodes.runtime import Runtime, file_identity, model_names
from nodes.sockets import Image

log = logging.getLogger(__name__)

KIND = "safety_checker"

SafetyChecker = Annotated[SafetyCheckerValue, Socket("SAFETY_CHECKER")]


@node(
    "SafetyCheckerLoader",
    category="loaders",
    display_name="Load Safety Checker",
    fingerprint=lambda model_name: file_identity(KIND, model_name),
)
def load_safety_checker_node(
    model_name: Annotated[str, Choices(lambda: model_names(KIND))], context: Context
) -> SafetyChecker:
    """Open Stable Diffusion's safety checker (.bin, .safetensors)."""
    runtime: Runtime = context.runtime
    return load_safety_checker(runtime.folders.path(KIND, model_name), runtime.residency)


@node("BlackOutUnsafe", category="image", display_name="Black Out Unsafe Images")
def black_out_unsafe(safety_checker: SafetyChecker, images: Image) -> Image:
    """Replace pictures that the checker flags by black ones of the same size; all others stay as they are."""
    blacked, flagged = safety_checker.blacked_out(images)
    if any(flagged):
        log.info("%d of %d pictures were blacked out.", sum(flagged), len(flagged))
    return blacked
