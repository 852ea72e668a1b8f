"""From a decoded body to a stored job."""

from typing import Any

from api.contracts.fooocusapi import presets, records, translate
from api.contracts.fooocusapi.pictures import Pictures
from api.contracts.fooocusapi.schemas import CommonRequest
from api.effects import without_effect
from api.services import Services
from api.submission import check_webhook, compiled, enqueue, refuse_unknown
from engine.jobs.job import Job
from graphs.catalog import Catalog
from graphs.request import Refused


async def submit(
    served: Services, body: CommonRequest, pictures: Pictures, catalog: Catalog, *, one_image: bool, waits: bool
) -> tuple[Job, list[str]]:
    """Compile and queue a request; the job is stored when this returns. waits: the client hears of it at its end.

    Returns the job and what was left out or replaced. Raises InvalidRequest for what cannot be done, QueueFull.
    """
    await check_webhook(body.webhook_url, served)
    preset = presets.chosen_preset(body, catalog)
    asked_for = presets.without_defaults(body) if preset else body
    warnings: list[str] = []
    flow = translate.flow_of(body, pictures)
    request = translate.to_generation(asked_for, pictures, served.settings, warnings, one_image=one_image)

    def named(refused: Refused) -> Any:
        return translate.refused_field(refused, body)

    made = await compiled(request, catalog, named)
    warnings += [*without_effect(body, made.generation, request), *made.warnings]
    refuse_unknown(served, warnings, named)
    params = records.params_of(asked_for, request, pictures, flow, preset or catalog.preset_in_force)
    job = await enqueue(
        served,
        made,
        request,
        catalog,
        contract=records.CONTRACT,
        kind=flow.kind,
        record={"params": params},
        webhook_url=body.webhook_url,
        warnings=warnings,
        waits=waits,
    )
    return job, warnings
