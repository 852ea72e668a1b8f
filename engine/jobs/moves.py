"""The moves of a job as pure functions: one place decides, both stores obey.

`attempt` fences: a run that was given up (its worker was thought dead) cannot end the run that replaced it.
"""

from msgspec.structs import replace

from engine.jobs.errors import IllegalMove
from engine.jobs.job import Job, JobFailure, JobState, Outcome, may_move, now_ms

MAX_RECOVERIES = 10
"""A job that took the whole server down this often is not started again."""


def claim(job: Job) -> Job:
    """Start a queued job: its attempt counts up, what an earlier run left is forgotten."""
    return _move(job, JobState.RUNNING, attempt=job.attempt + 1, started_ms=now_ms())


def cancel(job: Job) -> Job:
    """End a queued job, tell a running one to stop; a finished one stays as it is."""
    if job.state is JobState.QUEUED:
        return _end(job, Outcome(state=JobState.CANCELLED))
    if job.state is JobState.RUNNING:
        return replace(job, stopping=True)
    return job


def refuse(job: Job, failure: JobFailure) -> Job:
    """Fail a queued job: nothing can run it."""
    return _end(job, Outcome(state=JobState.FAILED, error=failure))


def finish(job: Job, attempt: int, outcome: Outcome) -> Job | None:
    """End a running job; None when it is no longer this attempt's to end.

    A job that was told to stop becomes cancelled however its run ended: its files stay in the result.
    """
    if job.attempt != attempt or job.state is not JobState.RUNNING:
        return None
    return _end(job, outcome)


def requeue(job: Job, attempt: int, *, strike: bool) -> Job | None:
    """Give a running job back to the queue, at its old place; None when it is no longer this attempt's.

    strike: its worker died under it. How many strikes are too many is the queue's business.
    """
    if job.attempt != attempt or job.state is not JobState.RUNNING:
        return None
    if job.stopping:
        return _end(job, Outcome(state=JobState.CANCELLED))
    return _move(job, JobState.QUEUED, strikes=job.strikes + strike)


def recover(job: Job) -> Job:
    """Bring a job that was running when the server died back to the queue, unless it was being stopped."""
    if job.attempt >= MAX_RECOVERIES and not job.stopping:
        failure = JobFailure(code="server_died", message=f"The server died {job.attempt} times while this job ran.")
        return _end(job, Outcome(state=JobState.FAILED, error=failure))
    return requeue(job, job.attempt, strike=False) or job


def _end(job: Job, outcome: Outcome) -> Job:
    state, error = (JobState.CANCELLED, None) if job.stopping else (outcome.state, outcome.error)
    return _move(job, state, finished_ms=now_ms(), result=outcome.result, error=error, trace=outcome.trace)


def _move(job: Job, target: JobState, **changes: object) -> Job:
    if not may_move(job.state, target):
        raise IllegalMove(job.id, job.state, target)
    return replace(job, state=target, **changes)
