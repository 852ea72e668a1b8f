"""Enhancing through the real path with the tiny models. measure_enhance.py measures more pictures."""

import random

import numpy as np
from PIL import Image

from engine.events import Executing
from graphs.request_parts import Enhance, EnhanceStage, Masking
from models.tiny.measure import measure
from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom
from tests.flows.measure_enhance import enhance_figures, stage

FEW = {"prompt": "a red circle on a cyan background", "overwrite_step": 2}
FOUND = EnhanceStage(Masking("u2net"), engine="None", respective_field=1.0)


def drawn() -> Image.Image:
    return draw(Scene("cyan", (Thing("square", "black", "small", "center"),)), 128, 128, random.Random(3))


def plain() -> Image.Image:
    return Image.new("RGB", (128, 128), (90, 210, 220))


def values(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"))


def sampled(room: Darkroom, graph) -> int:
    """How many sampler nodes ran."""
    ran = [event.node for event in room.events if isinstance(event, Executing)]
    return sum(graph.nodes[node].class_type == "SampleLatent" for node in ran if node in graph)


def test_each_stage_repaints_what_stands_out_and_nothing_else(brisk_room: Darkroom):
    figures = enhance_figures(brisk_room, 2)
    assert figures.first_colour >= 0.5  # one picture of two may fail; measure_enhance has the real share
    assert figures.second_colour >= 0.5
    assert figures.first_outside_equal == figures.second_outside_equal == 1.0


def test_a_stage_that_selects_nothing_samples_nothing_and_saves_nothing(room: Darkroom):
    """Eroded by more than the thing measures, the mask is empty; the picture goes on as it came."""
    nothing = EnhanceStage(Masking("u2net"), engine="None", erode_or_dilate=-200)
    picture = room.put(drawn(), "thing.png")
    compiled = room.compile(**FEW, enhance=Enhance(image=picture, stages=[nothing, nothing]))
    assert room.run(compiled.graph.to_json(), compiled.outputs) == []
    assert sampled(room, compiled.graph) == 0
    asked = Enhance(image=picture, stages=[nothing], save_final_only=True)
    (final,) = room.make(**FEW, enhance=asked)
    assert np.array_equal(values(final), values(drawn()))


def test_a_stage_after_an_empty_one_works_on_what_was_there(room: Darkroom):
    nothing = EnhanceStage(Masking("u2net"), engine="None", erode_or_dilate=-200)
    compiled = room.compile(**FEW, enhance=Enhance(image=room.put(drawn(), "thing.png"), stages=[nothing, FOUND]))
    (only,) = room.run(compiled.graph.to_json(), compiled.outputs)
    (alone,) = room.make(**FEW, enhance=Enhance(image=room.put(drawn(), "thing.png"), stages=[FOUND]))
    assert np.array_equal(values(only), values(alone))
    assert not np.array_equal(values(only), values(drawn()))


def test_the_order_of_stages_and_of_the_upscale_pass_counts(room: Darkroom):
    picture = room.put(drawn(), "thing.png")
    stages = [stage("circle", "red", "cyan"), stage("star", "yellow", "cyan")]
    _, last = room.make(overwrite_step=10, enhance=Enhance(image=picture, stages=stages))
    assert measure(last).found[0].colour == "yellow"
    _, last = room.make(overwrite_step=10, enhance=Enhance(image=picture, stages=stages[::-1]))
    assert measure(last).found[0].colour == "red"
    sizes = {}
    for order in ("Before First Enhancement", "After Last Enhancement"):
        asked = Enhance(image=picture, stages=[FOUND], uov_method="Upscale (Fast 2x)", uov_order=order)
        sizes[order] = [made.size for made in room.make(**FEW, enhance=asked)]
    assert sizes["Before First Enhancement"] == [(256, 256), (256, 256)]
    assert sizes["After Last Enhancement"] == [(128, 128), (256, 256)]


def test_the_pictures_of_a_flow_come_first_and_are_enhanced_one_by_one(room: Darkroom):
    large = {"prompt": "a large blue square on a pink background", "overwrite_step": 8}
    asked = Enhance(stages=[FOUND], uov_method="Upscale (Fast 2x)")
    plain_flow = room.make(**large, image_number=2)
    made = room.make(**large, image_number=2, enhance=asked)
    assert [picture.size for picture in made] == [(128, 128)] * 2 + [(256, 256)] * 4
    assert all(np.array_equal(values(a), values(b)) for a, b in zip(plain_flow, made, strict=False))
    final = room.make(**large, image_number=2, enhance=Enhance(**{**_fields(asked), "save_final_only": True}))
    assert [np.array_equal(values(a), values(b)) for a, b in zip(final, (made[3], made[5]), strict=True)] == [True] * 2


def _fields(enhance: Enhance) -> dict:
    return {name: getattr(enhance, name) for name in enhance.__struct_fields__}
