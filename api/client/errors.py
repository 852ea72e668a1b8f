"""What can go wrong between a client and a server."""

from typing import Any


class ClientError(Exception):
    """The root of the client's errors."""


class Unreachable(ClientError):
    """No answer from the server within the time that was given to it."""


class Rejected(ClientError):
    """The server refused the request. faults: one entry per field, as the server named them."""

    def __init__(self, status: int, detail: Any) -> None:
        self.status = status
        self.faults: list[dict[str, Any]] = detail if isinstance(detail, list) else []
        named = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in self.faults)
        super().__init__(f"{status}: {named or detail}")


class GenerationFailed(ClientError):
    """The job ended without the pictures. `job_id` finds its record."""

    def __init__(self, job_id: str, reason: str) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id}: {reason}")
