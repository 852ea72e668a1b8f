"""Run one job from the terminal and show how it goes."""

from api.cli.failure import Failure
from api.cli.terminal import ProgressLine
from api.engine_room import EngineRoom, running, worker_config
from api.library import Library
from api.settings import Settings
from engine.jobs.job import Job, JobState, NewJob
from engine.jobs.live import QueueChanged
from engine.jobs.memory_store import MemoryStore
from graphs.progress import ProgressTracker


async def run_job(settings: Settings, library: Library, new: NewJob, *, quiet: bool = False) -> Job:
    """Run a job on a worker of its own. Raises Failure with the cause when it does not succeed."""
    async with running(settings, MemoryStore(), worker_config(settings, library)) as room:
        return await run_in(room, new, quiet=quiet)


async def run_in(room: EngineRoom, new: NewJob, *, quiet: bool = False) -> Job:
    """Run a job in an engine room that is open already. Raises Failure as `run_job` does."""
    line = ProgressLine()
    if not quiet:
        line.show(0, "Starting the worker ...")
    job = await room.jobs.submit(new)
    if not quiet:
        await _follow(room, job, line)
    ended = await room.jobs.wait(job.id)
    line.end()
    if ended.state is not JobState.SUCCEEDED:
        raise Failure(why(ended))
    return ended


async def _follow(room: EngineRoom, job: Job, line: ProgressLine) -> None:
    tracker = ProgressTracker(job.graph)
    async with room.jobs.subscribe(job.id) as told:
        async for event in told:
            if not isinstance(event, QueueChanged):
                state = tracker.feed(event)
                line.show(state.percent, state.text)


def why(job: Job) -> str:
    """The reason of a job's failure, with the node where it happened."""
    if job.error is None:
        return "The job was stopped."
    where = f" (node {job.error.node}, {job.error.node_type})" if job.error.node else ""
    return f"{job.error.message}{where} {job.error.hint}".strip()
