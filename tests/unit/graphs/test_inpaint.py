"""What inpaint requests are turned into, and which are refused."""

import dataclasses
import json

import pytest
from msgspec.structs import replace

from graphs.catalog import Catalog
from graphs.flows import compile_request
from graphs.metadata_fooocus import read as read_values
from graphs.request import GenerationRequest, Inpaint, InputImage, Refused
from graphs.wildcards import Wildcards

TINY = Catalog(
    checkpoints=("focal-tiny-sdxl.safetensors",),
    upscale_models=("focal-tiny-upscaler-4x.safetensors",),
    wildcards=Wildcards([]),
)
FULL = Catalog(checkpoints=("big.safetensors",), wildcards=Wildcards([]))
REQUEST = GenerationRequest(
    prompt="a cat", seed=1, performance="Speed", loras=[], styles=[], input_image=InputImage("a.png", 600, 400)
)


def compiled(catalog=TINY, picture=None, **asked):
    request = REQUEST if picture is None else replace(REQUEST, input_image=InputImage("a.png", *picture))
    return compile_request(replace(request, inpaint=Inpaint(**asked)), catalog)


def kinds(result):
    return [node.class_type for node in result.graph.nodes.values()]


def inputs(result, kind):
    return next(node.inputs for node in result.graph.nodes.values() if node.class_type == kind)


def texts(result):
    return inputs(result, "EncodePrompts")["texts"]["__value__"]


def test_without_mask_and_side_the_picture_is_not_used():
    result = compiled()
    assert "LoadImage" not in kinds(result)
    assert "EmptyLatentImage" in kinds(result)
    assert any("neither a mask nor a side" in warning for warning in result.warnings)


def test_the_additional_prompt_becomes_the_main_prompt():
    assert texts(compiled(mask="m.png", additional_prompt="a hat")) == ["a hat", "a cat"]
    alone = replace(REQUEST, prompt="", inpaint=Inpaint(mask="m.png", additional_prompt="a hat"))
    assert texts(compile_request(alone, TINY)) == ["a hat"]
    assert texts(compiled(mask="m.png", additional_prompt="  ")) == ["a cat"]


def test_sides_are_extended_by_thirty_percent_or_by_their_distance():
    result = compiled(outpaint=["right", "TOP", "bottom"], distances=(50, 0, -1, 7))
    padding = inputs(result, "PadForOutpaint")
    assert {side: padding[side] for side in ("left", "top", "right", "bottom")} == {
        "left": 0,
        "top": 120,
        "right": 180,
        "bottom": 7,
    }


def test_outpainting_forces_strength_and_the_whole_picture():
    result = compiled(outpaint=["left"], strength=0.3, respective_field=0.2)
    assert inputs(result, "SampleLatent")["denoise"] == 1.0
    assert inputs(result, "CropForInpaint")["respective_field"] == 1.0
    assert any("strength 1" in warning for warning in result.warnings)


def test_a_weak_repaint_starts_from_the_picture_and_a_full_one_from_a_fill():
    assert "FillMasked" not in kinds(compiled(mask="m.png", strength=0.99))
    assert "FillMasked" in kinds(compiled(mask="m.png", strength=1.0))


def test_the_debug_flag_shows_fill_mask_and_area_and_samples_nothing():
    result = compiled(mask="m.png", debug=True)
    assert len(result.outputs) == 3
    assert not {"SampleLatent", "CheckpointLoaderSimple"} & set(kinds(result))


@pytest.mark.parametrize(
    ("picture", "asked", "size"),
    [
        ((128, 128), {"mask": "m.png"}, (128, 128)),
        ((64, 64), {"mask": "m.png"}, (128, 128)),
        ((128, 96), {"outpaint": ["left"]}, (160, 96)),
        ((300, 200), {"mask": "m.png", "respective_field": 0.5}, (300, 200)),
    ],
)
def test_the_recorded_size_is_the_working_size_where_it_is_known(picture, asked, size):
    generation = compiled(picture=picture, **asked).generation
    assert (generation.width, generation.height) == size


def test_the_tiny_model_works_without_an_engine():
    assert "ApplyInpaintEngine" not in kinds(compiled(mask="m.png"))
    assert not compiled(mask="m.png").warnings
    assert any("without the engine v2.6" in warning for warning in compiled(mask="m.png", engine="v2.6").warnings)


@pytest.mark.parametrize("engine", [None, "v1", "v2.6"])
def test_the_tiny_model_has_one_engine_for_all(engine):
    files = ("focal-tiny-inpaint-head.pth", "focal-tiny-inpaint.fooocus.patch")
    catalog = dataclasses.replace(TINY, inpaint_models=files)
    nodes = compiled(catalog, mask="m.png", engine=engine).graph.nodes.values()
    (engined,) = (node for node in nodes if node.class_type == "ApplyInpaintEngine")
    assert (engined.inputs["head"], engined.inputs["patch"]) == files
    assert "ApplyInpaintEngine" not in kinds(compiled(catalog, mask="m.png", engine="None"))


@pytest.mark.parametrize(
    ("asked", "until"),
    [
        ({}, 0.8),
        ({"performance": "Lightning"}, 3 / 4),  # round(4 · 0.8)
        ({"overwrite_switch": 12}, 12 / 30),
        ({"overwrite_step": 60}, 24 / 60),  # of the mode's own 30 steps
        ({"overwrite_step": 10}, 1.0),
    ],
)
def test_an_engine_ends_where_a_refiner_would_begin_with_a_switch_of_0_8(asked, until):
    """Fooocus behaviour §1.6, §5.4.6, §9.3."""
    catalog = dataclasses.replace(
        TINY,
        inpaint_models=("focal-tiny-inpaint-head.pth", "focal-tiny-inpaint.fooocus.patch"),
        loras=("focal-tiny-lightning.safetensors",),
    )
    result = compile_request(replace(REQUEST, inpaint=Inpaint(mask="m.png"), **asked), catalog)
    assert inputs(result, "ApplyInpaintEngine").get("until", 0.8) == pytest.approx(until)
    said = json.loads(inputs(result, "SaveGeneration")["metadata"])
    assert said["refiner_switch"] == 0.8
    assert (read_values(said).overwrite_switch or 0) == asked.get("overwrite_switch", 0)


def test_missing_engine_files_are_named():
    with pytest.raises(Refused, match=r"fooocus_inpaint_head.pth and inpaint.fooocus.patch") as refused:
        compiled(FULL, mask="m.png", engine="v1")
    assert "models/inpaint" in refused.value.hint
    assert "ApplyInpaintEngine" not in kinds(compiled(FULL, mask="m.png", engine="None"))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"mask": "m.png", "strength": 1.5}, "inpaint.strength"),
        ({"mask": "m.png", "respective_field": float("nan")}, "inpaint.respective_field"),
        ({"mask": "m.png", "engine": "v3"}, "inpaint.engine"),
        ({"outpaint": ["up"]}, "inpaint.outpaint"),
        ({"outpaint": ["left"], "distances": (40_000, 0, 0, 0)}, "inpaint.distances"),
    ],
)
def test_what_cannot_be_done_is_refused_by_field(asked, field):
    with pytest.raises(Refused) as refused:
        compiled(**asked)
    assert refused.value.field == field


def test_a_missing_picture_is_refused():
    with pytest.raises(Refused, match="needs a picture"):
        compile_request(replace(REQUEST, input_image=None, inpaint=Inpaint(mask="m.png")), TINY)
