"""Black-out and the sheet of all pictures: added behind any flow."""

import pytest
from msgspec.structs import replace

from graphs.catalog import Catalog, MissingFile
from graphs.flows import compile_request
from graphs.request import GenerationRequest, Inpaint, InputImage

TINY = Catalog(
    checkpoints=("focal-tiny-sdxl.safetensors",),
    upscale_models=("focal-tiny-upscaler-4x.safetensors",),
    files={"safety_checker": ("focal-tiny-safety-checker.bin",)},
)
PICTURE = InputImage("a.png", 128, 128)
FLOWS = {
    "text": {},
    "vary": {"input_image": PICTURE, "uov_method": "Vary (Subtle)"},
    "fast upscale": {"input_image": PICTURE, "uov_method": "Upscale (Fast 2x)"},
    "inpaint": {"input_image": PICTURE, "inpaint": Inpaint(mask="m.png")},
}


def request(**asked):
    return GenerationRequest(**({"prompt": "a star", "seed": 1} | asked))


def source(graph, node_id, name="images"):
    return graph.nodes[graph.nodes[node_id].inputs[name].source]


@pytest.mark.parametrize("flow", FLOWS)
def test_every_saved_picture_goes_through_the_checker(flow):
    asked = request(black_out_nsfw=True, image_number=2, **FLOWS[flow])
    compiled = compile_request(asked, TINY)
    plain = compile_request(replace(asked, black_out_nsfw=False), TINY)
    assert not compiled.preview
    assert compiled.outputs == plain.outputs
    for output in compiled.outputs:
        checked = source(compiled.graph, output)
        assert checked.class_type == "BlackOutUnsafe"
        assert checked.inputs["images"] == plain.graph.nodes[output].inputs["images"]
    kinds = [node.class_type for node in compiled.graph.nodes.values()]
    assert kinds.count("SafetyCheckerLoader") == 1


def test_the_server_may_black_out_whatever_is_asked():
    compiled = compile_request(request(), replace_catalog(TINY, black_out_nsfw=True))
    assert source(compiled.graph, compiled.outputs[0]).class_type == "BlackOutUnsafe"


def test_a_missing_checker_is_told_before_anything_runs():
    with pytest.raises(MissingFile, match=r"stable-diffusion-safety-checker.bin in models/safety_checker") as caught:
        compile_request(request(black_out_nsfw=True), replace_catalog(TINY, files={}))
    assert caught.value.field == "black_out_nsfw"
    assert "focal models download" in caught.value.hint


def test_the_sheet_is_the_last_picture_and_shows_what_was_saved():
    compiled = compile_request(request(generate_image_grid=True, image_number=3, black_out_nsfw=True), TINY)
    *pictures, sheet = compiled.images
    assert [image.index for image in compiled.images] == [0, 1, 2, 3]
    grid = source(compiled.graph, sheet.node_id)
    assert grid.class_type == "ImageGrid"
    both = compiled.graph.nodes[grid.inputs["images"].source]
    shown = [
        both.inputs["image2"],
        *(compiled.graph.nodes[both.inputs["image1"].source].inputs[f"image{n}"] for n in (2, 1)),
    ]
    assert shown[::-1] == [compiled.graph.nodes[image.node_id].inputs["images"] for image in pictures]


def test_one_picture_needs_no_sheet():
    assert len(compile_request(request(generate_image_grid=True), TINY).images) == 1


def replace_catalog(catalog, **changes):
    from dataclasses import replace as replaced

    return replaced(catalog, **changes)
