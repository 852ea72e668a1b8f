"""Inpaint and outpaint through the real path with the tiny models. measure_inpaint.py measures more pictures."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from engine.events import Failed
from graphs.request import Inpaint
from models.sdxl import load_checkpoint
from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom, pixels
from tests.flows.measure_inpaint import inpaint_figures, mask_picture, nearest, outpaint_figures, outside, soft_region

COUNT = 4
CYAN = Scene("cyan", (Thing("square", "black", "small", "center"),))
FEW = {"prompt": "a red circle on a cyan background", "overwrite_step": 2}


def drawn(width: int, height: int) -> Image.Image:
    return draw(CYAN, width, height, random.Random(3))


def painted(width: int, height: int, box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("RGB", (width, height))
    ImageDraw.Draw(mask).rectangle(box, fill="white")
    return mask


def values(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"))


def test_what_the_prompt_names_appears_inside_and_nothing_changes_outside(brisk_room: Darkroom):
    figures = inpaint_figures(brisk_room, COUNT)
    assert figures.colour_appears >= 0.75  # one picture of four may fail; measure_inpaint has the real share
    assert figures.outside_equal == figures.size_kept == 1.0
    assert figures.seam_step < figures.own_step / 4


def test_a_picture_goes_on_where_it_is_extended(brisk_room: Darkroom):
    figures = outpaint_figures(brisk_room, COUNT)
    assert figures.background_goes_on >= 0.75
    assert figures.inner_part_equal == figures.size_right == 1.0


def test_a_detail_is_worked_on_at_the_model_s_size_and_put_back(room: Darkroom):
    picture, box = drawn(300, 220), (200, 150, 231, 181)
    (result,) = room.make(
        **FEW,
        input_image=room.put(picture, "large.png"),
        inpaint=Inpaint(mask=room.put(painted(300, 220, box), "box.png").name, respective_field=0.0, strength=0.5),
    )
    assert result.size == (300, 220)
    mask = values(painted(300, 220, box))[..., 0] > 0
    assert np.array_equal(values(result)[~soft_region(mask)], values(picture)[~soft_region(mask)])


def test_a_mask_of_another_size_grown_and_inverted_repaints_the_rest(room: Darkroom):
    picture = drawn(128, 128)
    mask = room.put(painted(64, 64, (0, 0, 31, 63)), "half.png").name  # the left half
    asked = Inpaint(mask=mask, erode_or_dilate=16, invert_mask=True)  # leaves the 48 columns on the right
    (result,) = room.make(**FEW, input_image=room.put(picture, "whole.png"), inpaint=asked)
    equal = (values(result) == values(picture)).all(-1).all(0)
    assert equal[: 80 - 31].all()
    assert not equal[88:].all()


def test_every_image_of_a_batch_shares_one_latent(room: Darkroom):
    compiled = room.compile(
        **FEW,
        image_number=2,
        input_image=room.put(drawn(128, 128), "whole.png"),
        inpaint=Inpaint(outpaint=["left"], distances=(16, 0, 0, 0), disable_initial_latent=True),
    )
    kinds = [node.class_type for node in compiled.graph.nodes.values()]
    assert kinds.count("EncodeInpaint") == kinds.count("CropForInpaint") == 1
    first, second = room.run(compiled.graph.to_json(), compiled.outputs)
    assert first.size == second.size == (144, 128)
    assert not np.array_equal(values(first), values(second))


def test_the_debug_flag_shows_fill_mask_and_area(room: Darkroom):
    mask = room.put(painted(128, 128, (40, 40, 87, 87)), "middle.png").name
    fill, shown, area = room.make(
        **FEW, input_image=room.put(drawn(128, 128), "whole.png"), inpaint=Inpaint(mask=mask, debug=True)
    )
    assert nearest(np.median(values(fill)[50:78, 50:78], axis=(0, 1))) == "cyan"  # the black square is gone
    assert np.array_equal(values(shown)[..., 0] > 0, values(painted(128, 128, (40, 40, 87, 87)))[..., 0] > 0)
    assert np.array_equal(values(area), values(drawn(128, 128)))


def test_an_empty_mask_fails_with_what_to_do(room: Darkroom):
    mask = room.put(Image.new("RGB", (128, 128), (120, 120, 120)), "grey.png").name
    compiled = room.compile(
        **FEW, input_image=room.put(drawn(128, 128), "whole.png"), inpaint=Inpaint(mask=mask, respective_field=0.3)
    )
    with pytest.raises(AssertionError):
        room.run(compiled.graph.to_json(), compiled.outputs)
    failed = room.events[-1]
    assert isinstance(failed, Failed)
    assert failed.code == "empty_mask"
    assert "nothing to repaint" in failed.message
    assert "Paint white" in failed.hint


def test_an_engine_changes_the_inside_only(room: Darkroom):
    """A head and a patch with random values, in the files' own format, at the size of the tiny model."""
    folder = room.data / "models" / "inpaint"
    folder.mkdir(parents=True, exist_ok=True)
    runtime = room.bench.runtime
    model = load_checkpoint(runtime.folders.path("checkpoints", "focal-tiny-sdxl.safetensors"), runtime.residency)[0]
    random_numbers = torch.Generator().manual_seed(1)
    width = model.unet.sizes.model_channels
    torch.save({"head": torch.randn(width, 5, 3, 3, generator=random_numbers) / 5}, folder / "head.pth")
    change = {
        f"diffusion_model.{name}": (
            torch.randint(0, 256, place.shape, dtype=torch.uint8, generator=random_numbers),
            torch.tensor(-0.002),
            torch.tensor(0.002),
        )
        for name, place in model.unet.arena.places.items()
    }
    torch.save(change, folder / "tiny.fooocus.patch")
    picture, box = drawn(128, 128), (48, 48, 79, 79)
    compiled = room.compile(
        **FEW | {"overwrite_step": 5},
        input_image=room.put(picture, "whole.png"),
        inpaint=Inpaint(mask=room.put(painted(128, 128, box), "small.png").name),
    )
    graph = compiled.graph.to_json()
    (plain,) = room.run(graph, compiled.outputs)
    link = {node["class_type"]: name for name, node in graph.items()}
    sampler = graph[link["SampleLatent"]]["inputs"]
    crop, checkpoint = link["CropForInpaint"], link["CheckpointLoaderSimple"]
    files = {"head": "head.pth", "patch": "tiny.fooocus.patch"}
    values_in = {"model": sampler["model"], "vae": [checkpoint, 2], "image": [crop, 0], "mask": [crop, 1]}
    graph["engine"] = {"class_type": "ApplyInpaintEngine", "inputs": values_in | files}
    sampler["model"] = ["engine", 0]
    (engined,) = room.run(graph, compiled.outputs)
    kept = ~soft_region(values(painted(128, 128, box))[..., 0] > 0)
    assert np.array_equal(values(engined)[kept], values(picture)[kept])
    assert not np.array_equal(values(engined), values(plain))


def test_an_engine_makes_another_filling_and_leaves_the_outside_alone(room: Darkroom):
    """Which filling fits better is counted by measure_engine.py; here: it is used, and only inside."""
    given = draw(Scene("white", (Thing("circle", "red", "large", "center"),)), 128, 128, random.Random(1))
    asked = {"prompt": "a red circle", "input_image": room.put(given), "overwrite_step": 4}
    mask = room.put(mask_picture(), "mask.png").name
    with_engine, alone = (room.make(**asked, inpaint=Inpaint(mask=mask, engine=engine))[0] for engine in (None, "None"))
    assert not np.array_equal(pixels(with_engine), pixels(alone))
    assert np.array_equal(outside(with_engine), outside(given))
