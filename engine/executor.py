"""Runs one graph: from the outputs backwards, asking for what is missing and nothing else.

A stack of steps replaces recursion. A step on top is looked up in the cache; if it is not there, it waits for its
sources, which go on top of it; when the last one is done it comes back on top and runs. So the graph is run depth
first, output by output, and a picture is there before work on the next one begins.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

from engine import events
from engine.cache import Result, ResultCache
from engine.context import Context, RunContext
from engine.errors import DependencyCycle, Interrupted, NodeInputError
from engine.events import Event
from engine.expansion import DynamicPrompt, Origins, settle, take_in
from engine.failure import failed
from engine.graph import Graph, Link
from engine.hooks import call_hook, hidden_inputs, hidden_placeholders
from engine.mapping import blocker_in, calls, list_inputs, merge, merge_ui, single_inputs, values_of
from engine.plan import DONE, NEW, RUNNING, WAITING, Plan, Step
from engine.registry import Registry
from engine.tasks import Finished, Tasks
from engine.types import ExecutionBlocker, Expansion

log = logging.getLogger(__name__)

POLL_INTERRUPT_S = 0.05
"""While only async nodes run, the interrupt flag is looked at this often."""

Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. ui: by node id, cached and expanded nodes included, also of a run that failed later.

    error: the event that told of the failure. executed: ids of the nodes whose function ran to its end.
    """

    status: Literal["succeeded", "failed", "interrupted"]
    ui: events.UiByNode
    error: events.Failed | None = None
    executed: list[str] = field(default_factory=list)


class Executor:
    """Runs graphs, one at a time, keeping results (and objects of stateful node classes) between them."""

    def __init__(self, registry: Registry, cache: ResultCache | None = None) -> None:
        self.registry = registry
        self.cache = ResultCache() if cache is None else cache
        self.instances: dict[tuple[str, str], tuple[Any, str]] = {}

    def run(
        self,
        graph: Graph,
        outputs: Iterable[str] | None = None,
        *,
        context: RunContext | None = None,
        emit: Emit | None = None,
    ) -> RunResult:
        """Run what the outputs need (None: every output node) and wait for the end.

        The graph is one that `validate` accepted. Nodes' errors and interruption are results and events, never
        raised. Must not be called inside a running event loop's thread.
        """
        if outputs is None:
            specs = self.registry.specs
            outputs = [i for i, node in graph.nodes.items() if (s := specs.get(node.class_type)) and s.output_node]
        context = RunContext() if context is None else context
        context.graph = graph
        self._forget_instances(graph)
        return Run(self, graph, list(outputs), context, emit or ignore).go()

    def free(self) -> None:
        """Forget all results and node objects."""
        self.cache.clear()
        self.instances.clear()

    def _forget_instances(self, graph: Graph) -> None:
        """Keep objects only of nodes that are in this graph with the same class, or expanded from one."""
        for (node_id, class_type), (_, real) in list(self.instances.items()):
            node = graph.nodes.get(real)
            if node is None or (real == node_id and node.class_type != class_type):
                del self.instances[node_id, class_type]


def ignore(event: Event) -> None:
    """Receive an event and do nothing."""


class NodeStopped(Exception):
    """A node did not come to its end; `error` is Interrupted when somebody wished so."""

    def __init__(self, step: Step, error: Exception) -> None:
        super().__init__(step.node_id)
        self.step = step
        self.error = error


class Run:
    """One execution of one graph."""

    def __init__(self, executor: Executor, graph: Graph, outputs: list[str], context: RunContext, emit: Emit) -> None:
        self.executor = executor
        self.cache = executor.cache
        self.context = context
        self.job_id = context.job_id
        self.outputs = outputs
        self.plan = Plan(dict(graph.nodes), executor.registry, self._fingerprint)
        self.origins = Origins()
        self.tasks = Tasks()
        self.stack: list[Step] = []
        self.aliases: dict[Step, list[str]] = {}
        self.ui: events.UiByNode = {}
        self.executed: list[str] = []
        self._send = emit
        self._lock = threading.Lock()
        self._closed = False

    def go(self) -> RunResult:
        """Run to the end and tell about it."""
        self.emit(events.Started(self.job_id))
        with self.context.run_guard():
            try:
                self._prepare()
                self._work()
            except NodeStopped as stop:
                return self._stopped(stop)
            finally:
                self.tasks.close()
        return self._end("succeeded", events.Succeeded(self.job_id, self.ui))

    def _stopped(self, stop: NodeStopped) -> RunResult:
        step = stop.step
        if isinstance(stop.error, Interrupted):
            node_id = self.origins.real(step.node_id)
            node_type = self.plan.nodes[node_id].class_type
            return self._end("interrupted", events.Interrupted(self.job_id, node_id, node_type, self.executed))
        self._drain()
        error = failed(self.job_id, step, self.plan, self.origins, stop.error, self.executed)
        return self._end("failed", error)

    def emit(self, event: Event) -> None:
        """Send an event, from any thread; nothing follows the last one."""
        with self._lock:
            if not self._closed:
                self._send(event)

    def _end(self, status: Literal["succeeded", "failed", "interrupted"], event: Event) -> RunResult:
        self.emit(event)
        with self._lock:
            self._closed = True
        return RunResult(status, self.ui, event if isinstance(event, events.Failed) else None, self.executed)

    def _prepare(self) -> None:
        """Plan the graph, tell what is cached, and put the outputs on the stack, the first on top."""
        plan, cache = self.plan, self.cache
        plan.add(self.outputs)
        cached = [node_id for node_id, step in plan.steps.items() if not step.volatile and step.key in cache]
        self.emit(events.Cached(self.job_id, cached))
        self._demand(self.outputs)

    def _demand(self, node_ids: list[str]) -> None:
        for node_id in reversed(node_ids):
            step = self.plan.steps[node_id]
            step.is_root = True
            if step.node_id != node_id:
                self.aliases.setdefault(step, []).append(node_id)
            self.stack.append(step)

    def _work(self) -> None:
        stack, tasks = self.stack, self.tasks
        while True:
            while stack:
                step = stack.pop()
                if step.state == NEW or (step.state == WAITING and not step.waiting):
                    self._visit(step)
                if tasks:
                    self._collect(tasks.poll())
            if not tasks:
                break
            if self.context.interrupt.is_set():
                raise NodeStopped(tasks.oldest, Interrupted())
            self._collect(tasks.wait(POLL_INTERRUPT_S))
        stuck = next((step for step in self.plan.steps.values() if step.is_root and step.state != DONE), None)
        if stuck is not None:
            cycle = find_cycle(stuck)
            raise NodeStopped(cycle[0], DependencyCycle([self.origins.display(step.node_id) for step in cycle]))

    def _visit(self, step: Step) -> None:
        """Take one look at a step: adopt a cached result, wait for sources, or run."""
        if step.expansion is not None:
            self._settle(step)
            return
        if step.state == NEW:
            if not step.volatile:
                result = self.cache.get(step.key)
                if result is not None:
                    self._adopt(step, result)
                    return
            if step.fault is not None:
                raise NodeStopped(step, step.fault)
            if self._wait_for(step, self._needed(step)):
                return
        if self.context.interrupt.is_set():
            raise NodeStopped(step, Interrupted())
        self.emit(events.Executing(self.job_id, step.node_id, self.origins.display(step.node_id)))
        try:
            if step.spec.lazy_names and self._wait_for(step, self._wanted_lazily(step)):
                return
            self._run(step)
        except NodeStopped:
            raise
        except Exception as error:  # a node's code may raise anything
            raise NodeStopped(step, error) from error

    def _needed(self, step: Step) -> list[Step]:
        """List the sources that must be there before the node is looked at."""
        lazy = step.spec.lazy_names
        if not lazy:
            return [source for _, source, _ in step.links if source.state != DONE]
        needed = []
        for name, source, _ in step.links:
            known = name not in lazy or (not source.volatile and source.key in self.cache)
            if known and source.state != DONE:
                needed.append(source)
        return needed

    def _wanted_lazily(self, step: Step) -> list[Step]:
        """Ask the node which of its lazy inputs it needs now. Raises NodeInputError for a name that is no input."""
        spec = step.spec
        if spec.check_lazy is None:
            return []
        links = {name: source for name, source, _ in step.links}
        missing = {name for name in spec.lazy_names if name in links and links[name].state != DONE}
        context = self._context(step)
        first = self._instance(step)
        names: set[str] = set()
        for arguments in calls(spec, list_inputs(step)):
            arguments.update(hidden_inputs(spec, context, self._dynamic_prompt()))
            names.update(call_hook(spec, "check_lazy", arguments, context, *first) or ())
        for name in names:
            if name not in links and name not in step.constants:
                raise NodeInputError(f"{spec.class_type} asks for input {name!r}, which the graph does not give it.")
        return [links[name] for name in sorted(names & missing)]

    def _wait_for(self, step: Step, sources: list[Step]) -> bool:
        """Put sources on the stack, the first on top, and let the step wait for them. False when there are none."""
        if not sources:
            return False
        step.state = WAITING
        step.waiting = len(sources)
        for source in reversed(sources):
            source.waiters.append(step)
            if source.state == NEW:
                self.stack.append(source)
        return True

    def _run(self, step: Step) -> None:
        spec = step.spec
        if spec.plain_call and not spec.is_async:
            arguments = single_inputs(step)
            if arguments is not None:
                start = perf_counter()
                returned = spec.call(**arguments)
                step.seconds += perf_counter() - start
                self._complete(step, [returned])
                return
        prepared = self._calls(step)
        if spec.is_async:
            step.state = RUNNING
            self.tasks.start(step, call_async(step, prepared))
            return
        start = perf_counter()
        returned = [call if type(call) is ExecutionBlocker else spec.call(*call[0], **call[1]) for call in prepared]
        step.seconds += perf_counter() - start
        self._complete(step, returned)

    def _calls(self, step: Step) -> list[Any]:
        """Prepare the node's calls: (positional, keyword) arguments, or the blocker that answers instead."""
        spec = step.spec
        inputs = list_inputs(step)
        context = self._context(step)
        if spec.hidden:
            hidden = hidden_inputs(spec, context, self._dynamic_prompt())
            inputs.update({name: [value] for name, value in hidden.items()})
        first = self._instance(step)
        prepared: list[Any] = []
        for arguments in calls(spec, inputs):
            blocker = blocker_in(spec, arguments)
            if blocker is not None:
                prepared.append(self._report_blocked(step, blocker))
                continue
            if spec.wants_context:
                arguments[spec.wants_context] = context
            prepared.append((first, arguments))
        return prepared

    def _report_blocked(self, step: Step, blocker: ExecutionBlocker) -> ExecutionBlocker:
        """Tell once why a node does not run; what it passes on is silent."""
        if blocker.message is not None:
            node_id = self.origins.real(step.node_id)
            node_type = self.plan.nodes[node_id].class_type
            self.emit(events.Blocked(self.job_id, node_id, node_type, blocker.message))
        return ExecutionBlocker()

    def _collect(self, finished: Finished) -> None:
        """Take the results of async nodes; the first failure is raised after all of them."""
        first_stop: NodeStopped | None = None
        for step, task in finished:
            try:
                step.seconds, returned = task.result()
                self._complete(step, returned)
            except Exception as error:  # noqa: BLE001 (a node's code may raise anything)
                first_stop = first_stop or NodeStopped(step, error)
        if first_stop is not None:
            raise first_stop from first_stop.error

    def _complete(self, step: Step, returned: list[Any]) -> None:
        """Take what the calls returned."""
        spec = step.spec
        self.executed.append(step.node_id)
        answer = returned[0]
        if len(returned) == 1 and type(answer) is tuple and not spec.single_output:
            self._deliver(step, merge(spec, (answer,)), None)
            return
        ui = merge_ui(returned)
        if any(type(answer) is Expansion for answer in returned):
            self._expand(step, returned, ui)
            return
        self._deliver(step, merge(spec, [values_of(spec, answer) for answer in returned]), ui)

    def _deliver(self, step: Step, outputs: tuple[list[Any], ...], ui: dict[str, list[Any]] | None) -> None:
        """Store a finished node's result and pass it on."""
        step.outputs = outputs
        if not step.volatile:
            self.cache.put(step.key, Result(outputs, ui), step.seconds)
        if ui is not None:
            self._show(step, ui)
        self._finish(step)

    def _adopt(self, step: Step, result: Result) -> None:
        """Take a cached result instead of running."""
        step.outputs = result.outputs
        if step.is_root or result.ui is not None:
            self._show(step, result.ui)
        self._finish(step)

    def _show(self, step: Step, ui: Any) -> None:
        for node_id in (step.node_id, *self.aliases.get(step, ())):
            if ui is not None:
                self.ui[node_id] = ui
            self.emit(events.Executed(self.job_id, node_id, self.origins.display(node_id), ui))

    def _finish(self, step: Step) -> None:
        """Wake who waits for the step, and let go of source values that nobody wants any more."""
        step.state = DONE
        waiters = step.waiters
        if waiters:
            stack = self.stack
            for waiter in reversed(waiters):
                waiter.waiting -= 1
                if not waiter.waiting:
                    stack.append(waiter)
            step.waiters = []
        for _, source, _ in step.links:
            release(source)

    def _expand(self, step: Step, returned: list[Any], ui: dict[str, list[Any]] | None) -> None:
        """Take the expansions' nodes in and wait for the results they promise."""
        answers: list[Any] = []
        linked: list[Step] = []
        for answer in returned:
            if type(answer) is not Expansion:
                answers.append(values_of(step.spec, answer))
                continue
            outputs, result = take_in(self.plan, self.origins, step, answer)
            answers.append(result)
            linked += [self.plan.steps[value.source] for value in result if type(value) is Link]
            self._demand(outputs)
        for source in linked:
            source.users += 1
        step.expansion = (answers, linked, perf_counter())
        step.ui = ui
        if ui is not None:
            self._show(step, ui)
        if not self._wait_for(step, [source for source in linked if source.state != DONE]):
            self._settle(step)

    def _settle(self, step: Step) -> None:
        answers, linked, start = step.expansion
        step.expansion = None
        step.seconds += perf_counter() - start
        try:
            step.outputs = settle(self.plan, step, answers)
        except Exception as error:  # what a node promised may be unfit
            raise NodeStopped(step, error) from error
        if not step.volatile:
            self.cache.put(step.key, Result(step.outputs, step.ui), step.seconds)
        self._finish(step)
        for source in linked:
            release(source)

    def _drain(self) -> None:
        """After a failure, let async nodes that run already come to their end: their pictures are kept."""
        while self.tasks and not self.context.interrupt.is_set():
            try:
                self._collect(self.tasks.wait(POLL_INTERRUPT_S))
            except NodeStopped as stop:
                log.warning("node %s failed too: %s", stop.step.node_id, stop.error)

    def _context(self, step: Step) -> Context:
        return Context(self.context, step.node_id, self.emit, self.origins.display(step.node_id))

    def _dynamic_prompt(self) -> DynamicPrompt:
        return DynamicPrompt(self.plan.nodes, self.context, self.origins)

    def _instance(self, step: Step) -> tuple[Any, ...]:
        """Give the node's object as positional arguments: none for a plain function."""
        make = step.spec.instance
        if make is None:
            return ()
        where = (step.node_id, step.spec.class_type)
        instances = self.executor.instances
        if where not in instances:
            instances[where] = (make(), self.origins.real(step.node_id))
        return (instances[where][0],)

    def _fingerprint(self, step: Step) -> Any:
        """Ask a class what its result depends on besides its inputs; what cannot tell is never equal to itself."""
        spec = step.spec
        links = dict.fromkeys((name for name, _, _ in step.links), None)
        arguments = {**hidden_placeholders(spec, step.node_id), **links, **step.constants}
        try:
            return call_hook(spec, "fingerprint", arguments, self._context(step))
        except Exception:  # a class's own code: its fault must not stop the run, only the caching
            log.warning("fingerprint of node %s (%s) failed", step.node_id, spec.class_type, exc_info=True)
            return float("nan")


async def call_async(step: Step, prepared: list[Any]) -> tuple[float, list[Any]]:
    """Make an async node's calls at the same time. Gives the seconds it took and the answers in call order."""
    import asyncio

    start = perf_counter()
    waiting = [
        answer_of(call) if type(call) is ExecutionBlocker else step.spec.call(*call[0], **call[1]) for call in prepared
    ]
    answers = await asyncio.gather(*waiting)
    return perf_counter() - start, answers


async def answer_of(blocker: ExecutionBlocker) -> ExecutionBlocker:
    """Answer with the blocker instead of a call."""
    return blocker


def release(source: Step) -> None:
    """Count down the links that want a step's outputs and drop these after the last.

    An expansion may still ask for them later: the step is new again then, and found in the cache or run once more.
    """
    source.users -= 1
    if not source.users and source.state == DONE and not source.is_root:
        source.state = NEW
        source.outputs = None
        for _, behind, _ in source.links:
            behind.users += 1


def find_cycle(step: Step) -> list[Step]:
    """Follow unfinished sources from a stuck step until one comes back; give the steps of that circle."""
    path: dict[Step, None] = {}
    while step not in path:
        path[step] = None
        waits_for = [source for _, source, _ in step.links] + (step.expansion[1] if step.expansion else [])
        step = next(source for source in waits_for if source.state != DONE)
    steps = list(path)
    return steps[steps.index(step) :]
