"""Each field of a request acts in its documented way, or is refused: one row per field, none forgotten.

Most rows compare the graphs that two requests compile to, up to the metadata, which note every field. Whether a changed
node changes the picture is measured below for what acts on the model's mathematics, and elsewhere for the rest.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from msgspec.structs import replace
from PIL import Image
from safetensors.torch import load_file, save_file

from graphs.catalog import Catalog
from graphs.flows import compile_request
from graphs.known_files import KNOWN_FILES
from graphs.request import FreeU, GenerationRequest, Inpaint, InputImage, Lora, Refused
from graphs.request_parts import Enhance, EnhanceStage, ImagePrompt, Masking, Preprocessing
from graphs.save import Compiled
from graphs.wildcards import SHIPPED
from models.tiny import CHECKPOINT
from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom

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

Check = Callable[[Compiled, Compiled], None]


@dataclass(frozen=True)
class Row:
    """What to ask besides PLAIN, the value to give the field then, and what it must change."""

    start: dict[str, Any]
    value: Any
    check: Check


def inputs(compiled: Compiled, class_type: str, name: str) -> list[Any]:
    """One input of all nodes of a class; constants as they are, links as the class they come from."""
    graph = compiled.graph.to_json()
    found = [node["inputs"].get(name) for node in graph.values() if node["class_type"] == class_type]
    links = [graph[value[0]]["class_type"] if isinstance(value, list) else value for value in found]
    return [value["__value__"] if isinstance(value, dict) else value for value in links]


def classes(compiled: Compiled) -> list[str]:
    return sorted(node["class_type"] for node in compiled.graph.to_json().values())


def without_metadata(compiled: Compiled) -> dict[str, Any]:
    graph = compiled.graph.to_json()
    return {
        name: {**node, "inputs": {k: v for k, v in node["inputs"].items() if k not in ("metadata", "scheme")}}
        for name, node in graph.items()
    }


def sets(class_type: str, name: str, before: Any, after: Any) -> Check:
    """An input of every node of a class goes from one value to another."""

    def check(old: Compiled, new: Compiled) -> None:
        assert set(map(str, inputs(old, class_type, name))) == {str(before)}
        assert set(map(str, inputs(new, class_type, name))) == {str(after)}

    return check


def adds(*names: str) -> Check:
    """Nodes of these classes come, none goes."""

    def check(old: Compiled, new: Compiled) -> None:
        more = classes(new)
        for name in classes(old):
            more.remove(name)
        assert sorted(set(more)) == sorted(names)

    return check


def loses(*names: str) -> Check:
    return lambda old, new: adds(*names)(new, old)


def together(*checks: Check) -> Check:
    def check(old: Compiled, new: Compiled) -> None:
        for one in checks:
            one(old, new)

    return check


def seeds(*wanted: int) -> Check:
    def check(old: Compiled, new: Compiled) -> None:
        assert [image.seed for image in new.images] == list(wanted) != [image.seed for image in old.images]

    return check


def only_metadata(words: str) -> Check:
    """The picture stays; what is written into its file has these words."""

    def check(old: Compiled, new: Compiled) -> None:
        assert without_metadata(old) == without_metadata(new)
        assert words in str(inputs(new, "SaveGeneration", "metadata"))
        assert words not in str(inputs(old, "SaveGeneration", "metadata"))

    return check


def previews(old: Compiled, new: Compiled) -> None:
    assert (old.preview, new.preview) == (True, False)
    assert without_metadata(old) == without_metadata(new)


def texts(*wanted: Sequence[str]) -> Check:
    """What is encoded, positive then negative."""

    def check(old: Compiled, new: Compiled) -> None:
        assert inputs(new, "EncodePrompts", "texts") == [list(chunks) for chunks in wanted]
        assert inputs(old, "EncodePrompts", "texts") != inputs(new, "EncodePrompts", "texts")

    return check


def encoded(word: str) -> Check:
    """A word is encoded that was not."""

    def check(old: Compiled, new: Compiled) -> None:
        assert word in str(inputs(new, "EncodePrompts", "texts"))
        assert word not in str(inputs(old, "EncodePrompts", "texts"))

    return check


def order(first: str, second: str) -> Check:
    """Where one class comes before another in a graph, it comes after it in the other."""

    def place(compiled: Compiled, name: str) -> int:
        return [node["class_type"] for node in compiled.graph.to_json().values()].index(name)

    def check(old: Compiled, new: Compiled) -> None:
        assert place(old, first) < place(old, second)
        assert place(new, first) > place(new, second)

    return check


def at_least(*names: str) -> Check:
    """Nodes of these classes come, perhaps with others."""

    def check(old: Compiled, new: Compiled) -> None:
        assert set(names) <= set(classes(new))
        assert not set(names) & set(classes(old))

    return check


def no_more(*names: str) -> Check:
    return lambda old, new: at_least(*names)(new, old)


def counts(word: str, before: int, after: int) -> Check:
    """In how many prompts a word stands."""

    def check(old: Compiled, new: Compiled) -> None:
        found = [sum(word in str(chunks) for chunks in inputs(one, "EncodePrompts", "texts")) for one in (old, new)]
        assert found == [before, after]

    return check


def pictures(before: int, after: int) -> Check:
    def check(old: Compiled, new: Compiled) -> None:
        assert (len(old.images), len(new.images)) == (before, after)

    return check


def differ(old: Compiled, new: Compiled) -> None:
    """Masks have tests of their own for what differs."""
    assert without_metadata(old) != without_metadata(new)


def no_metadata(old: Compiled, new: Compiled) -> None:
    assert inputs(new, "SaveGeneration", "metadata") == [""]
    assert inputs(old, "SaveGeneration", "metadata") != [""]


def colours_in_order(old: Compiled, new: Compiled) -> None:
    first, second = (SHIPPED / "color.txt").read_text().splitlines()[:2]
    assert inputs(new, "EncodePrompts", "texts")[::2] == [[f"a {first} cat"], [f"a {second} cat"]]
    assert inputs(old, "EncodePrompts", "texts") != inputs(new, "EncodePrompts", "texts")


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


def changed(struct: Any, path: str, value: Any) -> Any:
    """A copy with the field at a path changed; of lists, the first entry's."""
    name, _, rest = path.partition(".")
    if not rest:
        return replace(struct, **{name: value})
    inner = getattr(struct, name)
    if isinstance(inner, list | tuple):
        return replace(struct, **{name: [changed(inner[0], rest, value), *inner[1:]]})
    return replace(struct, **{name: changed(inner, rest, value)})


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


# ---------------------------------------------------------------------------------------------- pixels


FEW = {"prompt": "a red circle on a cyan background", "overwrite_step": 4, "seed": 9, "guidance_scale": 4.0}
PIXELS: dict[str, dict[str, Any]] = {
    "freeu": {"freeu": FreeU(1.3, 1.4, 0.9, 0.2)},
    "clip_skip": {"clip_skip": 3},
    "sharpness": {"sharpness": 30.0},
    "adaptive_cfg": {"adaptive_cfg": 1.5},
    "adm_scaler_positive": {"adm_scaler_positive": 3.0},
    "adm_scaler_negative": {"adm_scaler_negative": 3.0},
    "adm_scaler_end": {"adm_scaler_end": 1.0},
    "sampler": {"sampler": "euler"},
    "scheduler": {"scheduler": "normal"},
    "guidance_scale": {"guidance_scale": 7.0},
}


@pytest.fixture(scope="module")
def first(room: Darkroom) -> np.ndarray:
    return np.asarray(room.make(**FEW)[0].convert("RGB"), dtype=int)


@pytest.mark.parametrize("field", PIXELS)
def test_a_setting_of_the_model_changes_pixels(room: Darkroom, first: np.ndarray, field: str) -> None:
    (picture,) = room.make(**FEW | PIXELS[field])
    assert np.abs(np.asarray(picture.convert("RGB"), dtype=int) - first).max() >= 1


REPAINTED: dict[str, Any] = {
    "mask": "half.png",
    "additional_prompt": "a blue star",
    "strength": 0.5,
    "respective_field": 0.0,
    "erode_or_dilate": 9,
    "invert_mask": True,
    "engine": "None",
    "disable_initial_latent": True,
}
IN_A_STAGE: dict[str, Any] = {
    "prompt": "a blue star",
    "negative_prompt": "red",
    "strength": 0.5,
    "respective_field": 0.0,
    "erode_or_dilate": 9,
    "invert_mask": True,
    "engine": "None",
    "disable_initial_latent": True,
}


@pytest.fixture(scope="module")
def given(room: Darkroom) -> InputImage:
    """A picture with something in it; masks of different parts lie beside it."""
    for name, box in (("mask.png", (40, 40, 88, 88)), ("half.png", (0, 0, 64, 128))):
        mask = Image.new("L", (128, 128))
        mask.paste(255, box)
        room.put(mask, name)
    return room.put(
        draw(Scene("cyan", (Thing("square", "black", "small", "center"),)), 128, 128, Random(3)), "given.png"
    )


def brief(room: Darkroom, **asked: Any) -> np.ndarray:
    """A picture of two steps, which is enough to differ."""
    (picture,) = room.make(**FEW | {"overwrite_step": 2} | asked)
    return np.asarray(picture.convert("RGB"), dtype=int)


@pytest.mark.parametrize("field", REPAINTED)
def test_a_setting_of_inpaint_changes_pixels(room: Darkroom, given: InputImage, field: str) -> None:
    plain = Inpaint(mask="mask.png")
    one, other = (
        brief(room, input_image=given, inpaint=asked) for asked in (plain, changed(plain, field, REPAINTED[field]))
    )
    assert np.abs(one - other).max() >= 1


@pytest.mark.parametrize("field", IN_A_STAGE)
def test_a_setting_of_a_stage_changes_pixels(room: Darkroom, given: InputImage, field: str) -> None:
    plain = EnhanceStage(Masking("u2net"), respective_field=1.0)
    stages = plain, changed(plain, field, IN_A_STAGE[field])
    one, other = (brief(room, enhance=Enhance(image=given, stages=[stage])) for stage in stages)
    assert np.abs(one - other).max() >= 1


def test_another_vae_decodes(room: Darkroom, first: np.ndarray) -> None:
    """The tiny VAE in a file of its own, with more red in its output."""
    prefix = "first_stage_model."
    weights = {k.removeprefix(prefix): v for k, v in load_file(CHECKPOINT).items() if k.startswith(prefix)}
    weights["decoder.conv_out.bias"] = weights["decoder.conv_out.bias"] + torch.tensor([0.5, 0, 0]).half()
    (room.data / "models" / "vae").mkdir(parents=True, exist_ok=True)
    path = room.data / "models" / "vae" / "redder.safetensors"
    save_file(weights, path, metadata={"focal.vae_norm_groups": "8"})
    room.library.catalog = replace_vaes(room.library.catalog, ("redder.safetensors",))
    (picture,) = room.make(**FEW, vae="redder.safetensors")
    difference = np.asarray(picture.convert("RGB"), dtype=int) - first
    redder = difference[..., 0][first[..., 0] < 180]
    assert 60 <= np.median(redder) <= 65  # 0.5 of -1..1 is 63.75 of 255
    assert np.abs(difference[..., 1:]).max() <= 1


def replace_vaes(catalog: Catalog, names: tuple[str, ...]) -> Catalog:
    return Catalog(**{**{name: getattr(catalog, name) for name in catalog.__dataclass_fields__}, "vaes": names})
