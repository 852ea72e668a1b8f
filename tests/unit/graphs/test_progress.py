"""Progress: percentages that never fall and the words clients know (API contract §4.2)."""

from hypothesis import given
from hypothesis import strategies as st

from engine.events import Cached, Executing, Failed, Interrupted, Preview, Progress, Started, Succeeded
from graphs.catalog import Catalog
from graphs.progress import ProgressTracker, State
from graphs.request import GenerationRequest
from graphs.text_to_image import text_to_image

JOB = "job"
CATALOG = Catalog(checkpoints=("focal-tiny-sdxl.safetensors",))
COMPILED = text_to_image(GenerationRequest(prompt="a red circle", seed=7, image_number=2), CATALOG)
GRAPH = COMPILED.graph


def run_events(steps=30):
    """What the executor sends for the graph: nodes in the order of their ids, samplers with their steps."""
    yield Started(JOB)
    yield Cached(JOB, [])
    for node_id, node in GRAPH.nodes.items():
        yield Executing(JOB, node_id, node_id)
        if node.class_type == "SampleLatent":
            yield from (Progress(JOB, node_id, step, steps) for step in range(1, steps + 1))
    yield Succeeded(JOB, {})


def texts(words):
    tracker = ProgressTracker(GRAPH, words)
    found = [tracker.feed(event) for event in run_events()]
    return list(dict.fromkeys(state.text for state in found)), found


def test_the_words_of_fooocus_api_come_in_order():
    words, states = texts("fooocus_api")
    assert words[:5] == [
        "Initializing ...",
        "Loading models ...",
        "Processing prompts ...",
        "Encoding positive #1 ...",
        "Encoding negative #1 ...",
    ]
    assert "Step 3/30 in the 1-th Sampling" in words
    assert "Step 30/30 in the 2-th Sampling" in words
    assert "Saving image 1/2 to system ..." in words
    assert states[-1] == State(100, "Finished")


def test_the_words_of_fooocusapi_differ_while_sampling():
    assert "Sampling step 3/30, image 1/2 ..." in texts("fooocusapi")[0]


def test_percentages_rise_from_preparation_to_the_end():
    _, states = texts("fooocus_api")
    percents = [state.percent for state in states]
    assert percents == sorted(percents)
    first_step = next(state for state in states if state.text.startswith("Step 1/30"))
    assert first_step.percent == int(15 + 85 * 1 / 60)
    assert percents[-2] == 99
    assert [state.percent for state in states if state.percent == 100] == [100]


def test_cached_sampling_counts_as_done():
    sampler = next(id_ for id_, node in GRAPH.nodes.items() if node.class_type == "SampleLatent")
    tracker = ProgressTracker(GRAPH)
    tracker.feed(Cached(JOB, [sampler]))
    saved = COMPILED.outputs[0]
    assert tracker.feed(Executing(JOB, saved, saved)) == State(57, "Saving image 1/2 to system ...")


def test_the_end_is_told_in_words():
    assert ProgressTracker(GRAPH).feed(Failed(JOB, "1", "X", "E", "out of memory", [], "oom")) == State(
        0, "Error: out of memory"
    )
    assert ProgressTracker(GRAPH).feed(Interrupted(JOB, "1", "X")) == State(0, "User cancelled")


def test_previews_and_unknown_nodes_change_nothing():
    tracker = ProgressTracker(GRAPH.to_json())
    before = tracker.feed(Started(JOB))
    assert tracker.feed(Preview(JOB, "7", "png", b"", 1, 1)) == before
    assert tracker.feed(Executing(JOB, "nothing", "nothing")) == before
    assert tracker.feed(Progress(JOB, "nothing", 1, 2)) == before


def test_a_graph_of_another_kind_gets_percentages_too():
    graph = {
        "a": {"class_type": "KSampler", "inputs": {"steps": 4, "model": ["b", 0]}},
        "b": {"class_type": "CheckpointLoaderSimple", "inputs": {}},
        "c": {"class_type": "SaveImage", "inputs": {"images": ["a", 0]}},
    }
    tracker = ProgressTracker(graph)
    assert tracker.feed(Progress(JOB, "a", 2, 4)) == State(57, "Step 2/4 in the 1-th Sampling")
    assert ProgressTracker({}).feed(Succeeded(JOB, {})) == State(100, "Finished")


NODES = st.sampled_from([*GRAPH.nodes, "unknown"])
EVENTS = st.one_of(
    st.just(Started(JOB)),
    st.builds(lambda node: Executing(JOB, node, node), NODES),
    st.builds(lambda node, value, top: Progress(JOB, node, value, top), NODES, st.floats(0, 40), st.floats(0, 30)),
    st.builds(lambda nodes: Cached(JOB, nodes), st.lists(NODES, max_size=3)),
    st.just(Interrupted(JOB, "1", "X")),
)


@given(st.lists(EVENTS, max_size=40))
def test_no_order_of_events_lets_progress_fall_or_reach_100_early(events):
    tracker = ProgressTracker(GRAPH)
    last = 0
    for event in events:
        state = tracker.feed(event)
        assert last <= state.percent <= 99
        last = state.percent
    assert tracker.feed(Succeeded(JOB, {})).percent == 100
