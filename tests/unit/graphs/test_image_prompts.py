"""Which image prompts count, what they need, and what they add to a graph."""

import pytest
from msgspec.structs import replace

from graphs.catalog import Catalog, MissingFile
from graphs.flows import compile_request
from graphs.image_prompts import chosen_prompts
from graphs.request import GenerationRequest, Inpaint, InputImage, Refused
from graphs.request_parts import ImagePrompt, Preprocessing

PICTURE = InputImage("a.png", 128, 96)
CATALOG = Catalog(
    checkpoints=("focal-tiny-sdxl.safetensors",),
    upscale_models=("focal-tiny-upscaler-4x.safetensors",),
    files={"controlnet": ("focal-tiny-control-canny.safetensors", "focal-tiny-control-cpds.safetensors")},
)
FLOWS = {
    "text": GenerationRequest(prompt="a red circle", seed=1),
    "vary": GenerationRequest(prompt="a red circle", seed=1, input_image=PICTURE, uov_method="Vary (Subtle)"),
    "upscale": GenerationRequest(prompt="a red circle", seed=1, input_image=PICTURE, uov_method="Upscale (1.5x)"),
    "inpaint": GenerationRequest(prompt="a red circle", seed=1, input_image=PICTURE, inpaint=Inpaint(mask="m.png")),
}


def kinds(request: GenerationRequest, catalog: Catalog = CATALOG) -> list[str]:
    return [node.class_type for node in compile_request(request, catalog).graph.nodes.values()]


def prompted(flow: str, *prompts: ImagePrompt, **asked) -> GenerationRequest:
    return replace(FLOWS[flow], image_prompts=prompts, **asked)


def test_canny_comes_before_cpds_and_each_keeps_its_order():
    names = [("c", "CPDS"), ("a", "PyraCanny"), ("d", "CPDS"), ("b", "PyraCanny")]
    prompts = [ImagePrompt(InputImage(name, 8, 8), kind) for name, kind in names]
    chosen = chosen_prompts(GenerationRequest(image_prompts=prompts), [])
    assert [prompt.image.name for prompt in chosen] == ["a", "b", "c", "d"]


def test_stop_and_weight_come_from_the_type_where_they_are_not_given():
    prompts = [ImagePrompt(PICTURE, "PyraCanny"), ImagePrompt(PICTURE, "FaceSwap"), ImagePrompt(PICTURE, weight=0.1)]
    chosen = chosen_prompts(GenerationRequest(image_prompts=prompts), [])
    assert [(prompt.stop, prompt.weight) for prompt in chosen] == [(0.5, 1.0), (0.5, 0.1), (0.9, 0.75)]


def test_the_first_four_are_used_and_the_caller_is_told():
    warnings: list[str] = []
    chosen = chosen_prompts(GenerationRequest(image_prompts=[ImagePrompt(PICTURE, "CPDS")] * 5), warnings)
    assert len(chosen) == 4
    assert "first 4" in warnings[0]


@pytest.mark.parametrize("wrong", [{"stop": 1.1}, {"weight": -0.1}, {"weight": 2.1}, {"stop": float("nan")}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(Refused) as refused:
        compile_request(prompted("text", ImagePrompt(PICTURE, "CPDS", **wrong)), CATALOG)
    assert refused.value.field == f"image_prompts.{next(iter(wrong))}"


@pytest.mark.parametrize("wrong", [{"canny_low": 0}, {"canny_high": 256}, {"softness": 1.5}])
def test_preprocessing_out_of_range_is_refused(wrong):
    with pytest.raises(Refused) as refused:
        compile_request(replace(FLOWS["text"], preprocessing=Preprocessing(**wrong)), CATALOG)
    assert refused.value.field == f"preprocessing.{next(iter(wrong))}"


@pytest.mark.parametrize("flow", FLOWS)
def test_every_flow_takes_control_pictures(flow):
    found = kinds(prompted(flow, ImagePrompt(PICTURE, "CPDS"), ImagePrompt(PICTURE, "PyraCanny"), image_number=2))
    assert found.count("ControlNetLoader") == found.count("FitForControl") == 2
    assert found.count("ApplyControl") == 4  # both controls for both images
    assert found.count("PyraCanny") == found.count("CPDS") == 1


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("idle", [{"weight": 0.0}, {"stop": 0.0}])
def test_what_cannot_act_leaves_the_graph_as_it_is_and_needs_no_file(flow, idle):
    catalog = Catalog(checkpoints=CATALOG.checkpoints, upscale_models=CATALOG.upscale_models)
    steered = compile_request(prompted(flow, ImagePrompt(PICTURE, "PyraCanny", **idle)), catalog)
    assert steered.graph.to_bytes() == compile_request(FLOWS[flow], catalog).graph.to_bytes()


def test_a_missing_file_is_named_before_anything_runs():
    catalog = Catalog(checkpoints=("real.safetensors", *CATALOG.checkpoints), files=CATALOG.files)
    with pytest.raises(MissingFile, match=r"control-lora-canny-rank128\.safetensors.*models/controlnet") as missing:
        compile_request(prompted("text", ImagePrompt(PICTURE, "PyraCanny"), base_model="real.safetensors"), catalog)
    assert missing.value.field == "image_prompts"


@pytest.mark.parametrize("flow", FLOWS)
def test_debug_shows_what_the_preprocessors_make_and_loads_no_model(flow):
    shown = Preprocessing(debug=True, canny_low=10)
    request = prompted(flow, ImagePrompt(PICTURE, "CPDS"), ImagePrompt(PICTURE, "PyraCanny"), preprocessing=shown)
    compiled = compile_request(request, CATALOG)
    nodes = compiled.graph.nodes
    assert len(compiled.images) == 2
    made = [nodes[nodes[image.node_id].inputs["images"].source].class_type for image in compiled.images]
    assert made == ["PyraCanny", "CPDS"]
    assert not {node.class_type for node in nodes.values()} & {"CheckpointLoaderSimple", "ControlNetLoader"}


def test_skip_takes_the_picture_as_it_is():
    found = kinds(prompted("text", ImagePrompt(PICTURE, "CPDS"), preprocessing=Preprocessing(skip=True)))
    assert "FitForControl" in found
    assert "CPDS" not in found


def test_a_fast_upscale_says_that_nothing_is_steered():
    request = replace(prompted("upscale", ImagePrompt(PICTURE, "CPDS")), uov_method="Upscale (Fast 2x)")
    compiled = compile_request(request, CATALOG)
    assert any("image prompts" in warning for warning in compiled.warnings)
    assert "ControlNetLoader" not in kinds(request)
