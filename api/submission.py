"""From a neutral request to a stored job: the part of every generation route that no contract has to itself."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from anyio import to_thread
from starlette.responses import Response

from api.addresses import may_call
from api.decode import Loc
from api.errors import Fault, InvalidRequest, shown
from api.services import Services
from api.settings import Settings
from engine.jobs.errors import QueueFull
from engine.jobs.job import Job, NewJob
from graphs.flows import compile_request
from graphs.names import UnknownName
from graphs.request import GenerationRequest, Refused
from graphs.save import Compiled

log = logging.getLogger(__name__)

NameFault = Callable[[Refused], InvalidRequest]
"""Names a contract's own field for what a builder refused."""


def check_room(served: Services) -> None:
    """Raise QueueFull before pictures are fetched and decoded for nothing."""
    if served.jobs.queue_size and served.jobs.remaining >= served.jobs.queue_size:
        raise QueueFull(served.jobs.queue_size)


async def check_webhook(url: str, settings: Settings, loc: Loc = ("body", "webhook_url")) -> None:
    """Refuse an address inside the operator's network; what is no http address at all only fails to be delivered."""
    if url.lower().startswith(("http://", "https://")) and not await may_call(url, settings):
        msg = "Value error, the host is not a public one; --allow-hosts can name it"
        raise InvalidRequest([Fault("value_error", loc, msg, shown(url), {"error": "not public"})])


async def compiled(
    served: Services, request: GenerationRequest, named: NameFault, known: Sequence[str] = ()
) -> tuple[Compiled, list[str]]:
    """Compile a request, and give every warning about it, those known already first.

    Raises InvalidRequest for what cannot be done, and with --strict for names that nothing answers to.
    """
    try:
        found = await to_thread.run_sync(compile_request, request, served.library.catalog)
    except Refused as refused:
        raise named(refused) from refused
    warnings = [*known, *found.warnings]
    refuse_unknown(warnings, named, served.settings)
    return found, warnings


def refuse_unknown(warnings: Sequence[str], named: NameFault, settings: Settings) -> None:
    """With --strict, refuse unknown names, all at once."""
    if not settings.strict:
        return
    unknown = [warning for warning in warnings if isinstance(warning, UnknownName)]
    faults = [fault for name in unknown for fault in named(Refused(name.field, str(name))).faults]
    if faults:
        raise InvalidRequest(faults)


async def submitted(
    served: Services,
    found: Compiled,
    *,
    kind: str,
    contract: str,
    record: Any,
    webhook_url: str,
    warnings: Sequence[str],
) -> Job:
    """Queue a compiled request; the job is stored when this returns. Raises QueueFull.

    record: what the contract wants to find again, as plain data. webhook_url: "" means that of the settings.
    """
    job = await served.jobs.submit(
        NewJob(
            kind=kind,
            contract=contract,
            graph=found.graph.to_json(),
            outputs=tuple(found.outputs),
            request=record,
            extra={"previews": found.preview},
            webhook_url=webhook_url or served.settings.webhook_url or None,
            warnings=tuple(map(str, warnings)),
        )
    )
    for warning in warnings:
        log.warning("job %s: %s", job.id, warning)
    return job


def with_warnings(response: Response, warnings: Sequence[str]) -> Response:
    """Say in X-Warning what was left out or replaced."""
    if warnings:
        text = "; ".join(warnings).encode("ascii", "replace").decode()
        response.headers["X-Warning"] = "".join(c if c.isprintable() else " " for c in text)[:4000]
    return response
