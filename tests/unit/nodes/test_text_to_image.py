import io
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import events
from engine.context import RunContext
from engine.graph import Graph
from engine.validate import validate
from tests.parity.random_sdxl import write_checkpoint
from tests.unit.nodes.conftest import CHECKPOINT, PLAN, Nodes, Workshop, text_to_image


def opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()))


def picture(path: Path) -> np.ndarray:
    return np.asarray(opened(path))


def with_lora(strength: float) -> Nodes:
    graph = text_to_image()
    inputs = {"model": ["1", 0], "clip": ["1", 1], "lora_name": "style.safetensors"}
    inputs |= {"strength_model": strength, "strength_clip": strength}
    graph["8"] = {"class_type": "LoraLoader", "inputs": inputs}
    graph["5"]["inputs"]["model"] = ["8", 0]
    for node in ("2", "3"):
        graph[node]["inputs"]["clip"] = ["8", 1]
    return graph


def test_the_same_graph_gives_the_same_bytes(workshop: Workshop):
    files = []
    for job in ("a", "b"):
        result = workshop.run(text_to_image(), job)
        assert result.status == "succeeded", result.error
        files += workshop.files(result)
        workshop.forget()
    assert files[0].name == "a-0.png"
    assert files[1].name == "b-0.png"
    assert files[0].read_bytes() == files[1].read_bytes()
    assert picture(files[0]).shape == (64, 64, 3)


def test_another_seed_gives_another_picture(workshop: Workshop):
    (first,) = workshop.files(workshop.run(text_to_image(seed=1), "a"))
    (second,) = workshop.files(workshop.run(text_to_image(seed=2), "b"))
    assert not np.array_equal(picture(first), picture(second))


def test_a_second_run_saves_again_but_samples_nothing(workshop: Workshop):
    workshop.run(text_to_image(), "a")
    again = workshop.run(text_to_image(), "b")
    assert again.executed == ["7"]
    assert not workshop.seen(events.Progress)
    assert [file.name for file in workshop.files(again)] == ["b-0.png"]


def test_another_seed_keeps_the_encoded_prompts(workshop: Workshop):
    workshop.run(text_to_image(seed=1))
    again = workshop.run(text_to_image(seed=2))
    assert set(again.executed) == {"5", "6", "7"}


def test_every_step_is_reported_and_shown(workshop: Workshop):
    workshop.run(text_to_image(steps=4))
    assert [(e.value, e.maximum) for e in workshop.seen(events.Progress)] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    previews = workshop.seen(events.Preview)
    assert previews
    assert all(preview.node == "5" for preview in previews)
    shown = Image.open(io.BytesIO(previews[0].data))
    assert shown.size == (previews[0].width, previews[0].height) == (64, 64)


def test_no_preview_is_made_when_nobody_looks(workshop: Workshop):
    workshop.run(text_to_image(), previews=False)
    assert not workshop.seen(events.Preview)


def test_previews_do_not_change_the_picture(workshop: Workshop):
    (first,) = workshop.files(workshop.run(text_to_image(), "a"))
    workshop.forget()
    (second,) = workshop.files(workshop.run(text_to_image(), "b", previews=False))
    assert first.read_bytes() == second.read_bytes()


def test_a_cancelled_run_stops_within_one_step(workshop: Workshop):
    interrupt = threading.Event()

    def cancel_at_second_step(event: events.Event) -> None:
        if isinstance(event, events.Progress) and event.value == 2:
            interrupt.set()

    result = workshop.run(text_to_image(steps=50), interrupt=interrupt, emit=cancel_at_second_step)
    assert result.status == "interrupted"
    assert [e.value for e in workshop.seen(events.Progress)] == [1, 2]
    assert workshop.seen(events.Interrupted)[0].node == "5"
    assert workshop.run(text_to_image(steps=2)).status == "succeeded"


def test_a_lora_at_zero_changes_nothing_and_at_one_changes_the_picture(workshop: Workshop):
    (plain,) = workshop.files(workshop.run(text_to_image(), "plain"))
    (zero,) = workshop.files(workshop.run(with_lora(0.0), "zero"))
    (full,) = workshop.files(workshop.run(with_lora(1.0), "full"))
    assert zero.read_bytes() == plain.read_bytes()
    assert not np.array_equal(picture(full), picture(plain))
    workshop.forget()
    (after,) = workshop.files(workshop.run(text_to_image(), "after"))
    assert after.read_bytes() == plain.read_bytes()  # the base came back bit for bit


def test_a_changed_checkpoint_file_is_never_served_stale(workshop: Workshop, models_dir: Path):
    path = models_dir / "checkpoints" / "changing.safetensors"
    graph = text_to_image()
    graph["1"]["inputs"]["ckpt_name"] = path.name
    pictures = []
    for seed in (1, 2):
        write_checkpoint(path, PLAN, seed=seed)
        os.utime(path, ns=(seed, seed))  # same size and, on a coarse clock, maybe the same second
        (file,) = workshop.files(workshop.run(graph, f"seed{seed}"))
        pictures.append(picture(file))
    path.unlink()
    assert not np.array_equal(*pictures)


def test_a_batch_is_saved_as_numbered_files(workshop: Workshop):
    graph = text_to_image()
    graph["4"]["inputs"]["batch_size"] = 2
    graph["7"]["inputs"] |= {"index": 3, "name": "cat", "extension": "jpg"}
    files = workshop.files(workshop.run(graph))
    assert [file.name for file in files] == ["cat-3.jpg", "cat-4.jpg"]
    assert opened(files[0]).format == "JPEG"


def test_metadata_goes_into_the_file_and_only_when_asked_for(workshop: Workshop):
    (bare,) = workshop.files(workshop.run(text_to_image(), "bare"))
    assert opened(bare).text == {}
    graph = text_to_image()
    graph["7"]["inputs"] |= {"metadata": '{"prompt": "猫"}', "scheme": "fooocus"}
    (told,) = workshop.files(workshop.run(graph, "told"))
    text = opened(told).text
    assert text["parameters"] == '{"prompt": "猫"}'
    assert text["fooocus_scheme"] == "fooocus"
    assert json.loads(text["prompt"]) == graph
    assert np.array_equal(picture(told), picture(bare))


def test_a_save_name_that_is_taken_is_never_overwritten(workshop: Workshop):
    graph = text_to_image(steps=1)
    graph["7"]["inputs"]["name"] = "mine"
    first, second, third = (workshop.files(workshop.run(graph, job))[0] for job in ("one", "two", "three"))
    assert [file.name for file in (first, second, third)] == ["mine-0.png", "mine-0-1.png", "mine-0-2.png"]
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "..", "a/b\\c", "x\0y", "CON"])
def test_a_save_name_never_leads_out_of_the_output_folder(workshop: Workshop, name: str):
    graph = text_to_image(steps=1)
    graph["7"]["inputs"]["name"] = name
    (file,) = workshop.files(workshop.run(graph))
    assert file.resolve().parent.parent == (workshop.root / "outputs").resolve()
    assert file.is_file()


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("ScaleSizeConditioning", {"positive": 1.5, "negative": 0.8, "end": 0.3}),
        ("AdaptiveGuidance", {"adaptive_cfg": 2.0, "sharpness": 30.0}),
        ("FreeU_V2", {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}),
    ],
)
def test_each_patch_changes_the_picture_and_not_the_model(workshop: Workshop, node: str, inputs: dict[str, float]):
    (plain,) = workshop.files(workshop.run(text_to_image(), "plain"))
    graph = text_to_image()
    graph["8"] = {"class_type": node, "inputs": {"model": ["1", 0], **inputs}}
    graph["5"]["inputs"]["model"] = ["8", 0]
    (patched,) = workshop.files(workshop.run(graph, "patched"))
    assert not np.array_equal(picture(plain), picture(patched))
    workshop.forget()
    (again,) = workshop.files(workshop.run(text_to_image(), "again"))
    assert again.read_bytes() == plain.read_bytes()


def test_a_checkpoint_that_vanished_is_told_with_what_to_do(workshop: Workshop, models_dir: Path):
    path = models_dir / "checkpoints" / "gone.safetensors"
    path.write_bytes((models_dir / "checkpoints" / CHECKPOINT).read_bytes())
    graph = text_to_image()
    graph["1"]["inputs"]["ckpt_name"] = path.name
    accepted = validate(Graph.from_json(graph), workshop.registry).graph
    path.unlink()
    result = workshop.executor.run(accepted, ["7"], context=RunContext(runtime=workshop.runtime))
    assert result.error is not None
    assert result.error.code == "model_not_found"
    assert "Folders searched" in result.error.hint
