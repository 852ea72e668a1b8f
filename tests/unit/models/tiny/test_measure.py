import random

import pytest
from PIL import Image

from models.tiny.measure import agreement, measure
from models.tiny.pool import SIZE_SHARES, conditioned_picture
from models.tiny.scenes import Scene, Thing, draw, random_scene


def test_real_drawings_are_read_right_at_least_99_times_in_100() -> None:
    rng, results = random.Random(21), []
    for _ in range(250):
        scene = random_scene(rng)
        picture = draw(scene, *rng.choice(list(SIZE_SHARES)[:-1]), rng)
        results.append(all(agreement(scene, measure(picture, scene.arrangement)).values()))
    assert sum(results) / len(results) >= 0.99


def test_blurry_enlarged_drawings_are_read_right_too() -> None:
    rng, results = random.Random(22), []
    for _ in range(100):
        scene = random_scene(rng, two=0)
        picture = draw(scene, 64, 64, rng).resize((128, 128), Image.Resampling.BICUBIC)
        results.append(all(agreement(scene, measure(picture)).values()))
    assert sum(results) / len(results) >= 0.97


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (Thing("square", "red", "large", "left"), "shape"),
        (Thing("circle", "blue", "large", "left"), "colour"),
        (Thing("circle", "red", "small", "left"), "size"),
        (Thing("circle", "red", "large", "top"), "place"),
    ],
)
def test_one_wrong_attribute_is_seen_as_that_one(wrong: Thing, name: str) -> None:
    wanted = Scene("gray", (Thing("circle", "red", "large", "left"),))
    picture = draw(Scene("gray", (wrong,)), 128, 128, random.Random(0))
    assert [k for k, right in agreement(wanted, measure(picture)).items() if not right] == [name]


def test_two_things_in_each_others_places_are_wrong() -> None:
    red, blue = Thing("circle", "red"), Thing("star", "blue")
    picture = draw(Scene("gray", (blue, red), "beside"), 128, 128, random.Random(0))
    result = agreement(Scene("gray", (red, blue), "beside"), measure(picture, "beside"))
    assert result == {"background": True, "two colours": False, "two shapes": False}


def test_an_empty_picture_has_no_object() -> None:
    found = measure(Image.new("RGB", (128, 128), (128, 128, 128)))
    assert found.background == "gray"
    assert found.found[0].colour is None


def test_the_size_numbers_are_true_of_the_picture() -> None:
    rng = random.Random(23)
    for _ in range(100):
        picture, (height, width, top, left, target_height, target_width) = conditioned_picture(
            random_scene(rng), 144, 112, rng
        )
        assert picture.size == (target_width, target_height) == (144, 112)
        assert 0 <= top <= max(0, height - 112)
        assert 0 <= left <= max(0, width - 144)
        assert abs(width / height - 144 / 112) < 0.03
