"""Masks through the graph that generate_mask runs. measure_masks.py measures more pictures."""

import random

import numpy as np
import pytest
from PIL import Image

from engine.events import Succeeded
from graphs.masks import mask_of
from graphs.request import InputImage
from graphs.request_parts import Enhance, EnhanceStage, Masking
from models.masks import grounding_dino
from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom
from tests.flows.measure_masks import iou, mask, mask_figures, things
from tests.parity.original_masks import HEIGHT, WIDTH, picture, save_grounding_dino, save_sam, save_vocabulary


@pytest.fixture(scope="module")
def words_room(tmp_path_factory: pytest.TempPathFactory):
    """A darkroom with random checkpoints for masks by words, in their authors' layout and under their names."""
    data = tmp_path_factory.mktemp("words")
    inpaint, sam = data / "models" / "inpaint", data / "models" / "sam"
    for folder in (sam, inpaint / "bert-base-uncased"):
        folder.mkdir(parents=True)
    save_sam(sam / "sam_vit_b_01ec64.pth")
    save_grounding_dino(inpaint / "groundingdino_swint_ogc.pth")
    save_vocabulary(inpaint / "bert-base-uncased" / "vocab.txt")
    room = Darkroom(data)
    room.put(Image.fromarray(picture()), "waves.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grounding_dino, "SHORT_PX", 160)  # 800 pixels take seconds, whatever the size of the model
        yield room
    room.close()


WAVES = InputImage("waves.png", WIDTH, HEIGHT)
SURE = {"model": "sam", "prompt": "red circle. blue star", "box_threshold": 0.0}


def by_words(room: Darkroom, **asked) -> tuple[np.ndarray, dict]:
    """The mask (H, W) bool, and what the nodes told."""
    graph, output = mask_of(WAVES, Masking(**{**SURE, **asked}), room.library.catalog)
    (shown,) = room.run(graph.to_json(), [output])
    ended = room.events[-1]
    assert isinstance(ended, Succeeded)
    told = {name: values for node in ended.ui.values() for name, values in node.items()}
    values = np.asarray(shown.convert("L"))
    assert set(np.unique(values)) <= {0, 255}
    return values > 127, told


def test_masks_fit_what_is_drawn(room: Darkroom):
    figures = mask_figures(room, 6)
    assert figures.iou >= 0.8
    assert figures.size_kept == 1.0


def test_a_thing_before_a_texture_is_found_too(room: Darkroom):
    drawn = draw(Scene("black", (Thing("circle", "yellow", "large", "center"),)), 160, 120, random.Random(8))
    wanted = things(drawn)
    noise = np.random.default_rng(8).normal(110, 20, (120, 160, 1)).clip(0, 255).repeat(3, axis=2)
    laid = Image.fromarray(np.where(wanted[..., None], np.asarray(drawn), noise).astype(np.uint8))
    found = mask(room, laid, Masking("isnet-general-use"), "texture.png")
    assert iou(np.asarray(found.convert("L")) > 127, wanted) >= 0.7


def test_words_become_boxes_and_boxes_become_a_mask(words_room: Darkroom):
    every, told = by_words(words_room)
    assert every.shape == (HEIGHT, WIDTH)
    assert len(told["boxes"]) == len(told["phrases"]) == told["segments"][0] == told["used"][0] > 1
    first, told = by_words(words_room, max_detections=1)
    assert told["used"] == [1]
    assert not (first & ~every).any()  # the mask of all is their union
    assert first.sum() < every.sum()


def test_surer_words_are_fewer_and_the_mask_stays(words_room: Darkroom):
    every, told = by_words(words_room, text_threshold=0.0)
    none, surer = by_words(words_room, text_threshold=1.0)
    assert len("".join(told["phrases"])) > len("".join(surer["phrases"]))
    assert np.array_equal(every, none)


def test_boxes_can_be_shown_instead_and_grow(words_room: Darkroom):
    shown, told = by_words(words_room, debug=True)
    wanted = np.zeros_like(shown)
    for x0, y0, x1, y1 in np.round(told["boxes"]).astype(int).clip(0):
        wanted[y0:y1, x0:x1] = True
    assert np.array_equal(shown, wanted)
    grown, _ = by_words(words_room, debug=True, dino_erode_or_dilate=5)
    assert (grown >= shown).all()
    assert grown.sum() > shown.sum()


def test_what_nobody_sees_is_an_empty_mask_and_no_enhancement(words_room: Darkroom):
    nothing, told = by_words(words_room, box_threshold=1.0)
    assert not nothing.any()
    assert told["boxes"] == []
    stage = EnhanceStage(Masking(**{**SURE, "box_threshold": 1.0}), engine="None", invert_mask=True)
    (result,) = words_room.make(
        prompt="a red circle", overwrite_step=2, enhance=Enhance(image=WAVES, stages=[stage], save_final_only=True)
    )
    assert np.array_equal(np.asarray(result.convert("RGB")), picture())  # not even the inverted mask counts


def test_a_stage_by_words_repaints_what_was_found(words_room: Darkroom):
    found, _ = by_words(words_room, max_detections=1)
    stage = EnhanceStage(Masking(**SURE, max_detections=1), engine="None", respective_field=1.0)
    (result,) = words_room.make(prompt="a red circle", overwrite_step=2, enhance=Enhance(image=WAVES, stages=[stage]))
    assert (np.asarray(result.convert("RGB")) != picture())[found].mean() > 0.5
