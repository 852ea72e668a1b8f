"""From a decoded body to a stored job."""

import logging
from collections.abc import Sequence

import msgspec
from anyio import to_thread

from api.addresses import may_call
from api.contracts.fooocus_api.answers import Mode
from api.contracts.fooocus_api.replies import CONTRACT, PlannedImage, Record
from api.contracts.fooocus_api.schemas import TextToImage
from api.contracts.fooocus_api.translate import (
    TEXT_TO_IMAGE,
    Flow,
    refused_field,
    to_generation,
    without_effect,
)
from api.errors import Fault, InvalidRequest, shown
from api.services import Services
from api.settings import Settings
from engine.jobs.errors import QueueFull
from engine.jobs.job import Job, NewJob
from graphs.flows import compile_request
from graphs.request import GenerationRequest, Refused
from graphs.save import Compiled

log = logging.getLogger(__name__)


def check_room(served: Services) -> None:
    """Raise QueueFull before pictures are fetched and decoded for nothing."""
    if served.jobs.queue_size and served.jobs.remaining >= served.jobs.queue_size:
        raise QueueFull(served.jobs.queue_size)


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
    await _check_webhook(body.webhook_url, served.settings)
    compiled = await to_thread.run_sync(_compile, served, request, body)
    warnings = [*warnings, *without_effect(body.advanced_params, flow), *compiled.warnings]
    raw = served.settings.base64_raw if mode.base64_raw is None else mode.base64_raw
    record = Record(
        params=history_params(body, request),
        images=[PlannedImage(image.node_id, str(image.seed)) for image in compiled.images],
        require_base64=body.require_base64,
        base64_raw=raw,
    )
    job = await served.jobs.submit(
        NewJob(
            kind=flow.job_type,
            contract=CONTRACT,
            graph=compiled.graph.to_json(),
            outputs=tuple(compiled.outputs),
            request=msgspec.to_builtins(record),
            extra={"previews": compiled.preview},
            webhook_url=body.webhook_url or served.settings.webhook_url or None,
            warnings=tuple(warnings),
        )
    )
    _report(job, warnings)
    return job, warnings


async def _check_webhook(url: str, settings: Settings) -> None:
    """Refuse an address inside the operator's network; what is no http address at all only fails to be delivered."""
    if url.lower().startswith(("http://", "https://")) and not await may_call(url, settings):
        msg = "Value error, the host is not a public one; --allow-hosts can name it"
        raise InvalidRequest([Fault("value_error", ("body", "webhook_url"), msg, shown(url), {"error": "not public"})])


def history_params(body: TextToImage, request: GenerationRequest) -> dict[str, object]:
    """The request in the words of the persistent history: what was given, the settled seed, the contract's nulls."""
    given = {
        name: value for name, value in msgspec.to_builtins(body).items() if name not in ("save_meta", "webhook_url")
    }
    given["loras"] = [[lora.enabled, lora.name, lora.weight] for lora in request.loras or ()]
    given["image_seed"] = str(request.seed)
    absent: dict[str, object] = {"input_image": None, "input_mask": None, "image_prompts": []}
    return absent | given | {"async_process": None, "webhook_url": None}


def _compile(served: Services, request: GenerationRequest, body: TextToImage) -> Compiled:
    try:
        return compile_request(request, served.library.catalog)
    except Refused as refused:
        raise refused_field(refused, body) from refused


def _report(job: Job, warnings: Sequence[str]) -> None:
    for warning in warnings:
        log.warning("job %s: %s", job.id, warning)
