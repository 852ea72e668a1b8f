"""Control pictures through the real path with the tiny models. The full count is measured by measure_control.py."""

import random

import numpy as np
import pytest
from PIL import Image

from graphs.request_parts import ImagePrompt, Inpaint, Preprocessing
from models.control.canny import pyramid_edges
from models.control.cpds import contrast_preserving
from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom, pixels
from tests.flows.measure_control import SIDE, control_figures
from tests.flows.measure_inpaint import mask_picture
from tests.flows.measure_mixing import inpaint_mixed, vary_mixed

QUICK = {"prompt": "a red circle", "overwrite_step": 2, "styles": []}


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return draw(Scene("white", (Thing("star", "red", "large", "left"),)), SIDE, SIDE, random.Random(1))


@pytest.mark.parametrize("kind", ["PyraCanny", "CPDS"])
def test_edges_follow_the_control_picture_and_not_without_weight(brisk_room: Darkroom, kind):
    figures = control_figures(brisk_room, kind, 1, stops=(0.5, 1.0))
    assert figures.by_stop[1.0] >= 0.8, figures
    assert figures.unsteered <= 0.4, figures
    assert figures.unsteered < figures.by_stop[0.5] <= figures.by_stop[1.0], figures
    assert figures.place_said > figures.unsteered + 0.2, figures


@pytest.mark.parametrize("mixed", [vary_mixed, inpaint_mixed])
def test_a_control_and_another_flow_both_do_their_work(brisk_room: Darkroom, mixed):
    figures = mixed(brisk_room, 1)
    assert figures.edges >= figures.alone + 0.2, figures
    assert figures.own == figures.size_right == 1.0, figures


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("PyraCanny", {}, lambda values: pyramid_edges(values, 64, 128)),
        ("PyraCanny", {"canny_low": 200, "canny_high": 255}, lambda values: pyramid_edges(values, 200, 255)),
        ("CPDS", {}, contrast_preserving),
        ("CPDS", {"skip": True}, None),
    ],
)
def test_debug_shows_the_control_picture_alone(room: Darkroom, picture, kind, settings, expected):
    wide = Image.new("RGB", (2 * SIDE, SIDE), "black")
    wide.paste(picture, (SIDE // 2, 0))
    prompts = [ImagePrompt(room.put(wide, "wide.png"), kind)]
    preprocessing = Preprocessing(debug=True, **settings)
    (shown,) = room.make(image_prompts=prompts, preprocessing=preprocessing, width=SIDE, height=SIDE, **QUICK)
    values = np.asarray(picture)
    wanted = values if expected is None else np.repeat(expected(values)[..., None], 3, axis=2)
    assert np.array_equal(np.asarray(shown.convert("RGB")), wanted)


@pytest.mark.parametrize("settings", [{"softness": 1.0}, {"skip": True}, {"canny_low": 200, "canny_high": 255}])
def test_every_setting_changes_the_picture(room: Darkroom, settings):
    faint = draw(Scene("gray", (Thing("star", "green", "large", "left"),)), SIDE, SIDE, random.Random(1))
    prompts = [ImagePrompt(room.put(faint, "faint.png"), "PyraCanny", stop=1.0)]
    plain, changed = (
        room.make(image_prompts=prompts, preprocessing=preprocessing, **QUICK)[0]
        for preprocessing in (Preprocessing(), Preprocessing(**settings))
    )
    assert not np.array_equal(pixels(plain), pixels(changed))


def test_a_control_picture_covers_the_area_that_is_repainted_not_the_whole_picture(room: Darkroom, picture):
    """The mask lies in a corner of a wide picture; its square surroundings are what the model works on."""
    wide = room.put(picture.resize((4 * SIDE, 2 * SIDE)), "large.png")
    canvas = Image.new("L", (4 * SIDE, 2 * SIDE))
    canvas.paste(mask_picture().resize((SIDE, SIDE)), (0, 0))
    repaint = Inpaint(mask=room.put(canvas, "corner-mask.png").name, engine="None", respective_field=0.0)
    prompts = [ImagePrompt(room.put(picture, "control.png"), "CPDS")]
    shown = Preprocessing(debug=True)
    (made,) = room.make(image_prompts=prompts, preprocessing=shown, input_image=wide, inpaint=repaint, **QUICK)
    assert made.size == (SIDE, SIDE)
