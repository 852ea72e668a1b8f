"""From a neutral request to a stored job: the part of every generation route that no contract has to itself."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from anyio import to_thread

from api.addresses import may_call
from api.decode import Loc
from api.errors import Fault, InvalidRequest, shown
from api.results import PlannedImage
from api.services import Services
from api.settled import kept, settled
from engine.jobs.errors import QueueFull
from engine.jobs.job import Job, NewJob
from graphs.catalog import Catalog
from graphs.flows import compile_request
from graphs.names import UnknownName
from graphs.request import GenerationRequest, Refused
from graphs.save import Compiled

log = logging.getLogger(__name__)
LONGEST_WARNING = 500  # characters kept and logged; a name that is quoted may be as long as the request

NameFault = Callable[[Refused], InvalidRequest]
"""Names a contract's own field for what a builder refused."""


def check_room(served: Services) -> None:
    """Raise QueueFull before pictures are fetched and decoded for nothing."""
    if served.jobs.queue_size and served.jobs.remaining >= served.jobs.queue_size:
        raise QueueFull(served.jobs.queue_size)


async def check_webhook(url: str, served: Services, loc: Loc = ("body", "webhook_url")) -> None:
    """Refuse an address inside the operator's network; what is no http address at all only fails to be delivered."""
    if url.lower().startswith(("http://", "https://")) and not await may_call(url, served.settings):
        msg = "Value error, the host is not a public one; --allow-hosts can name it"
        raise InvalidRequest([Fault("value_error", loc, msg, shown(url), {"error": "not public"})])


async def compiled(request: GenerationRequest, catalog: Catalog, named: NameFault) -> Compiled:
    """Compile a request. Raises InvalidRequest for what cannot be done."""
    try:
        return await to_thread.run_sync(compile_request, request, catalog)
    except Refused as refused:
        raise named(refused) from refused


def refuse_unknown(served: Services, warnings: Sequence[str], named: NameFault) -> None:
    """With --strict, refuse the names that nothing answers to, all at once. Raises InvalidRequest."""
    if not served.settings.strict:
        return
    unknown = [warning for warning in warnings if isinstance(warning, UnknownName)]
    faults = [fault for name in unknown for fault in named(Refused(name.field, str(name))).faults]
    if faults:
        raise InvalidRequest(faults)


async def enqueue(
    served: Services,
    made: Compiled,
    asked: GenerationRequest,
    catalog: Catalog,
    *,
    contract: str,
    kind: str,
    record: dict[str, Any],
    webhook_url: str,
    warnings: Sequence[str],
    waits: bool,
) -> Job:
    """Queue a compiled request; the job is stored when this returns. Raises QueueFull.

    asked, catalog: what it was compiled from. record: what the contract wants to find again, as plain data; the settled
    request and the planned images are put beside it. webhook_url: "" means that of the settings. waits: the client is
    told nothing before the job's end, so that a job which the loss of power takes before then takes no promise with it.
    """
    webhook = webhook_url or served.settings.webhook_url or None
    images = [PlannedImage(image.node_id, str(image.seed)) for image in made.images]
    told = kept(settled(asked, made, catalog))
    cut = tuple(str(warning)[:LONGEST_WARNING] for warning in warnings)
    job = await served.jobs.submit(
        NewJob(
            kind=kind,
            contract=contract,
            graph=made.graph.to_json(),
            outputs=tuple(made.outputs),
            request=record | told | {"images": msgspec.to_builtins(images)},
            extra={"previews": made.preview and served.settings.previews},
            webhook_url=webhook,
            warnings=cut,
        ),
        flushed=not waits or webhook is not None,
    )
    for warning in cut:
        log.warning("job %s: %s", job.id, warning)
    return job
