import msgspec
import pytest

from engine import events

EVERY = [
    events.Started("j"),
    events.Cached("j", ["1", "2"]),
    events.Executing("j", "1.0.0.1", "1"),
    events.Progress("j", "1", 3, 20, "Step 3/20"),
    events.Preview("j", "1", "jpeg", b"\xff\xd8", 64, 32),
    events.Executed("j", "9", "9", {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}),
    events.Executed("j", "9", "9", None),
    events.Blocked("j", "3", "Switch", "off"),
    events.Failed("j", "3", "KSampler", "ValueError", "no", ["line"], "node_failed", "Try.", ["1"], {"seed": ["5"]}),
    events.Interrupted("j", "3", "KSampler", ["1"]),
    events.Succeeded("j", {"9": {"images": []}}),
]


@pytest.mark.parametrize("event", EVERY, ids=lambda event: type(event).__name__)
def test_events_survive_the_way_between_processes(event: events.Event) -> None:
    assert events.decode(events.encode(event)) == event


def test_every_kind_of_event_is_tried_here() -> None:
    assert {type(event) for event in EVERY} == set(events.EventBase.__subclasses__())


def test_events_tell_their_type_in_lower_case() -> None:
    assert msgspec.msgpack.decode(events.encode(EVERY[0])) == {"type": "started", "job_id": "j"}


@pytest.mark.parametrize("data", [b"", b"\xff", msgspec.msgpack.encode({"type": "unheard of"})])
def test_what_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        events.decode(data)
