"""Small graphs beside the queue: they run inside the running job, which does not notice."""

import asyncio
import threading
import time

import pytest

from engine import events
from engine.jobs.asides import Asides
from engine.jobs.dispatch import FORGIVEN_STARTS, Active, Dispatcher
from engine.jobs.errors import CallFailed, WorkerDied, WorkerUnavailable
from engine.jobs.job import JobState, NewJob
from engine.jobs.memory_store import MemoryStore
from engine.jobs.messages import Answer, Call, Run, WorkerConfig
from engine.jobs.supervisor import Supervisor

pytestmark = pytest.mark.anyio


def graph(class_type, **inputs):
    return {"1": {"class_type": class_type, "inputs": inputs}}


def nap(steps, seconds=0.02):
    return {
        **graph("Nap", steps=steps, seconds=seconds),
        "2": {"class_type": "Note", "inputs": {"word": "job", "value": ["1", 0]}},
    }


WHERE = graph("Where")


class Job:
    """A job on a worker, and all that it told."""

    def __init__(self, supervisor, graph, outputs=("2",), job_id="job"):
        self.events = []
        self.task = asyncio.create_task(supervisor.run(Run(job_id, 1, graph, outputs, {}), self.events.append))

    def has_told(self, kind):
        return any(isinstance(event, kind) for event in self.events)

    async def under_way(self, kind=events.Progress):
        async with asyncio.timeout(10):
            while not self.has_told(kind):
                await asyncio.sleep(0.005)
        return self

    async def ui(self):
        """Wait for its end and give what it showed; it must have succeeded."""
        await self.task
        assert isinstance(self.events[-1], events.Succeeded), self.events[-1]
        return self.events[-1].ui


@pytest.fixture
async def supervisor(worker):
    made = worker()
    await made.start()
    await made.wait_ready()
    yield made
    await made.close()


@pytest.fixture
def aside(supervisor):
    """Run a graph beside the jobs and give what its node 1 showed."""

    async def run(graph, run_id="tool", **more):
        told = await supervisor.call("run_aside", run_id=run_id, graph=graph, outputs=["1"], **more)
        return told["1"]

    return run


async def test_it_is_answered_inside_the_running_job_on_the_thread_that_runs_graphs(supervisor, aside):
    job = await Job(supervisor, nap(60)).under_way()
    told = await aside(WHERE)
    assert not job.task.done()
    assert told == {"thread": ["MainThread"], "calls": []}
    assert (await job.ui())["2"] == {"value": [0]}
    assert (await aside(WHERE))["calls"] == ["job"]
    assert {event.job_id for event in job.events} == {"job"}


async def test_between_two_nodes_is_a_place_for_it_too(supervisor, aside):
    two = {
        "1": {"class_type": "Deaf", "inputs": {"seconds": 0.3}},
        "2": {"class_type": "Deaf", "inputs": {"seconds": 1.0}},
    }
    job = await Job(supervisor, two, ("1", "2")).under_way(events.Executing)
    await aside(WHERE)
    assert not any(isinstance(event, events.Executed) and event.node == "2" for event in job.events)
    await job.ui()


async def test_a_job_draws_the_same_numbers_with_and_without_one_inside(supervisor, aside):
    alone = await Job(supervisor, graph("Draw", steps=3), ("1",)).ui()
    held_up = await Job(supervisor, graph("Draw", steps=100, seconds=0.01), ("1",)).under_way()
    assert (await aside(graph("Draw", steps=1)))["drawn"] == alone["1"]["drawn"][:1]
    told = (await held_up.ui())["1"]
    assert told["drawn"][:3] == alone["1"]["drawn"]
    assert len(set(told["drawn"])) == 100
    assert told["guarded"] == [True]


async def test_one_that_fails_inside_a_job_is_told_to_its_caller_alone(supervisor, aside):
    job = await Job(supervisor, nap(60)).under_way()
    with pytest.raises(CallFailed, match="no such picture"):
        await aside(graph("Fail", message="no such picture"))
    with pytest.raises(CallFailed, match="cannot run"):
        await aside({})
    assert not job.task.done()
    assert (await job.ui())["2"] == {"value": [0]}
    assert supervisor.restarts == 0


async def test_one_that_finds_no_memory_inside_a_job_runs_again_after_it(supervisor, aside):
    job = await Job(supervisor, nap(30)).under_way()
    assert await aside(graph("Hungry")) == {"calls": ["hungry", "job", "hungry"]}
    await job.ui()
    assert supervisor.restarts == 0


async def test_what_shall_run_alone_waits_for_the_end_of_the_job(supervisor, aside):
    job = await Job(supervisor, nap(30)).under_way()
    assert (await aside(WHERE, alone=True))["calls"] == ["job"]
    await job.ui()


async def test_several_at_once_are_all_answered_inside_the_job(supervisor, aside):
    job = await Job(supervisor, nap(60)).under_way()
    told = await asyncio.gather(*(aside(graph("Note", word=str(n)), f"tool-{n}") for n in range(5)))
    assert told == [{"value": [0]}] * 5
    assert not job.task.done()
    await job.ui()
    assert (await aside(WHERE))["calls"] == ["0", "1", "2", "3", "4", "job"]


async def test_no_graph_runs_in_an_event_loop_or_in_a_thread_of_a_node(supervisor, aside):
    """An async node reports from both; the graph waits until the run is between two nodes again."""
    two = {
        **graph("Elsewhere", steps=20, seconds=0.02),
        "2": {"class_type": "Note", "inputs": {"word": "job", "value": ["1", 0]}},
    }
    job = await Job(supervisor, two).under_way()
    assert await aside(WHERE) == {"thread": ["MainThread"], "calls": []}
    assert (await job.ui())["2"] == {"value": [20]}


async def test_a_job_with_one_inside_is_stopped_when_that_has_ended(supervisor, aside):
    job = await Job(supervisor, nap(1000)).under_way()
    inside = asyncio.create_task(aside(graph("Deaf", seconds=0.5)))
    await asyncio.sleep(0.1)
    supervisor.interrupt("job")
    assert await inside == {"slept": [0.5]}
    await job.task
    assert isinstance(job.events[-1], events.Interrupted)
    assert await Job(supervisor, nap(1), job_id="next").ui()


async def test_one_that_is_given_up_does_not_run_and_the_job_goes_on(supervisor, aside):
    job = await Job(supervisor, {**graph("Deaf", seconds=0.6), "2": nap(20)["1"]}, ("1",)).under_way(events.Executing)
    with pytest.raises(WorkerUnavailable):
        await aside(graph("Note", word="late"), timeout_s=0.1)
    supervisor.interrupt("tool")
    await job.ui()
    assert (await aside(WHERE, "another"))["calls"] == []


async def test_one_that_kills_the_worker_is_told_so_and_the_job_is_too(supervisor, aside):
    job = await Job(supervisor, nap(1000)).under_way()
    started = time.monotonic()
    with pytest.raises(WorkerUnavailable, match="exit status 7"):
        await aside(graph("Exit", status=7))
    assert time.monotonic() - started < 5
    assert "exit status 7" in str((await asyncio.gather(job.task, return_exceptions=True))[0])


def test_a_job_that_shall_stop_is_held_up_by_no_further_one():
    stop, ran, later = threading.Event(), [], []

    def run(call):
        ran.append(call.call_id)
        stop.set()
        return Answer(call.call_id)

    asides = Asides(run, lambda answer: None, later.append)
    for number in range(3):
        asides.add(Call(number, "run_aside"))
    asides.run_inside(stop)
    assert ran == [0]
    asides.run_waiting()
    assert (ran, later) == ([0, 1, 2], [])


async def test_one_that_waits_to_run_alone_is_not_suspected_of_the_worker_s_death(supervisor, aside):
    crash = {
        **graph("Nap", steps=20, seconds=0.02, seed=7),
        "2": {"class_type": "Exit", "inputs": {"status": ["1", 0]}},
    }
    job = await Job(supervisor, crash).under_way()
    with pytest.raises(WorkerUnavailable, match="exit status 7"):
        await aside(WHERE, alone=True)
    with pytest.raises(WorkerDied) as died:
        await job.task
    assert not died.value.beside


async def test_a_job_that_kills_every_worker_is_failed_however_many_ran_beside_it():
    store, ended = MemoryStore(), []
    dispatcher = Dispatcher(
        store, (), on_event=lambda event: None, on_end=lambda job, record: ended.append(job), on_change=lambda: None
    )
    job = await store.submit(NewJob(kind="test", contract="cli", graph=WHERE, outputs=("1",)))
    while not ended:
        active = dispatcher.active[job.id] = Active(await store.claim_next(), Supervisor(WorkerConfig()))
        await dispatcher._after_death(active, WorkerDied("exit status 7", beside=True))
    assert (ended[0].state, ended[0].error.code) == (JobState.FAILED, "worker_died")
    assert ended[0].attempt == FORGIVEN_STARTS + 1
