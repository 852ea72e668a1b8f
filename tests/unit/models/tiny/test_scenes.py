import random

import numpy as np
import pytest

from models.tiny import scenes
from models.tiny.scenes import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    SHAPES,
    Scene,
    Thing,
    combinations,
    draw,
    held_out,
    random_scene,
)


def test_the_same_seed_gives_the_same_scene_and_picture() -> None:
    first, second = random.Random(11), random.Random(11)
    for _ in range(20):
        a, b = random_scene(first), random_scene(second)
        assert a == b
        assert draw(a, 128, 96, first).tobytes() == draw(b, 128, 96, second).tobytes()


def test_no_training_scene_shows_a_held_out_combination() -> None:
    rng = random.Random(5)
    for _ in range(5000):
        scene = random_scene(rng)
        assert not any(held_out(t.shape, t.colour, scene.background) for t in scene.things)


def test_training_scenes_show_every_combination_that_is_not_held_out() -> None:
    rng, seen = random.Random(6), set()
    for _ in range(8000):
        scene = random_scene(rng)
        seen |= {(t.shape, t.colour, scene.background) for t in scene.things}
    assert seen == set(combinations(held=False))


def test_about_one_combination_in_seven_is_held_out_and_each_attribute_value_is_among_them() -> None:
    held, seen = combinations(held=True), combinations(held=False)
    assert 0.12 < len(held) / (len(held) + len(seen)) < 0.17
    for part in (held, seen):
        assert {shape for shape, _, _ in part} == set(SHAPES)
        assert {colour for _, colour, _ in part} == set(COLOURS)
        assert {background for _, _, background in part} == set(BACKGROUNDS)


@pytest.mark.parametrize("size", [(128, 128), (160, 96), (112, 144), (256, 256)])
def test_a_picture_has_the_size_asked_for(size: tuple[int, int]) -> None:
    assert draw(random_scene(random.Random(0)), *size, random.Random(0)).size == size


@pytest.mark.parametrize("place", PLACES)
def test_an_object_lies_wholly_inside_the_picture(place: scenes.Place) -> None:
    rng = random.Random(2)
    for shape in SHAPES:
        pixels = np.asarray(draw(Scene("white", (Thing(shape, "black", "large", place),)), 128, 128, rng).convert("L"))
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert edge.min() > 100  # an edge may end in the outermost pixel, half covered


def test_two_things_of_a_scene_differ_in_colour() -> None:
    rng = random.Random(3)
    for _ in range(500):
        scene = random_scene(rng, two=1.0)
        assert scene.arrangement in scenes.ARRANGEMENTS
        assert scene.things[0].colour != scene.things[1].colour
