"""job-queue and job-history: what waits, what is finished, and forgetting one job."""

from typing import Any

from anyio import to_thread
from msgspec import UNSET

from api.contracts.fooocus_api import replies
from api.contracts.fooocus_api.replies import History, PersistentHistory
from api.contracts.fooocus_api.schemas import JobHistory
from api.retention import remove_files
from api.services import Services
from engine.jobs.interface import JobFilter
from engine.jobs.job import FINAL_STATES, OPEN_STATES, Job

DEFAULT_PAGE_SIZE = 20
_FINISHED = JobFilter(states=FINAL_STATES)
_OPEN = JobFilter(states=OPEN_STATES)


async def queue_summary(served: Services) -> dict[str, Any]:
    """How many jobs wait or run, how many are finished, and the id of the last one submitted."""
    last = await served.jobs.list_jobs(page_size=1)
    return {
        "running_size": served.jobs.remaining,
        "finished_size": await served.jobs.count(_FINISHED),
        "last_job_id": last[0].id if last else None,
    }


async def history(served: Services, query: JobHistory) -> History | PersistentHistory:
    """Open jobs and finished ones: all of these, oldest first; with --persistent page by page, newest first."""
    open_jobs = await _open_jobs(served, query)
    entries = [replies.history_entry(job) for job in open_jobs]
    if served.settings.persistent:
        finished = await _finished(served, query, newest_first=True, always_paged=True)
        settings = served.settings
        told = await to_thread.run_sync(lambda: [replies.persistent_entry(job, settings) for job in finished])
        return PersistentHistory(told, entries)
    finished = await _finished(served, query, newest_first=False, always_paged=False)
    return History(entries, [replies.history_entry(job) for job in finished])


async def delete_job(served: Services, job_id: str) -> str:
    """Forget a job and its pictures; one that is open is stopped first."""
    job = await served.jobs.delete(job_id)
    if job is None:
        return "Not found"
    await to_thread.run_sync(remove_files, served.outputs_dir, [job])
    return "Deleted"


async def _open_jobs(served: Services, query: JobHistory) -> list[Job]:
    if query.job_id:
        job = await served.jobs.store.get(query.job_id)
        return [job] if job is not None and not job.is_final else []
    return await served.jobs.list_jobs(newest_first=False, order="queue", where=_OPEN)


async def _finished(served: Services, query: JobHistory, *, newest_first: bool, always_paged: bool) -> list[Job]:
    if query.job_id:
        job = await served.jobs.store.get(query.job_id)
        return [job] if job is not None and job.is_final else []
    paged = always_paged or query.page is not UNSET or query.page_size is not UNSET
    page = 0 if query.page is UNSET else query.page
    size = DEFAULT_PAGE_SIZE if query.page_size is UNSET else query.page_size
    return await served.jobs.list_jobs(
        page=page if paged else 0,
        page_size=size if paged else None,
        newest_first=newest_first,
        order="finished",
        where=_FINISHED,
    )
