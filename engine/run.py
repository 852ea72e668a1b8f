"""One execution of one graph: from the outputs backwards, asking for what is missing and nothing else.

A stack of steps replaces recursion. A step on top is looked up in the cache; if it is not there, it waits for its
sources, which go on top of it; when the last one is done it comes back on top and runs. So the graph is run depth
first, output by output, and a picture is there before work on the next one begins.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any

from engine import events
from engine.cache import Outputs, Result, ResultCache
from engine.caller import Caller, Instances, call_async, call_now
from engine.context import RunContext
from engine.errors import BadNodeResult, DependencyCycle, Interrupted, Skipped
from engine.expansion import Detour, Origins, settle, take_in
from engine.graph import Graph, Link
from engine.mapping import merge, merge_ui, single_inputs, values_of
from engine.plan import DONE, DROPPED, NEW, RUNNING, SKIPPED, WAITING, Plan, Step, passed
from engine.quiet import collector_paused
from engine.registry import Registry
from engine.skipping import leave_out
from engine.tasks import Finished, Tasks
from engine.telling import Emit, RunResult, Telling
from engine.types import ExecutionBlocker, Expansion, Ui

log = logging.getLogger(__name__)

POLL_INTERRUPT_S = 0.05
"""While only async nodes run, the interrupt flag is looked at this often."""

SPECIAL = frozenset({Ui, Expansion, ExecutionBlocker})
"""What a function may return instead of values."""


class NodeStopped(Exception):
    """A node did not come to its end; `error` is Interrupted, or Skipped, when somebody wished so."""

    def __init__(self, step: Step, error: Exception) -> None:
        super().__init__(step.node_id)
        self.step = step
        self.error = error


class Run:
    """The state of one execution."""

    def __init__(
        self,
        graph: Graph,
        registry: Registry,
        cache: ResultCache,
        context: RunContext,
        instances: Instances,
        emit: Emit,
    ) -> None:
        self.cache = cache
        self.context = context
        self.origins = Origins()
        self.tell = Telling(context.job_id, emit, self.origins)
        self.caller = Caller(context, self.origins, instances, self.tell.emit)
        self.plan = Plan(dict(graph.nodes), registry, self.caller.fingerprint)
        self.tasks = Tasks()
        self.stack: list[Step] = []
        self.roots: list[Step] = []

    def go(self, outputs: list[str]) -> RunResult:
        """Run to the end and tell about it."""
        self.tell.emit(events.Started(self.context.job_id))
        with self.context.run_guard():
            try:
                self._prepare(outputs)
                self._work()
            except NodeStopped as stop:
                if isinstance(stop.error, Interrupted):
                    return self.tell.interrupted(stop.step, self.plan)
                self._drain()
                return self.tell.failed(stop.step, self.plan, stop.error)
            finally:
                self.tasks.close()
        return self.tell.succeeded()

    def _prepare(self, outputs: list[str]) -> None:
        """Make the keys, tell what is cached, and put the outputs on the stack, the first on top."""
        plan, cache = self.plan, self.cache
        with collector_paused():
            plan.add(outputs)
        steps = plan.steps.items()
        cached = [node_id for node_id, step in steps if step.key in cache and not step.volatile]
        self.tell.emit(events.Cached(self.context.job_id, cached))
        self._demand(outputs)

    def _demand(self, node_ids: list[str]) -> None:
        self.roots += [self.plan.steps[node_id] for node_id in node_ids]
        for node_id in reversed(node_ids):
            step = self.plan.steps[node_id]
            step.is_root = True
            if step.state == DROPPED:
                step.state = NEW
            if step.node_id != node_id:
                self.tell.aliases.setdefault(step, []).append(node_id)
            self.stack.append(step)

    def _work(self) -> None:
        """Work until every output is there or left out."""
        while True:
            try:
                return self._work_through()
            except NodeStopped as stop:
                if not isinstance(stop.error, Skipped):
                    raise
                if self.context.interrupt.is_set():
                    raise NodeStopped(stop.step, Interrupted()) from stop
                self.context.skip.clear()
                self.stack[:] = leave_out(self.roots, self.plan.steps.values(), stop.step)

    def _work_through(self) -> None:
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
            self.context.meanwhile()
            if self.context.interrupt.is_set():
                raise NodeStopped(tasks.oldest, Interrupted())
            self._collect(tasks.wait(POLL_INTERRUPT_S))
        stuck = next((root for root in self.roots if root.state not in (DONE, SKIPPED)), None)
        if stuck is not None:
            cycle = find_cycle(stuck)
            raise NodeStopped(cycle[0], DependencyCycle([self.origins.display(step.node_id) for step in cycle]))

    def _visit(self, step: Step) -> None:
        """Take one look at a step: adopt a cached result, wait for sources, or run."""
        if step.detour is not None:
            if not self._wait_for(step, [source for source in step.detour.sources if source.state != DONE]):
                self._arrive(step)
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
        self.context.meanwhile()
        if self.context.interrupt.is_set():
            raise NodeStopped(step, Interrupted())
        if self.context.skip.is_set():
            raise NodeStopped(step, Skipped())
        self.tell.executing(step.node_id)
        try:
            if step.spec.lazy_names and self._wait_for(step, self.caller.wanted_lazily(step, self.plan)):
                return
            self._run(step)
        except NodeStopped:
            raise
        except Exception as error:  # a node's code may raise anything
            raise NodeStopped(step, error) from error

    def _needed(self, step: Step) -> list[Step]:
        """List the sources that must be there before the node is looked at: lazy ones only if they cost nothing."""
        missing = [source for source in step.sources if source.state != DONE]
        lazy, cache, steps = step.spec.lazy_names, self.cache, self.plan.steps
        if lazy and missing:
            inputs = passed(step.spec, step.node)
            asked_for = {steps[v.source] for name, v in inputs if type(v) is Link and name not in lazy}
            missing = [s for s in missing if s in asked_for or (not s.volatile and s.key in cache)]
        return missing

    def _wait_for(self, step: Step, sources: list[Step]) -> bool:
        """Put sources on the stack, the first on top, and let the step wait for them. False when there are none."""
        if not sources:
            return False
        step.state = WAITING
        step.waiting = len(sources)
        for source in reversed(sources):
            if source.waiters is None:
                source.waiters = [step]
            else:
                source.waiters.append(step)
            if source.state in (NEW, DROPPED, SKIPPED):
                source.state = NEW
                self.stack.append(source)
        return True

    def _run(self, step: Step) -> None:
        """Call the node's function, or start it if it is async."""
        spec = step.spec
        arguments = single_inputs(step, self.plan) if spec.plain_call else None
        if arguments is not None:
            start = perf_counter()
            returned = [spec.call(**arguments)]
        else:
            prepared = self.caller.prepare(step, self.plan)
            if spec.is_async:
                step.state = RUNNING
                self.tasks.start(step, call_async(step, prepared))
                return
            start = perf_counter()
            returned = call_now(step, prepared)
        self._complete(step, returned, perf_counter() - start)

    def _collect(self, finished: Finished) -> None:
        """Take the results of async nodes; the first failure is raised after all of them."""
        first_stop: NodeStopped | None = None
        for step, task in finished:
            try:
                if task.cancelled():
                    raise BadNodeResult(step.spec.class_type, "cancelled itself")
                seconds, returned = task.result()
                self._complete(step, returned, seconds)
            except Exception as error:  # noqa: BLE001 (a node's code may raise anything)
                if isinstance(error, Skipped):
                    step.state = NEW  # it gave up, on its own or on another one's account
                first_stop = first_stop or NodeStopped(step, error)
        if first_stop is not None:
            raise first_stop from first_stop.error

    def _complete(self, step: Step, returned: list[Any], seconds: float) -> None:
        """Take what the calls returned."""
        spec = step.spec
        self.tell.executed.append(step.node_id)
        if len(returned) == 1 and spec.single_output and type(returned[0]) not in SPECIAL and not spec.has_list_slot:
            self._deliver(step, ((returned[0],),), None, seconds)  # the common case: one call, one value
            return
        ui = merge_ui(returned)
        if any(type(answer) is Expansion for answer in returned):
            self._expand(step, returned, ui, seconds)
        else:
            self._deliver(step, merge(spec, [values_of(spec, answer) for answer in returned]), ui, seconds)

    def _deliver(self, step: Step, outputs: Outputs, ui: dict[str, list[Any]] | None, seconds: float) -> None:
        """Store a finished node's result and pass it on."""
        step.outputs = outputs
        if not step.volatile:
            self.cache.put(step.key, Result(outputs, ui), seconds)
        if ui is not None:
            self.tell.shown(step, ui)
        self._finish(step)

    def _adopt(self, step: Step, result: Result) -> None:
        """Take a cached result instead of running."""
        step.outputs = result.outputs
        if step.is_root or result.ui is not None:
            self.tell.shown(step, result.ui)
        self._finish(step)

    def _finish(self, step: Step) -> None:
        """Wake who waits for the step, and let go of source values that nobody wants any more."""
        step.state = DONE
        waiters = step.waiters
        if waiters:
            for waiter in reversed(waiters):
                waiter.waiting -= 1
                if not waiter.waiting:
                    self.stack.append(waiter)
            step.waiters = None
        self.plan.let_go(step.sources)

    def _expand(self, step: Step, returned: list[Any], ui: dict[str, list[Any]] | None, seconds: float) -> None:
        """Take the expansions' nodes in and wait for the results they promise."""
        detour = step.detour = Detour(seconds=seconds, ui=ui)
        for answer in returned:
            if type(answer) is Expansion:
                self._demand(take_in(self.plan, self.origins, step, answer, detour))
            else:
                detour.answers.append(values_of(step.spec, answer))
        if ui is not None:
            self.tell.shown(step, ui)
        if not self._wait_for(step, [source for source in detour.sources if source.state != DONE]):
            self._arrive(step)

    def _arrive(self, step: Step) -> None:
        """Finish an expanding node: everything its results link to is there."""
        detour: Detour = step.detour
        step.detour = None
        try:
            outputs = settle(self.plan, step, detour)
        except Exception as error:  # what a node promised may be unfit
            raise NodeStopped(step, error) from error
        self._deliver(step, outputs, None, detour.total_seconds())
        self.plan.let_go(detour.sources)

    def _drain(self) -> None:
        """After a failure, let async nodes that run already come to their end: their pictures are kept."""
        while self.tasks and not self.context.interrupt.is_set():
            try:
                self._collect(self.tasks.wait(POLL_INTERRUPT_S))
            except NodeStopped as stop:
                log.warning("node %s failed too: %s", stop.step.node_id, stop.error)


def find_cycle(step: Step) -> list[Step]:
    """Follow unfinished sources from a stuck step until one comes back; give the steps of that circle."""
    path: dict[Step, None] = {}
    while step not in path:
        path[step] = None
        waits_for = step.sources + (step.detour.sources if step.detour else [])
        step = next(source for source in waits_for if source.state != DONE)
    steps = list(path)
    return steps[steps.index(step) :]
