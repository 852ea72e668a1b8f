"""Vary through the real path with the tiny models. The full count is measured by tests/flows/measure_vary.py."""

import random

import numpy as np
import pytest

from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom, pixels
from tests.flows.measure_vary import vary_figures

COUNT = 2


def test_more_strength_means_less_of_the_input_and_subtle_keeps_the_layout(brisk_room: Darkroom):
    figures = vary_figures(brisk_room, COUNT)
    little, subtle, strong, everything = figures.similarity.values()
    assert little > subtle + 1 > strong + 2, figures
    assert strong > everything - 1, figures  # the last step is from little to nothing
    assert figures.position_kept_by_subtle == 1.0, figures
    assert figures.new_colour_wins_under_strong >= 0.5, figures  # one of two may fail; measure_vary has the real share


@pytest.mark.parametrize(
    ("given", "made"),
    [((64, 64), (128, 128)), ((128, 96), (144, 112)), ((128, 128), (128, 128)), ((300, 300), (256, 256))],
)
def test_the_result_has_the_documented_size(room: Darkroom, given, made):
    picture = draw(Scene("white", (Thing("circle", "red"),)), *given, random.Random(1))
    asked = {"input_image": room.put(picture), "uov_method": "Vary (Subtle)", "overwrite_step": 1}
    compiled = room.compile(prompt="a red circle", **asked)
    (result,) = room.run(compiled.graph.to_json(), compiled.outputs)
    assert result.size == made == (compiled.generation.width, compiled.generation.height)


def test_a_batch_shares_one_latent_and_differs_by_seed(room: Darkroom):
    picture = room.put(draw(Scene("white", (Thing("circle", "red"),)), 128, 128, random.Random(1)))
    asked = {"input_image": picture, "uov_method": "vary (strong)", "overwrite_step": 2, "prompt": "a red circle"}
    compiled = room.compile(image_number=2, **asked)
    kinds = [node.class_type for node in compiled.graph.nodes.values()]
    assert kinds.count("VAEEncode") == kinds.count("LoadImage") == 1
    first, second = room.run(compiled.graph.to_json(), compiled.outputs)
    assert not np.array_equal(pixels(first), pixels(second))
    (alone,) = room.make(**{**asked, "seed": 2})
    assert np.array_equal(pixels(second), pixels(alone))
