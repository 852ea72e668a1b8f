"""From a decoded body to a stored job."""

from collections.abc import Sequence

import msgspec

from api.contracts.fooocus_api.answers import Mode
from api.contracts.fooocus_api.replies import CONTRACT, Record
from api.contracts.fooocus_api.schemas import TextToImage
from api.contracts.fooocus_api.translate import (
    TEXT_TO_IMAGE,
    Flow,
    refused_field,
    to_generation,
    without_effect,
)
from api.errors import InvalidRequest
from api.services import Services
from api.submission import check_room, check_webhook, compiled, enqueue, refuse_unknown
from engine.jobs.job import Job
from graphs.request import GenerationRequest, Refused

__all__ = ["check_room", "history_params", "submit", "submit_text_to_image"]


async def submit_text_to_image(served: Services, body: TextToImage, mode: Mode) -> tuple[Job, list[str]]:
    """Compile and queue a text-to-image request; as `submit`."""
    request = to_generation(body, served.settings, one_image=mode.kind == "binary")
    return await submit(served, body, request, mode, TEXT_TO_IMAGE, [])


async def submit(
    served: Services, body: TextToImage, request: GenerationRequest, mode: Mode, flow: Flow, warnings: Sequence[str]
) -> tuple[Job, list[str]]:
    """Compile and queue a request; the job is stored when this returns.

    body: what was sent, for the history and for naming faults; it holds no pictures. warnings: what is known so far.
    Returns the job and what was left out or replaced. Raises InvalidRequest for what cannot be done, QueueFull.
    """
    await check_webhook(body.webhook_url, served)

    def named(refused: Refused) -> InvalidRequest:
        return refused_field(refused, body)

    made = await compiled(served, request, named)
    warnings = [*warnings, *without_effect(body.advanced_params, flow), *made.warnings]
    refuse_unknown(served, warnings, named)
    raw = served.settings.base64_raw if mode.base64_raw is None else mode.base64_raw
    record = Record(params=history_params(body, request), require_base64=body.require_base64, base64_raw=raw)
    job = await enqueue(
        served,
        made,
        contract=CONTRACT,
        kind=flow.job_type,
        record=msgspec.to_builtins(record),
        webhook_url=body.webhook_url,
        warnings=warnings,
    )
    return job, warnings


def history_params(body: TextToImage, request: GenerationRequest) -> dict[str, object]:
    """The request in the words of the persistent history: what was given, the settled seed, the contract's nulls."""
    given = {
        name: value for name, value in msgspec.to_builtins(body).items() if name not in ("save_meta", "webhook_url")
    }
    given["loras"] = [[lora.enabled, lora.name, lora.weight] for lora in request.loras or ()]
    given["image_seed"] = str(request.seed)
    absent: dict[str, object] = {"input_image": None, "input_mask": None, "image_prompts": []}
    return absent | given | {"async_process": None, "webhook_url": None}
