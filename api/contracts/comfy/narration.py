"""A job's events in ComfyUI's WebSocket words."""

import struct
from typing import Any

import msgspec

from api.contracts.comfy.shapes import meta
from engine import events
from engine.jobs.job import now_ms

Message = dict[str, Any]
_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4
_FORMAT_CODES = {"jpeg": 1, "png": 2}


class Narrator:
    """Remembers which nodes of one job have started, because `progress_state` tells of all of them each time."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.running: str | None = None
        self._nodes: dict[str, dict[str, Any]] = {}

    def tell(self, event: events.Event) -> list[Message]:
        """The text messages of an event, in order; a preview has none."""
        match event:
            case events.Started():
                return [self._message("execution_start", timestamp=now_ms())]
            case events.Cached(nodes=nodes):
                return [self._message("execution_cached", nodes=nodes, timestamp=now_ms())]
            case events.Executing(node=node, display_node=shown):
                self._end_running()
                self.running = shown
                self._set(node, "running", 0, 1, shown)
                return [self._state(), self._message("executing", node=node, display_node=shown)]
            case events.Progress(node=node, value=value, maximum=maximum):
                self._set(node, "running", value, maximum, node)
                return [self._state(), self._message("progress", value=value, max=maximum, node=node)]
            case events.Executed(node=node, display_node=shown, ui=ui):
                told = self._message("executed", node=node, display_node=shown, output=ui)
                if node not in self._nodes:
                    return [told]
                self._set(node, "finished", 1, 1, shown)
                return [told, self._state()]
            case events.Blocked() | events.Failed():
                return [self._error(event)]
            case events.Interrupted(node=node, node_type=kind, executed=executed):
                body = {"node_id": node, "node_type": kind, "executed": executed, "timestamp": now_ms()}
                return [self._message("execution_interrupted", **body)]
            case events.Succeeded():
                self._end_running()
                return [self._state(), self._message("execution_success", timestamp=now_ms())]
            case _:
                return []

    def picture(self, event: events.Preview, *, with_metadata: bool) -> bytes:
        """The binary frame of a preview: a four-byte code, then either a format code or JSON in front of the image."""
        if not with_metadata:
            return struct.pack(">II", _PREVIEW, _FORMAT_CODES[event.format]) + event.data
        about = {**_identity(event.node), "prompt_id": self.job_id, "image_type": f"image/{event.format}"}
        text = msgspec.json.encode(about)
        return struct.pack(">II", _PREVIEW_WITH_METADATA, len(text)) + text + event.data

    def _error(self, event: events.Blocked | events.Failed) -> Message:
        failed = event if isinstance(event, events.Failed) else None
        body: dict[str, Any] = {
            "node_id": event.node,
            "node_type": event.node_type,
            "executed": failed.executed if failed else [],
            "exception_message": f"{event.message}\n",
            "exception_type": failed.exception_type if failed else "ExecutionBlocked",
            "traceback": failed.traceback if failed else [],
            "current_inputs": failed.inputs if failed else [],
            "current_outputs": [] if failed is None else list(self._nodes),
        }
        return self._message("execution_error", **body, **({"timestamp": now_ms()} if failed else {}))

    def _message(self, type: str, **data: Any) -> Message:
        return {"type": type, "data": {**data, "prompt_id": self.job_id}}

    def _state(self) -> Message:
        return self._message("progress_state", nodes={id: dict(node) for id, node in self._nodes.items()})

    def _set(self, node: str, state: str, value: float, maximum: float, shown: str) -> None:
        self._nodes[node] = {
            "value": value,
            "max": maximum,
            "state": state,
            "prompt_id": self.job_id,
            **_identity(node, shown),
        }

    def _end_running(self) -> None:
        for node in self._nodes.values():
            if node["state"] == "running":
                node["state"], node["value"] = "finished", node["max"]
        self.running = None


def _identity(node: str, shown: str | None = None) -> dict[str, Any]:
    about = meta(node)
    return {
        "node_id": node,
        "display_node_id": shown or node,
        "parent_node_id": about["parent_node"],
        "real_node_id": about["real_node_id"],
    }
