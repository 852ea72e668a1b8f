"""Jobs in Fooocus-API's shapes: results, progress, history, the webhook's body. Key order is part of the contract."""

import base64
import time
from typing import Any, Literal

import msgspec
from msgspec import Struct

from api import results
from api.contracts.fooocus_api.history_params import HistoryParams, history_params
from api.progress_board import Shown
from api.settings import Settings
from api.settled import request_of
from engine.jobs.job import Job, JobState, OutputFile

CONTRACT = "fooocus_api"
FinishReason = Literal["SUCCESS", "QUEUE_IS_FULL", "USER_CANCEL", "ERROR"]


class GeneratedImage(Struct):
    """One picture, or one reason why there is none; every key is always there."""

    base64: str | None
    url: str | None
    seed: str
    finish_reason: FinishReason


class AsyncJob(Struct):
    """A job as query-job and async_process answer it."""

    job_id: str
    job_type: str
    job_stage: Literal["WAITING", "RUNNING", "SUCCESS", "ERROR"]
    job_progress: int
    job_status: str | None
    job_step_preview: str | None
    job_result: list[GeneratedImage] | None


class HistoryEntry(Struct):
    """A job as job-history lists it; times in Unix milliseconds, 0 until they happen."""

    job_id: str
    in_queue_mills: int
    start_mills: int
    finish_mills: int
    is_finished: bool


class History(Struct):
    """What waits or runs, in the queue's order; what is finished, oldest first."""

    queue: list[HistoryEntry]
    history: list[HistoryEntry]


class TaskInfo(Struct):
    """What came of a job; times in Unix milliseconds, date_time in the server's own zone."""

    task_id: str
    task_type: str
    task_in_queue_mills: int
    task_start_mills: int
    task_finish_mills: int
    result_url: str
    finish_reason: FinishReason
    date_time: str


class PersistentEntry(Struct):
    """A finished job under --persistent: what was asked, and what came of it."""

    params: HistoryParams
    task_info: TaskInfo


class PersistentHistory(Struct):
    """The answer under --persistent: what is finished, newest first, page by page; what waits or runs."""

    history: list[PersistentEntry]
    queue: list[HistoryEntry]


class Record(Struct):
    """What the contract wants to find again in the job's `request`, beside the planned images."""

    require_base64: bool = False
    base64_raw: bool = False


QUEUE_FULL = [GeneratedImage(None, None, "", "QUEUE_IS_FULL")]
QUEUE_FULL_JOB = AsyncJob("", "Text to Image", "ERROR", 0, None, None, QUEUE_FULL)
NOT_FOUND_JOB = AsyncJob("", "Not Found", "ERROR", 0, "Job not found", None, None)


def record_of(job: Job) -> Record:
    """The contract's own record of a job; a job of another door has none."""
    return msgspec.convert(job.request, Record) if job.contract == CONTRACT else Record()


def reads_files(job: Job) -> bool:
    """Whether answering for this job reads its pictures: a matter for a thread."""
    return job.is_final and record_of(job).require_base64


def images(job: Job, settings: Settings, *, with_base64: bool = True) -> list[GeneratedImage]:
    """The pictures made so far; a job that did not succeed ends with one item that says why. Reads files for base64."""
    record = record_of(job)
    made: list[GeneratedImage] = []
    for image in results.made(job):
        file = image.file
        text = base64_text(file, settings, raw=record.base64_raw) if record.require_base64 and with_base64 else None
        made.append(GeneratedImage(text, results.url_of(job, file, settings), image.seed, "SUCCESS"))
    reason = _end_reason(job)
    if reason is not None:
        missing = (planned.seed for planned in results.planned(job) if results.file_of(job, planned.node) is None)
        made.append(GeneratedImage(None, None, next(missing, ""), reason))
    return made


def base64_text(file: OutputFile, settings: Settings, *, raw: bool) -> str | None:
    """The stored bytes as base64, behind a data: prefix unless raw; None when the file is gone."""
    path = results.path_of(file, settings)
    try:
        text = base64.b64encode(path.read_bytes()).decode()
    except FileNotFoundError:
        return None
    return text if raw else f"data:image/{path.suffix.lstrip('.')};base64,{text}"


def async_job(job: Job, progress: Shown, settings: Settings, *, preview: bool = False) -> AsyncJob:
    """A job's stage, progress and result. Reads files when base64 was asked for at submission."""
    shown = base64.b64encode(progress.preview).decode() if preview and progress.preview else None
    match job.state:
        case JobState.QUEUED:
            return AsyncJob(job.id, job.kind, "WAITING", 0, None, None, None)
        case JobState.RUNNING:
            return AsyncJob(job.id, job.kind, "RUNNING", progress.percent, progress.text, shown, None)
        case JobState.SUCCEEDED:
            return AsyncJob(job.id, job.kind, "SUCCESS", 100, "Finished", shown, images(job, settings))
        case JobState.CANCELLED:
            made = images(job, settings)
            if len(made) > 1:
                return AsyncJob(job.id, job.kind, "SUCCESS", 100, "User cancelled", shown, made)
            return AsyncJob(job.id, job.kind, "ERROR", progress.percent, "User cancelled", shown, made)
        case JobState.FAILED:
            text = f"Error: {job.error.message}" if job.error else "Error"
            return AsyncJob(job.id, job.kind, "ERROR", progress.percent, text, shown, None)


def waiting(job: Job) -> AsyncJob:
    """The answer to async_process, whatever the job has reached in the meantime."""
    return AsyncJob(job.id, job.kind, "WAITING", 0, None, None, None)


def history_entry(job: Job) -> HistoryEntry:
    return HistoryEntry(job.id, job.created_ms, job.started_ms, job.finished_ms, job.is_final)


def persistent_entry(job: Job, settings: Settings) -> PersistentEntry:
    made = images(job, settings, with_base64=False)
    request = request_of(job)
    finished = time.localtime(job.finished_ms / 1000)
    return PersistentEntry(
        history_params(request, require_base64=record_of(job).require_base64) if request else HistoryParams(),
        TaskInfo(
            task_id=job.id,
            task_type=job.kind,
            task_in_queue_mills=job.created_ms,
            task_start_mills=job.started_ms,
            task_finish_mills=job.finished_ms,
            result_url=",".join(image.url for image in made if image.url),
            finish_reason=made[-1].finish_reason if made else "SUCCESS",
            date_time=time.strftime("%Y-%m-%d %H:%M:%S", finished),
        ),
    )


def webhook_body(job: Job, settings: Settings) -> dict[str, Any]:
    """What the webhook is sent at the end: the contract's two keys first, then more. [] stands for no picture."""
    made = [image for image in images(job, settings) if image.finish_reason == "SUCCESS"]
    result = [{"url": image.url, "seed": image.seed, "finish_reason": image.finish_reason} for image in made]
    for item, image in zip(result, made, strict=True):
        if image.base64 is not None:
            item["base64"] = image.base64
    is_success = job.state is JobState.SUCCEEDED or (job.state is JobState.CANCELLED and made)  # as query-job has it
    stage = "SUCCESS" if is_success else "ERROR"
    body: dict[str, Any] = {"job_id": job.id, "job_result": result, "job_stage": stage}
    if job.error is not None:
        body["error"] = job.error.message
    return body


def _end_reason(job: Job) -> FinishReason | None:
    return {JobState.FAILED: "ERROR", JobState.CANCELLED: "USER_CANCEL"}.get(job.state)  # type: ignore[return-value]
