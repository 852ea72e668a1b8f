"""Jobs in ComfyUI's shapes: queue items, history entries, status messages."""

from typing import Any

from engine.jobs.job import Job, JobState

SECRET_EXTRAS = frozenset({"auth_token_comfy_org", "api_key_comfy_org"})
INTERNAL_EXTRAS = frozenset({"previews"})


def item(job: Job) -> list[Any]:
    """`[number, prompt_id, graph, extra_data, outputs_to_execute]`, without credentials."""
    hidden = SECRET_EXTRAS | INTERNAL_EXTRAS
    extra = {name: value for name, value in job.extra.items() if name not in hidden}
    return [number(job), job.id, job.graph, extra, list(job.outputs)]


def number(job: Job) -> float:
    """The place in the queue; a whole number without a fraction, because typed clients read an integer."""
    return int(job.number) if abs(job.number) < 2**53 and job.number.is_integer() else job.number


def history(job: Job) -> dict[str, Any]:
    """The entry of a finished job; partial outputs of one that failed are kept."""
    succeeded = job.state is JobState.SUCCEEDED
    return {
        "prompt": item(job),
        "outputs": job.result,
        "status": {
            "status_str": "success" if succeeded else "error",
            "completed": succeeded,
            "messages": list(_messages(job)),
        },
        "meta": {node: meta(node) for node in job.result},
    }


def meta(node: str) -> dict[str, Any]:
    """Who a node is; a node of the submitted graph is its own display and real node."""
    return {"node_id": node, "display_node": node, "parent_node": None, "real_node_id": node}


def failure(job: Job) -> dict[str, Any]:
    """The data of `execution_error`, its message ending with a newline as clients expect."""
    error = job.error
    assert error is not None
    return {
        "prompt_id": job.id,
        "node_id": error.node,
        "node_type": error.node_type,
        "executed": list(job.trace.executed),
        "exception_message": f"{error.message}\n",
        "exception_type": error.exception_type or error.code,
        "traceback": list(error.traceback),
        "current_inputs": {},
        "current_outputs": [*job.trace.cached, *job.trace.executed],
        "timestamp": job.finished_ms,
    }


def prompt_error(type: str, message: str, details: str = "") -> dict[str, Any]:
    """The body of a refused POST /prompt."""
    return {"error": {"type": type, "message": message, "details": details, "extra_info": {}}, "node_errors": {}}


def _messages(job: Job) -> list[list[Any]]:
    told: list[list[Any]] = []
    if job.started_ms:
        told.append(["execution_start", {"prompt_id": job.id, "timestamp": job.started_ms}])
        cached = {"nodes": list(job.trace.cached), "prompt_id": job.id, "timestamp": job.started_ms}
        told.append(["execution_cached", cached])
    end = {"prompt_id": job.id, "timestamp": job.finished_ms}
    match job.state:
        case JobState.SUCCEEDED:
            told.append(["execution_success", end])
        case JobState.FAILED:
            told.append(["execution_error", failure(job)])
        case JobState.CANCELLED:
            node = {"node_id": None, "node_type": None, "executed": list(job.trace.executed)}
            told.append(["execution_interrupted", {**end, **node}])
    return told
