"""What can go wrong with jobs, one class per cause."""

from collections.abc import Mapping
from typing import Any

from engine.errors import FocalError


class QueueFull(FocalError):
    """As many jobs wait or run as the queue may hold."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            "queue_full", f"The queue is full: {limit} jobs wait or run.", "Try again later, or raise --queue-size."
        )
        self.limit = limit


class JobNotFound(FocalError):
    def __init__(self, job_id: str) -> None:
        super().__init__("job_not_found", f"There is no job {job_id!r}.", "It may have been deleted; submit it again.")
        self.job_id = job_id


class DuplicateJob(FocalError):
    def __init__(self, job_id: str) -> None:
        super().__init__("duplicate_job", f"A job {job_id!r} exists already.", "Leave the id out to get a new one.")


class JobIsOpen(FocalError):
    """Only a finished job can be deleted."""

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__("job_is_open", f"Job {job_id} is {state}.", "Cancel it before you delete it.")


class IllegalMove(FocalError):
    """A fault in this package: the table of moves does not allow it."""

    def __init__(self, job_id: str, source: str, target: str) -> None:
        super().__init__("illegal_move", f"Job {job_id} is {source} and cannot become {target}.", "Report this fault.")


class GraphRefused(FocalError):
    """The worker's validation refuses a graph that was queued; error and node_errors are `Validation`'s."""

    def __init__(self, error: Mapping[str, Any] | None, node_errors: Mapping[str, Mapping[str, Any]]) -> None:
        faults = [error] if error else []
        faults += [fault for node in node_errors.values() for fault in node["errors"]]
        told = "; ".join(f"{fault['message']} ({fault['details']})".replace("\n", " ") for fault in faults)
        super().__init__("graph_refused", f"The graph cannot run: {told}.", "Correct it and submit it again.")


class WorkerUnavailable(FocalError):
    """No worker runs and none can be started; the message ends with what the last one wrote."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            "worker_unavailable", f"The worker process is not available: {cause}", "Read logs/worker.log for the rest."
        )


class WorkerDied(FocalError):
    """The worker process ended while it worked for us; it does not come back, a fresh one does.

    beside: it had a graph beside the queue to run, which may have been the cause as well as the job.
    """

    def __init__(self, cause: str, *, beside: bool = False) -> None:
        super().__init__("worker_died", f"The worker process died: {cause}", "Read logs/worker.log for the rest.")
        self.cause = cause
        self.beside = beside


class CallFailed(FocalError):
    """The worker answered a call with an error; code and message are those of the error over there."""


class StoreUnavailable(FocalError):
    """The database refuses: disk full, locked by somebody else, or damaged."""

    def __init__(self, database: str, error: Exception) -> None:
        cause = str(getattr(error, "orig", None) or error)
        full = "full" in cause
        hint = "Make room on the disk." if full else "Check the file and who else uses it."
        super().__init__("storage_full" if full else "storage_unavailable", f"Cannot use {database}: {cause}.", hint)


class BadDatabase(FocalError):
    """A database URL that is none, or whose driver is not installed; the URL is not shown, it may hold a password."""

    def __init__(self, error: Exception) -> None:
        hint = "Install the driver that its URL names (psycopg, pymysql), or write sqlite:////path."
        super().__init__("bad_database", f"The database cannot be used: {type(error).__name__}: {error}.", hint)


class StoreInUse(FocalError):
    def __init__(self, database: str) -> None:
        super().__init__(
            "storage_in_use", f"Another Focal server uses {database}.", "Stop it, or give this one its own --data."
        )


class StoreTooNew(FocalError):
    def __init__(self, database: str, found: int, known: int) -> None:
        super().__init__(
            "storage_too_new",
            f"{database} was written by a newer Focal (schema {found}, this one knows {known}).",
            "Update Focal, or give this one its own --data.",
        )
