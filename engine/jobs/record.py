"""What the API process keeps of a running job's events, so that no event is needed twice."""

from engine.events import Cached, Event, Executed, Executing, Failed, Interrupted, Succeeded
from engine.jobs.job import JobFailure, JobState, Outcome, Trace, Ui

FinalEvent = Succeeded | Failed | Interrupted


class RunRecord:
    """One run of one job: what was finished, what was executed, how it ended."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.final: FinalEvent | None = None
        self.current: Executing | None = None
        self._result: dict[str, Ui] = {}
        self._cached: tuple[str, ...] = ()
        self._executed: dict[str, None] = {}

    def add(self, event: Event) -> None:
        match event:
            case Cached():
                self._cached = tuple(event.nodes)
            case Executing():
                self.current = event
                self._executed[event.node] = None
            case Executed():
                if event.ui is not None:
                    self._result[event.node] = event.ui
            case Succeeded():
                self._result = dict(event.ui)
                self.final = event
            case Failed() | Interrupted():
                self.final = event

    def outcome(self, failure: JobFailure | None = None) -> Outcome:
        """How the run ended; `failure` is what ended it from outside, when its own events do not tell."""
        state, error = JobState.SUCCEEDED, None
        if isinstance(self.final, Interrupted):
            state = JobState.CANCELLED
        elif isinstance(self.final, Failed):
            state, error = JobState.FAILED, failure_of(self.final)
        elif self.final is None:
            state, error = JobState.FAILED, failure or NO_END
        return Outcome(state=state, result=self._result, error=error, trace=Trace(self._cached, tuple(self._executed)))


NO_END = JobFailure(code="internal_error", message="The run ended without saying how.", hint="Report this fault.")


def failure_of(event: Failed) -> JobFailure:
    """Keep a failing node's event as the job's failure."""
    return JobFailure(
        code=event.code,
        message=event.message,
        hint=event.hint,
        node=event.node,
        node_type=event.node_type,
        exception_type=event.exception_type,
        traceback=tuple(event.traceback),
        inputs=event.inputs,
    )


def final_event(job_id: str, outcome: Outcome, at: Executing | None = None) -> FinalEvent:
    """Tell a job's end as an event, for those who watch and for those who come too late to have watched."""
    node = at.display_node if at else ""
    if outcome.state is JobState.SUCCEEDED:
        return Succeeded(job_id, outcome.result)
    if outcome.state is JobState.CANCELLED:
        return Interrupted(job_id, node, "", list(outcome.trace.executed))
    error = outcome.error or NO_END
    return Failed(
        job_id,
        node=error.node or node,
        node_type=error.node_type or "",
        exception_type=error.exception_type or "",
        message=error.message,
        traceback=list(error.traceback),
        code=error.code,
        hint=error.hint,
        executed=list(outcome.trace.executed),
        inputs=error.inputs,
    )
