"""Calling nodes: what a function is given besides its inputs, how often, and what keeps it from being called."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

from engine import events
from engine.context import Context, RunContext
from engine.errors import NodeInputError
from engine.events import Event
from engine.expansion import DynamicPrompt, Origins
from engine.graph import Link
from engine.hooks import call_hook, hidden_inputs, hidden_placeholders
from engine.mapping import blocker_in, calls, list_inputs
from engine.plan import DONE, Plan, Step, passed
from engine.types import ExecutionBlocker, NodeSpec

log = logging.getLogger(__name__)

Call = tuple[tuple[Any, ...], dict[str, Any]] | ExecutionBlocker
"""Positional and keyword arguments, or the blocker that answers instead."""

Instances = dict[tuple[str, str], tuple[Any, str]]
"""(node id, class) -> (object of a stateful class, the submitted node it belongs to)."""


class Caller:
    """Prepares and makes the calls of one run."""

    def __init__(
        self, context: RunContext, origins: Origins, instances: Instances, emit: Callable[[Event], None]
    ) -> None:
        self.context = context
        self.origins = origins
        self.instances = instances
        self.emit = emit

    def node_context(self, node_id: str) -> Context:
        """Make what the node may touch."""
        return Context(self.context, node_id, self.emit, self.origins.display(node_id))

    def prepare(self, step: Step, plan: Plan) -> list[Call]:
        """Prepare the node's calls, one per element of its longest input."""
        spec = step.spec
        inputs = list_inputs(step, plan)
        context = self.node_context(step.node_id)
        if spec.hidden:
            hidden = hidden_inputs(spec, context, DynamicPrompt(plan.nodes, self.context, self.origins))
            inputs.update({name: (value,) for name, value in hidden.items()})
        first = self._instance(step)
        prepared: list[Call] = []
        for arguments in calls(spec, inputs):
            blocker = blocker_in(spec, arguments)
            if blocker is not None:
                prepared.append(self._report_blocked(step, plan, blocker))
                continue
            if spec.wants_context:
                arguments[spec.wants_context] = context
            prepared.append((first, arguments))
        return prepared

    def wanted_lazily(self, step: Step, plan: Plan) -> list[Step]:
        """Ask the node which of its lazy inputs it needs now. Raises NodeInputError for a name that is no input."""
        spec = step.spec
        if spec.check_lazy is None:
            return []
        inputs = dict(passed(spec, step.node))
        links = {name: plan.steps[value.source] for name, value in inputs.items() if type(value) is Link}
        missing = {name for name in spec.lazy_names if name in links and links[name].state != DONE}
        context = self.node_context(step.node_id)
        hidden = hidden_inputs(spec, context, DynamicPrompt(plan.nodes, self.context, self.origins))
        first = self._instance(step)
        names: set[str] = set()
        for arguments in calls(spec, list_inputs(step, plan)):
            names.update(call_hook(spec, "check_lazy", {**arguments, **hidden}, context, *first) or ())
        for name in names:
            if name not in inputs:
                raise NodeInputError(f"{spec.class_type} asks for input {name!r}, which the graph does not give it.")
        return [links[name] for name in sorted(names & missing)]

    def fingerprint(self, node_id: str, spec: NodeSpec, inputs: dict[str, Any]) -> Any:
        """Ask a class what its result depends on besides its inputs; what cannot tell is never equal to itself."""
        arguments = {**hidden_placeholders(spec, node_id), **inputs}
        try:
            return call_hook(spec, "fingerprint", arguments, self.node_context(node_id))
        except Exception:  # a class's own code: its fault must not stop the run, only the caching
            log.warning("fingerprint of node %s (%s) failed", node_id, spec.class_type, exc_info=True)
            return float("nan")

    def _instance(self, step: Step) -> tuple[Any, ...]:
        """Give the node's object as positional arguments: none for a plain function."""
        make = step.spec.instance
        if make is None:
            return ()
        where = (step.node_id, step.spec.class_type)
        if where not in self.instances:
            self.instances[where] = (make(), self.origins.real(step.node_id))
        return (self.instances[where][0],)

    def _report_blocked(self, step: Step, plan: Plan, blocker: ExecutionBlocker) -> ExecutionBlocker:
        """Tell once why a node does not run; what it passes on is silent."""
        if blocker.message is not None:
            node_id = self.origins.real(step.node_id)
            node_type = plan.nodes[node_id].class_type
            self.emit(events.Blocked(self.context.job_id, node_id, node_type, blocker.message))
        return ExecutionBlocker()


def call_now(step: Step, prepared: list[Call]) -> list[Any]:
    """Make the calls one after the other."""
    function = step.spec.call
    return [call if isinstance(call, ExecutionBlocker) else function(*call[0], **call[1]) for call in prepared]


async def call_async(step: Step, prepared: list[Call]) -> tuple[float, list[Any]]:
    """Make an async node's calls at the same time. Gives the seconds it took and the answers in call order."""
    start = perf_counter()
    function = step.spec.call
    made = [call for call in prepared if not isinstance(call, ExecutionBlocker)]
    answers = iter(await asyncio.gather(*(function(*first, **arguments) for first, arguments in made)))
    in_order = [call if isinstance(call, ExecutionBlocker) else next(answers) for call in prepared]
    return perf_counter() - start, in_order
