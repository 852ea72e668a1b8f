"""Golden graphs: a request compiles to exactly the JSON that stands in golden/.

`python tests/graphs/test_golden.py` writes the files anew; read the difference before you commit it.
"""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from graphs.catalog import Catalog
from graphs.flows import compile_request
from graphs.request import FreeU, GenerationRequest, Inpaint, InputImage, Lora
from graphs.styles import Style, StyleBook
from graphs.text_to_image import text_to_image
from graphs.wildcards import Wildcards
from tests.graphs.control_cases import control_cases
from tests.graphs.enhance_cases import enhance_cases
from tests.graphs.refiner_cases import refiner_cases

GOLDEN = Path(__file__).parent / "golden"

# Own styles and no wildcard files: shipped texts may be polished without touching the graphs here.
STYLES = StyleBook({"Ink": Style("Ink", "{prompt} in ink", "photo"), "No Blur": Style("No Blur", "", "blur")})
CATALOG = Catalog(
    checkpoints=("juggernautXL_v8Rundiffusion.safetensors", "other.safetensors", "focal-tiny-sdxl.safetensors"),
    loras=("sd_xl_offset_example-lora_1.0.safetensors", "sdxl_lightning_4step_lora.safetensors", "film.safetensors"),
    vaes=("soft.safetensors",),
    upscale_models=("fooocus_upscaler_s409985e5.bin", "focal-tiny-upscaler-4x.safetensors"),
    inpaint_models=("fooocus_inpaint_head.pth", "old/inpaint_v25.fooocus.patch", "inpaint_v26.fooocus.patch"),
    styles=STYLES,
    wildcards=Wildcards([]),
    hash_of=lambda folder, name: f"{folder[0]}{len(name):09d}",
)
TINY = Catalog(
    checkpoints=("focal-tiny-sdxl.safetensors",),
    upscale_models=("focal-tiny-upscaler-4x.safetensors",),
    styles=STYLES,
    wildcards=Wildcards([]),
)
PHOTO = InputImage("photo.png", 800, 600)

EVERYTHING = GenerationRequest(
    prompt="a [[red,blue]] cat <lora:film:0.4>, sitting\nsecond line",
    negative_prompt="bad\nworse",
    styles=["Ink", "No Blur"],
    performance="Quality",
    width=1024,
    height=1000,
    image_number=2,
    seed=41,
    sharpness=3.5,
    guidance_scale=8.0,
    base_model="other.safetensors",
    loras=[Lora("sd_xl_offset_example-lora_1.0.safetensors", 0.5)],
    vae="soft.safetensors",
    clip_skip=1,
    sampler="euler",
    scheduler="simple",
    adaptive_cfg=5.0,
    adm_scaler_positive=1.2,
    adm_scaler_negative=0.9,
    adm_scaler_end=0.5,
    overwrite_step=12,
    overwrite_width=832,
    freeu=FreeU(1.1, 1.2, 0.9, 0.2),
    save_extension="webp",
    save_name="cat",
    metadata_scheme="a1111",
    created_by="someone",
)

CASES = {
    "minimal-tiny": (GenerationRequest(prompt="a red circle", seed=7), TINY),
    "minimal-default": (GenerationRequest(prompt="a cat", seed=7), CATALOG),
    "everything": (EVERYTHING, CATALOG),
    "two-images-one-seed": (
        GenerationRequest(prompt="a red circle", seed=7, image_number=2, disable_seed_increment=True),
        TINY,
    ),
    "lightning": (GenerationRequest(prompt="a cat", seed=7, performance="Lightning", loras=[]), CATALOG),
    "without-metadata": (GenerationRequest(prompt="a red circle", seed=7, save_metadata=False), TINY),
    "vary-subtle": (
        GenerationRequest(prompt="a blue star", seed=7, input_image=PHOTO, uov_method="Vary (Subtle)", image_number=2),
        CATALOG,
    ),
    "vary-strong-tiny": (
        GenerationRequest(
            prompt="a blue star",
            seed=7,
            input_image=InputImage("scenes/a.png", 128, 96),
            uov_method="Vary (Strong)",
            overwrite_vary_strength=0.7,
        ),
        TINY,
    ),
    "upscale-1.5x": (
        GenerationRequest(prompt="a cat", seed=7, input_image=PHOTO, uov_method="Upscale (1.5x)"),
        CATALOG,
    ),
    "upscale-custom-tiny": (
        GenerationRequest(
            prompt="a cat",
            seed=7,
            input_image=InputImage("a.png", 128, 96),
            uov_method="Upscale (Custom)",
            upscale_value=1.25,
            overwrite_upscale_strength=0.5,
        ),
        TINY,
    ),
    "upscale-fast": (
        GenerationRequest(
            seed=7, input_image=PHOTO, uov_method="Upscale (Fast 2x)", image_number=4, performance="Extreme Speed"
        ),
        CATALOG,
    ),
    "upscale-large": (
        GenerationRequest(
            seed=7, input_image=InputImage("big.jpg", 1400, 1400), uov_method="upscale (2x)", image_number=4
        ),
        CATALOG,
    ),
    "inpaint-tiny": (
        GenerationRequest(
            prompt="a garden",
            seed=7,
            image_number=2,
            input_image=InputImage("scenes/a.png", 128, 96),
            inpaint=Inpaint(
                mask="scenes/mask.png", additional_prompt="a red ball", respective_field=0.618, erode_or_dilate=4
            ),
        ),
        TINY,
    ),
    "inpaint-modify": (
        GenerationRequest(
            prompt="a hat",
            seed=7,
            input_image=PHOTO,
            inpaint=Inpaint(mask="m.png", invert_mask=True, engine="none", disable_initial_latent=True),
        ),
        CATALOG,
    ),
    "inpaint-engine": (
        GenerationRequest(prompt="a hat", seed=7, input_image=PHOTO, inpaint=Inpaint(mask="m.png")),
        CATALOG,
    ),
    "inpaint-older-engine": (
        GenerationRequest(
            prompt="a hat", seed=7, input_image=PHOTO, inpaint=Inpaint(outpaint=["top", "bottom"], engine="V2.5")
        ),
        CATALOG,
    ),
    "inpaint-detail": (
        GenerationRequest(
            prompt="a face",
            seed=7,
            input_image=PHOTO,
            inpaint=Inpaint(mask="m.png", engine="None", strength=0.5, respective_field=0.0),
        ),
        CATALOG,
    ),
    "inpaint-debug": (
        GenerationRequest(
            prompt="a hat", seed=7, input_image=PHOTO, inpaint=Inpaint(mask="m.png", engine="None", debug=True)
        ),
        CATALOG,
    ),
    "outpaint-tiny": (
        GenerationRequest(
            prompt="a garden",
            seed=7,
            input_image=InputImage("a.png", 128, 96),
            inpaint=Inpaint(outpaint=["Left", "bottom"], distances=(0, 5, 9, 40)),
        ),
        TINY,
    ),
    "styles-off": (GenerationRequest(prompt="a cat", seed=7, styles=[], guidance_scale=1.0), CATALOG),
}

CASES |= control_cases(CATALOG, TINY)
CASES |= enhance_cases(CATALOG, TINY)
CASES |= refiner_cases(CATALOG)


def compiled_json(name: str) -> str:
    request, catalog = CASES[name]
    return json.dumps(compile_request(request, catalog).graph.to_json(), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", CASES)
def test_a_request_compiles_to_its_golden_graph(name):
    assert compiled_json(name) == (GOLDEN / f"{name}.json").read_text(encoding="utf-8")


def test_every_golden_file_has_its_case():
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(CASES)


def test_the_same_request_gives_the_same_bytes_and_another_seed_does_not():
    request, catalog = CASES["everything"]
    first, again = text_to_image(request, catalog), text_to_image(request, catalog)
    assert first.graph.to_bytes() == again.graph.to_bytes()
    assert text_to_image(replace(request, seed=42), catalog).graph.hash != first.graph.hash


def test_every_image_has_its_output_its_seed_and_its_words():
    compiled = text_to_image(*CASES["everything"])
    graph = compiled.graph
    assert [image.seed for image in compiled.images] == [41, 42]
    assert [image.prompt for image in compiled.images] == [
        "a red cat, sitting\nsecond line",
        "a  blue cat, sitting\nsecond line",  # Array elements keep their space, as in Fooocus.
    ]
    assert [graph.nodes[id_].class_type for id_ in compiled.outputs] == ["SaveGeneration", "SaveGeneration"]
    assert [graph.nodes[id_].inputs["index"] for id_ in compiled.outputs] == [0, 1]


def test_images_share_the_model_and_nothing_is_loaded_twice():
    compiled = text_to_image(*CASES["everything"])
    kinds = [node.class_type for node in compiled.graph.nodes.values()]
    assert kinds.count("CheckpointLoaderSimple") == kinds.count("FreeU_V2") == kinds.count("AdaptiveGuidance") == 1
    assert kinds.count("SampleLatent") == 2


def test_previews_can_be_declined():
    request, catalog = CASES["minimal-tiny"]
    assert text_to_image(request, catalog).preview is True
    assert text_to_image(replace(request, disable_preview=True), catalog).preview is False


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        (GOLDEN / f"{case}.json").write_text(compiled_json(case), encoding="utf-8")
