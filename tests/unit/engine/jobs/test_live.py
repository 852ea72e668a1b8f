"""Watching jobs: the newest state, and streams that a slow reader cannot fill."""

import asyncio

import pytest

from engine.events import Executing, Failed, Preview, Progress, Started, Succeeded
from engine.jobs import live
from engine.jobs.live import LiveBoard, NodeProgress, QueueChanged

pytestmark = pytest.mark.anyio


def run_events(job="job", steps=3):
    yield Started(job)
    yield Executing(job, "1.inner", "1")
    for step in range(steps):
        yield Progress(job, "1", step + 1, steps)
        yield Preview(job, "1", "jpeg", b"%d" % step, 8, 4)
    yield Executing(job, "2", "2")
    yield Succeeded(job, {})


async def read(subscription):
    return [event async for event in subscription]


async def test_the_newest_state_follows_the_events():
    board = LiveBoard()
    events = list(run_events())
    for event in events[:-2]:
        board.publish(event)
    state = board["job"]
    assert (state.node, state.value, state.maximum, state.preview, state.preview_width) == ("1", 3, 3, b"2", 8)
    assert state.nodes == {"1": NodeProgress(3, 3, "running")}
    board.publish(events[-2])
    assert board["job"].nodes == {"1": NodeProgress(3, 3, "finished"), "2": NodeProgress(0, 1, "running")}
    board.publish(Failed("job", "2", "X", "ValueError", "no", [], "node_failed"))
    assert board["job"].nodes["2"].state == "error"
    assert board["job"].preview == b"2"


async def test_a_second_attempt_starts_with_an_empty_state():
    board = LiveBoard()
    for event in list(run_events())[:4]:
        board.publish(event)
    board.publish(Started("job"))
    assert (board["job"].attempt, board["job"].node, board["job"].nodes) == (2, None, {})


async def test_nothing_is_known_of_a_job_that_has_not_run():
    assert LiveBoard()["nobody"].node is None


async def test_only_the_last_jobs_states_are_kept():
    board = LiveBoard()
    for number in range(live.KEPT_LIVES + 10):
        board.publish(Started(str(number)))
    assert len(board._lives) == live.KEPT_LIVES
    assert board["0"].attempt == 0


async def test_a_reader_in_time_sees_everything():
    board = LiveBoard()
    subscription = board.subscribe("job")
    for event in run_events():
        board.publish(event)
    assert await read(subscription) == list(run_events())


async def test_a_slow_reader_misses_old_progress_and_previews_and_no_change_of_state():
    board = LiveBoard()
    subscription = board.subscribe("job")
    for event in run_events(steps=1000):
        board.publish(event)
    found = await read(subscription)
    lossy = [event for event in found if isinstance(event, Progress | Preview)]
    assert [event for event in found if event not in lossy] == [
        event for event in run_events(steps=1000) if not isinstance(event, Progress | Preview)
    ]
    assert len(lossy) == live.DROPPABLE_LIMIT
    assert lossy[-1] == Preview("job", "1", "jpeg", b"999", 8, 4)


async def test_a_reader_that_never_reads_is_cut_off(monkeypatch):
    monkeypatch.setattr(live, "EVENT_LIMIT", 10)
    board = LiveBoard()
    subscription = board.subscribe(None)
    for _ in range(50):
        board.tell_all(QueueChanged(1, 0))
    assert len(await asyncio.wait_for(read(subscription), 1)) == 11
    assert board._watchers == {}


async def test_jobs_do_not_hear_of_each_other():
    board = LiveBoard()
    mine, everything = board.subscribe("mine"), board.subscribe(None)
    for event in (*run_events("other"), *run_events("mine")):
        board.publish(event)
    board.close()
    assert {event.job_id for event in await read(mine)} == {"mine"}
    assert {event.job_id for event in await read(everything)} == {"mine", "other"}


async def test_who_stops_watching_is_forgotten():
    board = LiveBoard()
    async with board.subscribe("job") as events:
        board.publish(Started("job"))
        assert await anext(events) == Started("job")
        waiting = asyncio.create_task(anext(events, None))
        await asyncio.sleep(0)
    assert await waiting is None
    assert board._watchers == {}


async def test_a_stream_that_has_only_its_end_left_tells_it_once():
    board = LiveBoard()

    async def only_the_end():
        return Succeeded("job", {})

    assert await read(board.subscribe("job", only_the_end)) == [Succeeded("job", {})]
    assert board._watchers == {}
