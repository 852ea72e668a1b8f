"""Each field of a request acts in its documented way, or is refused: one row per field, none forgotten.

Most rows compare the graphs that two requests compile to, up to the metadata, which note every field. Whether a changed
node changes the picture is measured in test_field_pixels.py for what acts on the model's mathematics, and elsewhere for
the rest.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from graphs.catalog import Catalog
from graphs.flows import compile_request
from graphs.known_files import KNOWN_FILES
from graphs.request import FreeU, GenerationRequest, Inpaint, InputImage, Lora, Refused
from graphs.request_parts import Enhance, EnhanceStage, ImagePrompt, Masking, Preprocessing
from tests.flows.field_checks import (
    Row,
    adds,
    at_least,
    changed,
    colours_in_order,
    counts,
    differ,
    encoded,
    loses,
    no_metadata,
    no_more,
    only_metadata,
    order,
    pictures,
    previews,
    seeds,
    sets,
    texts,
    together,
    without_metadata,
)

BASE, OTHER, REFINER = "juggernautXL_v8Rundiffusion.safetensors", "other.safetensors", "refiner.safetensors"


def known(kind: str) -> list[str]:
    return [file.name for file in KNOWN_FILES.values() if file.kind == kind]


CATALOG = Catalog(
    checkpoints=(BASE, OTHER, REFINER),
    loras=("style.safetensors", "more.safetensors", "sdxl_lightning_4step_lora.safetensors"),
    vaes=("mine.safetensors",),
    upscale_models=("fooocus_upscaler_s409985e5.bin",),
    inpaint_models=(
        *known("inpaint"),
        "fooocus_inpaint_head.pth",
        "inpaint.fooocus.patch",
        "inpaint_v26.fooocus.patch",
    ),
    files={kind: known(kind) for kind in {file.kind for file in KNOWN_FILES.values()}},
    family_of=lambda name: "sdxl_refiner" if name == REFINER else "sdxl",
)
PICTURE, OTHER_PICTURE = InputImage("photo.png", 1024, 1024), InputImage("other.png", 1024, 1024)
PLAIN: dict[str, Any] = {"prompt": "a cat", "negative_prompt": "a dog", "styles": [], "loras": [], "seed": 5}
REFINED = {"refiner_model": REFINER}
VARIED = {"input_image": PICTURE, "uov_method": "Vary (Subtle)"}
UPSCALED = {"input_image": PICTURE, "uov_method": "Upscale (Custom)"}
PAINTED = {"input_image": PICTURE, "inpaint": Inpaint(mask="m.png")}
EXTENDED = {"input_image": PICTURE, "inpaint": Inpaint(outpaint=["left"])}
CANNY = {"image_prompts": [ImagePrompt(PICTURE, "PyraCanny")]}
STAGED = {"enhance": Enhance(image=PICTURE, stages=[EnhanceStage(masking=Masking(model="sam", prompt="eye"))])}
TWICE = {"enhance": replace(STAGED["enhance"], uov_method="Vary (Subtle)")}
WOLF = replace(STAGED["enhance"].stages[0], prompt="a wolf")
WOLF_LAST = {"enhance": replace(TWICE["enhance"], uov_order="After Last Enhancement", stages=[WOLF])}
CLOTHES = {"enhance": Enhance(image=PICTURE, stages=[EnhanceStage(masking=Masking(model="u2net_cloth_seg"))])}

WILD = {"prompt": "a __color__ cat", "image_number": 2}
ROWS: dict[str, Row] = {
    "prompt": Row({}, "a bird", texts(["a bird"], ["a dog"])),
    "negative_prompt": Row({}, "a fish", texts(["a cat"], ["a fish"])),
    "styles": Row({}, ["Fooocus Sharp"], encoded("large-format cinema camera")),
    "performance": Row(
        {}, "Lightning", together(sets("SampleLatent", "steps", 30, 4), sets("SampleLatent", "cfg", 4.0, 1.0))
    ),
    "width": Row({}, 640, sets("EmptyLatentImage", "width", 1152, 640)),
    "height": Row({}, 640, sets("EmptyLatentImage", "height", 896, 640)),
    "image_number": Row({}, 3, seeds(5, 6, 7)),
    "first_image": Row({"image_number": 2}, 3, seeds(8, 9)),
    "seed": Row({}, 6, sets("SampleLatent", "seed", 5, 6)),
    "preset": Row({}, "lightning", sets("SampleLatent", "sampler_name", "dpmpp_2m_sde_gpu", "euler")),
    "sharpness": Row({}, 9.0, sets("AdaptiveGuidance", "sharpness", 2.0, 9.0)),
    "guidance_scale": Row({}, 8.0, sets("SampleLatent", "cfg", 4.0, 8.0)),
    "base_model": Row({}, OTHER, sets("CheckpointLoaderSimple", "ckpt_name", BASE, OTHER)),
    "refiner_model": Row(
        {}, REFINER, together(at_least("SampleWithRefiner", "ConditionRefiner"), no_more("SampleLatent"))
    ),
    "refiner_switch": Row(REFINED, 0.75, sets("SampleWithRefiner", "switch", 15, 22)),
    "loras": Row({}, [Lora("style.safetensors", 0.5)], adds("LoraLoader")),
    "loras.name": Row(
        {"loras": [Lora("style.safetensors")]},
        "more.safetensors",
        sets("LoraLoader", "lora_name", "style.safetensors", "more.safetensors"),
    ),
    "loras.weight": Row({"loras": [Lora("style.safetensors")]}, -0.5, sets("LoraLoader", "strength_model", 1.0, -0.5)),
    "loras.enabled": Row({"loras": [Lora("style.safetensors")]}, False, loses("LoraLoader")),
    "vae": Row(
        {},
        "mine.safetensors",
        together(adds("VAELoader"), sets("VAEDecode", "vae", "CheckpointLoaderSimple", "VAELoader")),
    ),
    "clip_skip": Row(
        {},
        3,
        together(adds("CLIPSetLastLayer"), sets("EncodePrompts", "clip", "CheckpointLoaderSimple", "CLIPSetLastLayer")),
    ),
    "sampler": Row({}, "euler", sets("SampleLatent", "sampler_name", "dpmpp_2m_sde_gpu", "euler")),
    "scheduler": Row({}, "normal", sets("SampleLatent", "scheduler", "karras", "normal")),
    "adaptive_cfg": Row({}, 3.0, sets("AdaptiveGuidance", "adaptive_cfg", 7.0, 3.0)),
    "adm_scaler_positive": Row({}, 1.0, sets("ScaleSizeConditioning", "positive", 1.5, 1.0)),
    "adm_scaler_negative": Row({}, 1.0, sets("ScaleSizeConditioning", "negative", 0.8, 1.0)),
    "adm_scaler_end": Row({}, 0.5, sets("ScaleSizeConditioning", "end", 0.3, 0.5)),
    "overwrite_step": Row({}, 12, sets("SampleLatent", "steps", 30, 12)),
    "overwrite_switch": Row(REFINED, 4, sets("SampleWithRefiner", "switch", 15, 4)),
    "overwrite_width": Row({}, 512, sets("EmptyLatentImage", "width", 1152, 512)),
    "overwrite_height": Row({}, 512, sets("EmptyLatentImage", "height", 896, 512)),
    "refiner_swap_method": Row(REFINED, "separate", sets("SampleWithRefiner", "method", "joint", "separate")),
    "freeu": Row({}, FreeU(), adds("FreeU_V2")),
    **{
        f"freeu.{name}": Row({"freeu": FreeU()}, 1.5, sets("FreeU_V2", name, getattr(FreeU(), name), 1.5))
        for name in ("b1", "b2", "s1", "s2")
    },
    "disable_seed_increment": Row({"image_number": 3}, True, seeds(5, 5, 5)),
    "read_wildcards_in_order": Row(WILD, True, colours_in_order),
    "disable_preview": Row({}, True, previews),
    "black_out_nsfw": Row({}, True, adds("BlackOutUnsafe", "SafetyCheckerLoader")),
    "input_image": Row(VARIED, OTHER_PICTURE, sets("LoadImage", "image", "photo.png", "other.png")),
    "input_image.name": Row(VARIED, "third.png", sets("LoadImage", "image", "photo.png", "third.png")),
    "input_image.width": Row(EXTENDED, 512, sets("PadForOutpaint", "left", 307, 153)),
    "input_image.height": Row(
        {**EXTENDED, "inpaint": Inpaint(outpaint=["top"])}, 512, sets("PadForOutpaint", "top", 307, 153)
    ),
    "uov_method": Row(VARIED, "Vary (Strong)", sets("SampleLatent", "denoise", 0.5, 0.85)),
    "upscale_value": Row(UPSCALED, 1.25, sets("FitForUpscale", "factor", 2.0, 1.25)),
    "overwrite_vary_strength": Row(VARIED, 0.7, sets("SampleLatent", "denoise", 0.5, 0.7)),
    "overwrite_upscale_strength": Row(
        {**UPSCALED, "upscale_value": 1.5}, 0.2, sets("SampleLatent", "denoise", 0.382, 0.2)
    ),
    "inpaint": Row(
        {"input_image": PICTURE},
        Inpaint(mask="m.png"),
        sets("SampleLatent", "latent_image", "EmptyLatentImage", "EncodeInpaint"),
    ),
    "inpaint.mask": Row(EXTENDED, "m.png", sets("AssembleMask", "mask_image", None, "LoadImage")),
    "inpaint.outpaint": Row(PAINTED, ["top"], adds("PadForOutpaint")),
    "inpaint.distances": Row(EXTENDED, (64, 0, 0, 0), sets("PadForOutpaint", "left", 307, 64)),
    "inpaint.additional_prompt": Row(PAINTED, "a hat", encoded("a hat")),
    "inpaint.strength": Row(PAINTED, 0.5, sets("SampleLatent", "denoise", 1.0, 0.5)),
    "inpaint.respective_field": Row(PAINTED, 0.25, sets("CropForInpaint", "respective_field", 1.0, 0.25)),
    "inpaint.erode_or_dilate": Row(PAINTED, -7, sets("AssembleMask", "erode_or_dilate", 0, -7)),
    "inpaint.invert_mask": Row(PAINTED, True, sets("AssembleMask", "invert", False, True)),
    "inpaint.engine": Row(
        PAINTED, "v1", sets("ApplyInpaintEngine", "patch", "inpaint_v26.fooocus.patch", "inpaint.fooocus.patch")
    ),
    "inpaint.disable_initial_latent": Row(PAINTED, True, sets("EncodeInpaint", "disable_initial_latent", False, True)),
    "inpaint.debug": Row(PAINTED, True, pictures(1, 3)),
    "image_prompts": Row(
        {}, CANNY["image_prompts"], adds("ApplyControl", "ControlNetLoader", "FitForControl", "LoadImage", "PyraCanny")
    ),
    "image_prompts.image": Row(CANNY, OTHER_PICTURE, sets("LoadImage", "image", "photo.png", "other.png")),
    "image_prompts.image.name": Row(CANNY, "third.png", sets("LoadImage", "image", "photo.png", "third.png")),
    "image_prompts.type": Row(
        CANNY, "CPDS", sets("ControlNetLoader", "control_net_name", known("controlnet")[0], known("controlnet")[1])
    ),
    "image_prompts.stop": Row(CANNY, 0.8, sets("ApplyControl", "stop", 0.5, 0.8)),
    "image_prompts.weight": Row(CANNY, 0.3, sets("ApplyControl", "weight", 1.0, 0.3)),
    "preprocessing": Row(CANNY, Preprocessing(softness=0.6), sets("ApplyControl", "softness", 0.25, 0.6)),
    "preprocessing.canny_low": Row(CANNY, 30, sets("PyraCanny", "low_threshold", 64, 30)),
    "preprocessing.canny_high": Row(CANNY, 200, sets("PyraCanny", "high_threshold", 128, 200)),
    "preprocessing.softness": Row(CANNY, 0.0, sets("ApplyControl", "softness", 0.25, 0.0)),
    "preprocessing.skip": Row(CANNY, True, loses("PyraCanny")),
    "preprocessing.debug": Row(CANNY, True, sets("SaveGeneration", "images", "VAEDecode", "PyraCanny")),
    "enhance": Row({}, replace(STAGED["enhance"], image=None), at_least("DetectBoxes", "MaskBoxes", "TakeIfMasked")),
    "enhance.image": Row(STAGED, OTHER_PICTURE, sets("LoadImage", "image", "photo.png", "other.png")),
    "enhance.image.name": Row(STAGED, "third.png", sets("LoadImage", "image", "photo.png", "third.png")),
    "enhance.stages": Row(TWICE, [], no_more("DetectBoxes", "EncodeInpaint")),
    "enhance.uov_method": Row(STAGED, "Vary (Subtle)", at_least("FitForVary", "VAEEncode")),
    "enhance.uov_order": Row(TWICE, "After Last Enhancement", order("FitForVary", "CropForInpaint")),
    "enhance.uov_prompt_type": Row(WOLF_LAST, "Last Filled Enhancement Prompts", counts("a wolf", 1, 2)),
    "enhance.save_final_only": Row(TWICE, True, pictures(2, 1)),
    "enhance.show_masks": Row(TWICE, True, pictures(2, 3)),
    "enhance.stages.masking": Row(STAGED, Masking(model="u2net"), no_more("SamLoader")),
    "enhance.stages.prompt": Row(STAGED, "a wolf", encoded("a wolf")),
    "enhance.stages.negative_prompt": Row(STAGED, "a bear", encoded("a bear")),
    "enhance.stages.disable_initial_latent": Row(
        STAGED, True, sets("EncodeInpaint", "disable_initial_latent", False, True)
    ),
    "enhance.stages.engine": Row(
        STAGED, "v1", sets("ApplyInpaintEngine", "patch", "inpaint_v26.fooocus.patch", "inpaint.fooocus.patch")
    ),
    "enhance.stages.strength": Row(STAGED, 0.4, sets("SampleLatent", "denoise", 1.0, 0.4)),
    "enhance.stages.respective_field": Row(STAGED, 0.2, sets("CropForInpaint", "respective_field", 0.618, 0.2)),
    "enhance.stages.erode_or_dilate": Row(STAGED, 5, sets("AssembleMask", "erode_or_dilate", 0, 5)),
    "enhance.stages.invert_mask": Row(STAGED, True, sets("AssembleMask", "invert", False, True)),
    "enhance.stages.masking.model": Row(STAGED, "u2net", no_more("SamLoader", "DetectBoxes")),
    "enhance.stages.masking.prompt": Row(STAGED, "nose", sets("DetectBoxes", "prompt", "eye", "nose")),
    "enhance.stages.masking.cloth_category": Row(CLOTHES, "upper", differ),
    "enhance.stages.masking.sam_model": Row(
        STAGED, "vit_l", sets("SamLoader", "model_name", "sam_vit_b_01ec64.pth", "sam_vit_l_0b3195.pth")
    ),
    "enhance.stages.masking.box_threshold": Row(STAGED, 0.5, sets("DetectBoxes", "box_threshold", 0.3, 0.5)),
    "enhance.stages.masking.text_threshold": Row(STAGED, 0.5, sets("DetectBoxes", "text_threshold", 0.25, 0.5)),
    "enhance.stages.masking.max_detections": Row(STAGED, 2, sets("MaskBoxes", "max_detections", 0, 2)),
    "enhance.stages.masking.dino_erode_or_dilate": Row(STAGED, 6, sets("DetectBoxes", "erode_or_dilate", 0, 6)),
    "enhance.stages.masking.debug": Row(STAGED, True, differ),
    "generate_image_grid": Row({"image_number": 2}, True, pictures(2, 3)),
    "save_extension": Row({}, "webp", sets("SaveGeneration", "extension", "png", "webp")),
    "save_name": Row({}, "mine", sets("SaveGeneration", "name", "", "mine")),
    "save_folder": Row({}, "there", sets("SaveGeneration", "folder", None, "there")),
    "save_by_time": Row({}, True, sets("SaveGeneration", "by_time", None, True)),
    "save_metadata": Row({}, False, no_metadata),
    "metadata_scheme": Row({}, "a1111", sets("SaveGeneration", "scheme", "fooocus", "a1111")),
    "created_by": Row({}, "somebody", only_metadata("somebody")),
}
# Sizes of pictures whose size is found out by the run itself; compiling only refuses what is too large.
MEASURED_LATER = (
    "image_prompts.image.width",
    "image_prompts.image.height",
    "enhance.image.width",
    "enhance.image.height",
)
CHECKED_ONLY = ("inpaint.mask_size",)  # among what is refused, below


def fields(struct: type, prefix: str = "") -> Iterator[str]:
    """The path of every field, of structs within structs too."""
    for field in msgspec.structs.fields(struct):
        path = f"{prefix}{field.name}"
        yield path
        for inner in _structs(msgspec.inspect.type_info(field.type)):
            yield from fields(inner, f"{path}.")


def _structs(kind: Any) -> Iterator[type]:
    if isinstance(kind, msgspec.inspect.StructType):
        yield kind.cls
    for inner in [*getattr(kind, "types", ()), getattr(kind, "item_type", None)]:
        if inner is not None:
            yield from _structs(inner)


def test_every_field_has_a_row() -> None:
    assert sorted({*ROWS, *MEASURED_LATER, *CHECKED_ONLY}) == sorted(fields(GenerationRequest))


@pytest.mark.parametrize("path", ROWS)
def test_a_field_acts_in_its_documented_way(path: str) -> None:
    row = ROWS[path]
    request = GenerationRequest(**PLAIN | row.start)
    row.check(compile_request(request, CATALOG), compile_request(changed(request, path, row.value), CATALOG))


@pytest.mark.parametrize("path", MEASURED_LATER)
def test_a_size_that_the_run_finds_out_itself_changes_nothing_before(path: str) -> None:
    start = {**CANNY, **STAGED}
    request = GenerationRequest(**PLAIN | start)
    both = [compile_request(asked, CATALOG) for asked in (request, changed(request, path, 640))]
    assert without_metadata(both[0]) == without_metadata(both[1])


WRONG: list[tuple[str, dict[str, Any], Any, str]] = [
    ("width", {}, 8, "width"),
    ("guidance_scale", {}, 31, "guidance_scale"),
    ("overwrite_switch", REFINED, -2, "overwrite_switch"),
    ("uov_method", VARIED, "Turn", "uov_method"),
    ("inpaint.engine", PAINTED, "v9", "inpaint.engine"),
    ("inpaint.strength", PAINTED, 2, "inpaint.strength"),
    ("inpaint.mask_size", PAINTED, (640, 1024), "inpaint.mask"),
    ("image_prompts.stop", CANNY, 2, "image_prompts.stop"),
    ("preprocessing.canny_low", CANNY, 0, "preprocessing.canny_low"),
]


@pytest.mark.parametrize(("path", "start", "value", "field"), WRONG)
def test_what_a_field_cannot_be_is_refused_by_its_name(
    path: str, start: dict[str, Any], value: Any, field: str
) -> None:
    request = changed(GenerationRequest(**PLAIN | start), path, value)
    with pytest.raises(Refused) as caught:
        compile_request(request, CATALOG)
    assert caught.value.field == field
