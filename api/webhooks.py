"""What a webhook is sent, by the contract through which its job came."""

from collections.abc import Callable
from typing import Any

from api.contracts.fooocus_api import replies
from api.contracts.fooocusapi import records
from api.settings import Settings
from engine.jobs.job import Job


def payloads(settings: Settings) -> Callable[[Job], tuple[str, Any]]:
    """A function that gives the address and the JSON body for an ended job."""

    def payload_of(job: Job) -> tuple[str, Any]:
        if job.contract == records.CONTRACT:
            return job.webhook_url or "", records.record(job, settings)
        return job.webhook_url or "", replies.webhook_body(job, settings)

    return payload_of
