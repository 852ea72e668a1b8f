"""Enhance: what a request asks for, with every name and number settled (Fooocus behaviour §5.8)."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from graphs.inpaint_choice import ENGINES, LIMITS
from graphs.masks import SAM, checked
from graphs.names import did_you_mean, find_folded
from graphs.request import GenerationRequest, Refused
from graphs.request_parts import Enhance, EnhanceStage
from graphs.uov import DISABLED, METHODS, Upscale, Vary, chosen, find_method

BEFORE, AFTER = "Before First Enhancement", "After Last Enhancement"
ORIGINAL, LAST_FILLED = "Original Prompts", "Last Filled Enhancement Prompts"
ORDERS, PROMPT_TYPES = (BEFORE, AFTER), (ORIGINAL, LAST_FILLED)


class Plan(Struct, frozen=True):
    """What a request asks for, settled. stages: with their numbers in the request, which messages name."""

    stages: Sequence[tuple[int, EnhanceStage]]
    method: Vary | Upscale | None
    order: str
    prompt_type: str
    final_only: bool
    show_masks: bool

    @property
    def has_work(self) -> bool:
        return self.method is not None or bool(self.stages)


def settled(request: GenerationRequest, enhance: Enhance, warnings: list[str]) -> Plan:
    """Read what is asked for. A stage that looks for nothing is left out with a warning. Raises Refused."""
    label = find_method(enhance.uov_method)
    if label is None:
        near = did_you_mean(enhance.uov_method, METHODS)
        fault = f"There is no method {enhance.uov_method!r}.{near}"
        raise Refused("enhance.uov_method", fault, f"One of {', '.join(METHODS)}.")
    stages = []
    for number, stage in enumerate(enhance.stages):
        field = f"enhance.stages.{number}"
        _check_limits(stage, field)
        masking = checked(stage.masking, f"{field}.masking")
        if masking.model == SAM and not masking.prompt:
            warnings.append(f"Enhancement {number + 1} was left out: it does not say what to look for.")
        else:
            stages.append((number, replace(stage, masking=masking)))
    return Plan(
        stages=stages,
        method=None if label == DISABLED else chosen(replace(request, uov_method=label)),
        order=_listed(enhance.uov_order, ORDERS, "enhance.uov_order"),
        prompt_type=_listed(enhance.uov_prompt_type, PROMPT_TYPES, "enhance.uov_prompt_type"),
        final_only=enhance.save_final_only,
        show_masks=enhance.show_masks,
    )


def _check_limits(stage: EnhanceStage, field: str) -> None:
    for name, (low, high) in LIMITS.items():
        value = getattr(stage, name)
        if not low <= value <= high:
            raise Refused(f"{field}.{name}", f"{name} is {value}.", f"It must lie between {low:g} and {high:g}.")
    if stage.engine is not None and find_folded(stage.engine, ENGINES) is None:
        near = did_you_mean(stage.engine, ENGINES)
        fault = f"There is no inpaint engine {stage.engine!r}.{near}"
        raise Refused(f"{field}.engine", fault, f"One of {', '.join(ENGINES)}.")


def _listed(name: str, names: Sequence[str], field: str) -> str:
    found = find_folded(name.strip(), names)
    if found is None:
        raise Refused(field, f"There is no {name!r}.{did_you_mean(name, names)}", f"One of {', '.join(names)}.")
    return found
