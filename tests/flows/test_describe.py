"""Describe, black-out and prompt expansion through the real path with the tiny models.

The full counts are measured by tests/flows/measure_describe.py.
"""

import json
import random

import numpy as np

from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom, pixels
from tests.flows.measure_describe import blacked_out, described, words_of

COUNT = 12
STAR = Scene("white", (Thing("star", "purple", "large", "center"),))


def test_photos_and_drawings_are_put_into_words(room: Darkroom):
    figures = described(room, COUNT)
    assert figures.colour >= 0.85, figures
    assert figures.background >= 0.85, figures
    assert figures.shape >= 0.85, figures
    assert figures.right_tags >= 0.85, figures


def test_the_same_picture_has_the_same_words_and_both_kinds_are_joined(room: Darkroom):
    picture = draw(STAR, 200, 150, random.Random(1))
    photo, anime = words_of(room, picture, ["Photo"]), words_of(room, picture, ["Anime"])
    assert words_of(room, picture, ["Photo"]) == photo
    assert words_of(room, picture, ["Anime", "Photo"]) == f"{photo}, {anime}"
    assert anime.startswith(r"starry \(focal\), ")  # the tiny tagger's one character


def test_only_unwanted_pictures_are_blacked_out(brisk_room: Darkroom):
    figures = blacked_out(brisk_room, 2)
    assert (figures.unwanted, figures.untouched) == (1.0, 1.0), figures


def test_what_is_saved_is_black_too_when_no_model_paints(room: Darkroom):
    """A fast upscale has no prompt and no sampling; its result is checked all the same, before it is written."""
    bad = room.put(draw(STAR, 128, 128, random.Random(1)), "bad.png")
    good = room.put(
        draw(Scene("white", (Thing("circle", "red", "large", "center"),)), 128, 128, random.Random(1)), "good.png"
    )
    asked = {"uov_method": "Upscale (Fast 2x)", "black_out_nsfw": True}
    (black,), (kept,) = (room.make(input_image=sent, **asked) for sent in (bad, good))
    assert black.size == kept.size == (256, 256)
    assert not pixels(black).any()
    assert pixels(kept).any()


def test_the_sheet_shows_the_pictures_that_were_saved(room: Darkroom):
    *pictures, sheet = room.make(
        prompt="a red circle on a white background", image_number=3, overwrite_step=2, generate_image_grid=True
    )
    assert sheet.size == (256, 256)
    for number, picture in enumerate(pictures):
        left, top = number % 2 * 128, number // 2 * 128
        assert np.array_equal(pixels(sheet.crop((left, top, left + 128, top + 128))), pixels(picture))
    assert not pixels(sheet.crop((128, 128, 256, 256))).any()


def test_expansion_adds_words_to_prompt_and_record_and_changes_the_picture(room: Darkroom):
    asked = {"prompt": "a red circle on a white background", "overwrite_step": 3}
    (plain,), (first,), (again,), (other,) = (
        room.make(**asked, **more)
        for more in (
            {},
            {"styles": ["Fooocus V2"]},
            {"styles": ["Fooocus V2"], "metadata_scheme": "a1111"},
            {"styles": ["Fooocus V2"], "seed": 2},
        )
    )
    record = json.loads(first.info["parameters"])
    words = record["prompt_expansion"]
    assert words.startswith(asked["prompt"] + ", ")
    assert record["full_prompt"] == [asked["prompt"], words]
    assert again.info["parameters"].splitlines()[0] == f"{asked['prompt']}, {words}"
    assert json.loads(other.info["parameters"])["prompt_expansion"] != words
    assert np.array_equal(pixels(first), pixels(again))
    assert not np.array_equal(pixels(first), pixels(plain))
