"""What can go wrong, one class per cause, each with a stable code and a sentence that says what to do next."""

from __future__ import annotations


class FocalError(Exception):
    """Base of every error that Focal raises on purpose.

    code: stable, lower_snake_case, part of the interface. message: what happened. hint: what to do next.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.code = code
        self.message = message
        self.hint = hint


class Interrupted(FocalError):
    """The run was cancelled; raised inside nodes by `Context.check_interrupt` and `Context.progress`."""

    def __init__(self) -> None:
        super().__init__("interrupted", "The run was interrupted.", "Submit the graph again: finished nodes are kept.")


class Skipped(FocalError):
    """The output that is being made was given up, and the run goes on; raised where Interrupted is."""

    def __init__(self) -> None:
        super().__init__("skipped", "This output was skipped.", "The others of the run are made.")


class InvalidGraph(FocalError):
    """The JSON is not a graph: a node without class_type, or something that is not an object."""

    def __init__(self, message: str, node_id: str | None = None) -> None:
        super().__init__("invalid_prompt", message, "Export the graph in API format and send it again.")
        self.node_id = node_id


class UnknownNode(FocalError):
    """A class_type that no loaded module provides."""

    def __init__(self, class_type: str) -> None:
        hint = "`focal nodes list` shows the known ones; install the node pack that brings it."
        super().__init__("unknown_node", f"There is no node class {class_type!r}.", hint)
        self.class_type = class_type


class DuplicateNode(FocalError):
    """A class registered twice, or an expansion that reuses a node id of the running graph."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__("duplicate_node", f"{what} exists already.", hint)


class NodeDefinitionError(FocalError):
    """A function that cannot become a node; raised at import, where its author sees it."""

    def __init__(self, class_type: str, fault: str, hint: str = "Correct the function's signature.") -> None:
        super().__init__("bad_node_definition", f"Node {class_type}: {fault}.", hint)


class NodeInputError(FocalError):
    """An input that cannot be delivered: a link to nowhere, or a lazy request for a name that is no link."""

    def __init__(self, message: str, hint: str = "Correct the node's inputs in the graph.") -> None:
        super().__init__("bad_node_input", message, hint)


class BadNodeResult(FocalError):
    """A node returned something that does not fit its declared outputs."""

    def __init__(self, class_type: str, fault: str) -> None:
        super().__init__("bad_node_result", f"Node {class_type} {fault}.", "The fault is in the node: tell its author.")


class DependencyCycle(FocalError):
    """Nodes that wait for each other."""

    def __init__(self, node_ids: list[str]) -> None:
        path = " -> ".join([*node_ids, node_ids[0]])
        super().__init__("dependency_cycle", "Dependency cycle detected", f"Cut one of the links {path}.")
        self.node_ids = node_ids
