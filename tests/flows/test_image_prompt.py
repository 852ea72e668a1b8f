"""Image prompts through the real path with the tiny models. The full count is measured by measure_image_prompt.py."""

import random

import numpy as np

from graphs.request_parts import ImagePrompt, Preprocessing
from models.tiny.faces import drawn_faces
from models.tiny.scenes import draw
from tests.flows.darkroom import Darkroom, pixels
from tests.flows.measure_image_prompt import SIDE, carried, scenes

COUNT = 4
SEED = 7


def test_a_reference_carries_over_and_without_weight_it_does_not(brisk_room: Darkroom):
    rng = random.Random(SEED)
    wanted = scenes(COUNT, SEED)
    references = [draw(scene, SIDE, SIDE, rng) for scene in wanted]
    asked = {"wanted": wanted, "references": references, "prompts": [""] * COUNT, "stop": 1.0, "seed": SEED}
    full, none = carried(brisk_room, weight=1.0, **asked), carried(brisk_room, weight=0.0, **asked)
    assert full.mean >= 0.6, (full, none)  # of background, colour and shape; shapes are the weak part
    assert full.mean >= none.mean + 0.4, (full, none)


def test_a_stop_of_nothing_is_no_picture_and_a_later_one_changes_more(room: Darkroom):
    (scene,) = scenes(1, SEED)
    reference = room.put(draw(scene, SIDE, SIDE, random.Random(3)), "stop.png")

    def made(stop: float) -> np.ndarray:
        prompt = ImagePrompt(reference, "ImagePrompt", stop, 1.0)
        return pixels(room.make(prompt="", seed=5, overwrite_step=8, image_prompts=[prompt])[0])

    plain = pixels(room.make(prompt="", seed=5, overwrite_step=8)[0])
    assert np.array_equal(made(0.0), plain)
    assert 0 < np.abs(made(0.1) - plain).mean() < np.abs(made(1.0) - plain).mean()


def test_a_face_is_cut_out_before_it_is_read_unless_it_is_ready(room: Darkroom):
    picture, _ = drawn_faces(192, 192, random.Random(21), count=1, degrees=25)
    prompts = [ImagePrompt(room.put(picture, "face.png"), "FaceSwap")]
    (crop,) = room.make(image_prompts=prompts, preprocessing=Preprocessing(debug=True))
    (ready,) = room.make(image_prompts=prompts, preprocessing=Preprocessing(debug=True, skip=True))
    same = pixels(picture.resize(ready.size))
    assert crop.size == ready.size == (224, 224)
    assert np.abs(pixels(ready) - same).mean() < 0.05
    assert np.abs(pixels(crop) - same).mean() > 0.05
