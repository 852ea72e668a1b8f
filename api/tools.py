"""Small graphs beside the queue: describing a picture, finding a mask. They run at once, inside the job that runs.

They leave nothing behind: no job, no entry in the history, no place in the queue. The job is held up between two of its
steps, and its pictures are the same. A worker that dies under a tool is not asked again inside a job: the tool may have
been the cause, and the job must not pay twice.
"""

import uuid
from typing import Any

from anyio import to_thread

from api.services import Services
from engine.errors import FocalError
from engine.graph import Graph
from engine.jobs.errors import WorkerUnavailable

WAIT_S = 300.0  # for a worker that starts, for a node that reports no step, for the tool itself
TRIES = 2  # a worker may die under the job around the tool
ROOTS = {"output": "outputs_dir", "temp": "temp_dir", "input": "input_dir"}

Ui = dict[str, list[Any]]


class NothingMade(FocalError):
    """A tool's graph ended without what it was run for."""

    def __init__(self, what: str) -> None:
        super().__init__("tool_without_result", f"The graph of the tool gave no {what}.", "Report this fault.")


async def run_tool(served: Services, graph: Graph, output: str) -> Ui:
    """Run a graph and give what its output node had for the client.

    Raises WorkerUnavailable when no worker lives through it or none has time within WAIT_S, and the error of the node
    that failed.
    """
    for attempt in range(TRIES):
        run_id = f"tool-{uuid.uuid4()}"
        restarts = served.worker.restarts
        try:
            told = await served.worker.call(
                "run_aside",
                timeout_s=WAIT_S,
                run_id=run_id,
                graph=graph.to_json(),
                outputs=[output],
                alone=attempt > 0,
            )
        except WorkerUnavailable:
            died = served.worker.restarts != restarts or not served.worker.is_ready
            if attempt + 1 == TRIES or served.worker.is_broken or not died:
                raise
        else:
            return told.get(output, {})
        finally:
            served.worker.interrupt(run_id)  # nobody waits for it any more; of one that has ended nothing is left
    raise AssertionError("the last try returns or raises")


async def text_of(served: Services, graph: Graph, output: str) -> str:
    """Run a graph for the text of its output node."""
    texts = (await run_tool(served, graph, output)).get("text")
    if not texts:
        raise NothingMade("text")
    return "\n".join(map(str, texts))


async def picture_of(served: Services, graph: Graph, output: str) -> bytes:
    """Run a graph for the first picture of its output node, and give the bytes of its file.

    A result that the worker kept from an earlier run may name a temporary file that is gone: then it runs anew.
    """
    data = await _first_picture(served, await run_tool(served, graph, output))
    if data is None:
        await served.worker.call("free", models=False, results=True)
        data = await _first_picture(served, await run_tool(served, graph, output))
    if data is None:
        raise NothingMade("picture")
    return data


async def _first_picture(served: Services, ui: Ui) -> bytes | None:
    for file in ui.get("images", []):
        folder = getattr(served, ROOTS[file.get("type", "output")])
        try:
            return await to_thread.run_sync((folder / file.get("subfolder", "") / file["filename"]).read_bytes)
        except FileNotFoundError:
            return None
    return None
