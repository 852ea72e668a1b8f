"""What enhancing adds to a flow's graph, and what is refused."""

import dataclasses

import pytest
from msgspec.structs import replace

from graphs.catalog import Catalog
from graphs.enhance_choice import AFTER, LAST_FILLED
from graphs.flows import compile_request
from graphs.request import GenerationRequest, Inpaint, InputImage, Refused
from graphs.request_parts import Enhance, EnhanceStage, Masking
from graphs.wildcards import Wildcards

CATALOG = Catalog(
    checkpoints=("focal-tiny-sdxl.safetensors",),
    upscale_models=("focal-tiny-upscaler-4x.safetensors",),
    wildcards=Wildcards([]),
    files={"inpaint": ("focal-tiny-u2net.onnx",)},
)
OWN = InputImage("own.png", 200, 160)
FOUND = EnhanceStage(Masking("u2net"))
REQUEST = GenerationRequest(prompt="a cat", negative_prompt="bad", seed=5, loras=[], styles=[], performance="Speed")


def compiled(request=REQUEST, **enhance):
    return compile_request(replace(request, enhance=Enhance(**enhance)), CATALOG)


def all_inputs(result, kind):
    return [node.inputs for node in result.graph.nodes.values() if node.class_type == kind]


def texts(result):
    return [inputs["texts"]["__value__"] for inputs in all_inputs(result, "EncodePrompts")]


def saved_from(result):
    """The kind of node behind every saved picture, in the order of the answer."""
    nodes = result.graph.nodes
    return [nodes[nodes[output].inputs["images"].source].class_type for output in result.outputs]


def test_a_picture_of_its_own_skips_the_main_flow_and_is_one_picture():
    result = compiled(replace(REQUEST, image_number=4), image=OWN, stages=[FOUND])
    assert saved_from(result) == ["TakeIfMasked"]
    assert len(all_inputs(result, "SampleLatent")) == 1
    assert "EmptyLatentImage" not in {node.class_type for node in result.graph.nodes.values()}


def test_pictures_of_the_flow_come_first_then_each_one_s_stages():
    result = compiled(replace(REQUEST, image_number=2), stages=[FOUND, FOUND], uov_method="Upscale (Fast 2x)")
    assert saved_from(result) == ["VAEDecode"] * 2 + ["FitForUpscale", "TakeIfMasked", "TakeIfMasked"] * 2
    assert [image.index for image in result.images] == list(range(8))
    final = compiled(replace(REQUEST, image_number=2), stages=[FOUND], save_final_only=True)
    assert saved_from(final) == ["TakeIfMasked"] * 2
    assert [image.index for image in final.images] == [0, 1]


@pytest.mark.parametrize(
    ("main", "ends"),
    [
        ({}, [1.0]),
        ({"input_image": OWN, "inpaint": Inpaint(mask="m.png", engine="None")}, [1.0]),
        ({"input_image": OWN, "inpaint": Inpaint(mask="m.png")}, [0.8, 0.8]),
        ({"input_image": OWN, "inpaint": Inpaint(mask="m.png"), "overwrite_switch": 15}, [0.5, 0.5]),
    ],
)
def test_an_engine_works_to_the_end_unless_the_main_flow_has_one(main, ends):
    """Fooocus behaviour §5.8: the synthetic refiner is only there if the main job made it."""
    engine = ("focal-tiny-inpaint-head.pth", "focal-tiny-inpaint.fooocus.patch")
    catalog = dataclasses.replace(CATALOG, inpaint_models=engine)
    result = compile_request(replace(REQUEST, enhance=Enhance(stages=[FOUND]), **main), catalog)
    assert [inputs.get("until", 0.8) for inputs in all_inputs(result, "ApplyInpaintEngine")] == ends


def test_every_pass_uses_the_seed_of_the_job():
    result = compiled(replace(REQUEST, image_number=2), stages=[FOUND], uov_method="Vary (Subtle)")
    assert [inputs["seed"] for inputs in all_inputs(result, "SampleLatent")] == [5, 6, 5, 5, 5, 5]


def test_empty_prompts_fall_back_to_the_request_s():
    stages = [replace(FOUND, prompt="a hat"), replace(FOUND, negative_prompt="blur"), FOUND]
    result = compiled(image=OWN, stages=stages)
    assert texts(result) == [["a hat"], ["bad"], ["a cat"], ["blur"], ["a cat"], ["bad"]]


def test_a_last_pass_may_take_the_last_words_that_a_stage_had():
    stages = [replace(FOUND, prompt="a hat", negative_prompt="blur"), replace(FOUND, prompt="a shoe"), FOUND]
    vary = {"image": OWN, "stages": stages, "uov_method": "Vary (Strong)", "uov_order": AFTER}
    assert texts(compiled(**vary))[-2:] == [["a cat"], ["bad"]]
    assert texts(compiled(**vary, uov_prompt_type=LAST_FILLED))[-2:] == [["a shoe"], ["blur"]]


def test_steps_are_the_mode_s_and_of_upscaling_fewer():
    result = compiled(image=OWN, stages=[FOUND], uov_method="Upscale (1.5x)")
    assert [inputs["steps"] for inputs in all_inputs(result, "SampleLatent")] == [18, 30]


def test_settings_of_a_stage_reach_its_nodes():
    stage = replace(
        FOUND, strength=0.4, respective_field=0.2, erode_or_dilate=-7, invert_mask=True, disable_initial_latent=True
    )
    result = compiled(image=OWN, stages=[stage])
    (mask,) = all_inputs(result, "AssembleMask")
    assert (mask["erode_or_dilate"], mask["invert"]) == (-7, True)
    assert all_inputs(result, "CropForInpaint")[0]["respective_field"] == 0.2
    assert all_inputs(result, "EncodeInpaint")[0]["disable_initial_latent"] is True
    assert all_inputs(result, "SampleLatent")[0]["denoise"] == 0.4
    assert not all_inputs(result, "FillMasked")


def test_a_stage_without_words_is_left_out_with_a_warning():
    result = compiled(image=OWN, stages=[EnhanceStage(), FOUND])
    assert any("Enhancement 1 was left out" in warning for warning in result.warnings)
    assert len(result.images) == 1


def test_without_anything_to_do_a_flow_stays_as_it_was_and_a_picture_of_its_own_makes_none():
    kinds = [
        [node.class_type for node in each.graph.nodes.values()]
        for each in (compiled(), compile_request(REQUEST, CATALOG))
    ]
    assert kinds[0] == kinds[1]
    nothing = compiled(image=OWN, stages=[EnhanceStage()])
    assert [node.class_type for node in nothing.graph.nodes.values()] == ["ShowText"]
    assert (nothing.images, nothing.outputs) == ([], list(nothing.graph.nodes))
    assert any("Nothing was done" in warning for warning in nothing.warnings)


def test_a_flow_that_only_shows_what_it_prepares_is_not_enhanced():
    shown = replace(REQUEST, input_image=OWN, inpaint=Inpaint(mask="m.png", engine="None", debug=True))
    assert compiled(shown, stages=[FOUND]).graph.to_bytes() == compile_request(shown, CATALOG).graph.to_bytes()


def test_the_size_of_an_upscaled_picture_is_known_to_the_next_upscale_pass():
    """128 pixels are the tiny model's native size: 300 x 300 twice is too large for a diffusion pass."""
    flow = replace(REQUEST, input_image=InputImage("a.png", 160, 160), uov_method="Upscale (Fast 2x)")
    result = compiled(flow, uov_method="Upscale (1.5x)")
    assert saved_from(result) == ["FitForUpscale", "FitForUpscale"]
    assert not all_inputs(result, "SampleLatent")


@pytest.mark.parametrize(
    ("enhance", "field"),
    [
        ({"uov_method": "Upscale (3x)", "stages": [FOUND]}, "enhance.uov_method"),
        ({"uov_order": "sometime", "stages": [FOUND]}, "enhance.uov_order"),
        ({"uov_prompt_type": "mine", "stages": [FOUND]}, "enhance.uov_prompt_type"),
        ({"stages": [replace(FOUND, strength=2.0)]}, "enhance.stages.0.strength"),
        ({"stages": [FOUND, replace(FOUND, engine="v9")]}, "enhance.stages.1.engine"),
        ({"stages": [EnhanceStage(Masking("nothing"))]}, "enhance.stages.0.masking.model"),
        ({"stages": [EnhanceStage(Masking("sam", "face"))]}, "enhance.stages.0.masking.model"),
        ({"image": InputImage("big.png", 9000, 9000), "stages": [FOUND]}, "enhance.image"),
    ],
)
def test_what_cannot_be_done_is_refused(enhance, field):
    with pytest.raises(Refused) as refused:
        compiled(**enhance)
    assert refused.value.field == field
