"""A picture's file is read back into a request that makes the same picture, bit for bit, in another process's place."""

import io
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from PIL import Image
from safetensors.torch import save_file

from graphs.flows import compile_request
from graphs.metadata import read
from graphs.metadata_read import parameters, read_picture
from graphs.request import FreeU, GenerationRequest, Inpaint, InputImage, Lora
from graphs.request_parts import Enhance, EnhanceStage, ImagePrompt, Masking, Preprocessing
from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom

STEPS = 3
ASKED = {
    "plain": {"prompt": "a red circle on a white background"},
    "much": {
        "prompt": "a [[red, blue]] star, <lora:shift:0.4>, (large:1.2)\non a __ground__ background",
        "negative_prompt": "green, é",
        "styles": ["Fooocus Sharp", "Random Style", "SAI Anime"],
        "loras": [Lora("sub/other.safetensors", -0.35)],
        "width": 160,
        "height": 96,
        "guidance_scale": 3.3,
        "sharpness": 4.5,
        "adaptive_cfg": 5.5,
        "adm_scaler_end": 0.55,
        "sampler": "dpmpp_sde",
        "scheduler": "exponential",
        "clip_skip": 1,
        "freeu": FreeU(1.1, 1.2, 0.9, 0.8),
        "image_number": 2,
        "seed": 9007199254740993,
    },
    "expanded": {"prompt": "a red circle,  on white", "styles": ["Fooocus V2"]},
    "quality": {"prompt": "two\nlines", "performance": "Quality", "sampler": "euler", "scheduler": "karras"},
}
PARTS = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """Two rooms with the same files: what the second one makes cannot come from the first one's cache."""
    made = []
    for name in ("first", "again"):
        data: Path = tmp_path_factory.mktemp(name)
        for seed, file in enumerate(("shift.safetensors", "sub/other.safetensors")):
            path = data / "models" / "loras" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.manual_seed(seed)
            down, up = torch.randn(4, 64) / 8, torch.randn(64, 4) / 2
            save_file({f"{PARTS}.lora_down.weight": down, f"{PARTS}.lora_up.weight": up}, path)
        (data / "wildcards").mkdir()
        (data / "wildcards" / "ground.txt").write_text("white\nblack\npink\n")
        made.append(Darkroom(data))
    yield made
    for room in made:
        room.close()


def newest(room: Darkroom) -> list[bytes]:
    """The files of the last job, in order."""
    return [path.read_bytes() for path in sorted((room.data / "outputs").rglob(f"job-{room.jobs}-*"))]


CASES = [
    (name, scheme, extension)
    for name in ASKED
    for scheme in ("fooocus", "a1111")
    for extension in ("png", "jpeg", "webp")
    if name == "much" or extension == "png"
]


@pytest.mark.parametrize(("name", "scheme", "extension"), CASES)
def test_the_request_read_from_a_file_makes_its_picture_again(rooms, name, scheme, extension):
    first, again = rooms
    saving = {"metadata_scheme": scheme, "save_extension": extension}
    first.make(overwrite_step=STEPS, **saving, **ASKED[name])
    files = newest(first)
    assert len(files) == ASKED[name].get("image_number", 1)
    for file in files:
        (made,) = made_again(first, again, file, **saving)
        assert np.array_equal(pixels_of(made), pixels_of(file))
        # Array elements keep their space; said again, two spaces are one. The encoders see no difference.
        assert single_spaced(made) == single_spaced(file)


SENT = InputImage("drawn.png", 96, 96)
ON_PICTURES: dict[str, dict[str, Any]] = {
    "varied": {"input_image": SENT, "uov_method": "Vary (Subtle)", "overwrite_step": STEPS},
    "upscaled": {"input_image": SENT, "uov_method": "Upscale (1.5x)"},  # with the mode's own steps for upscaling
    "enlarged by a factor": {
        "input_image": SENT,
        "uov_method": "Upscale (Custom)",
        "upscale_value": 1.7,
        "overwrite_upscale_strength": 0.6,
        "overwrite_step": STEPS,
    },
    "steered": {
        "image_prompts": [ImagePrompt(SENT), ImagePrompt(SENT, "PyraCanny", 0.8, 0.7)],
        "preprocessing": Preprocessing(canny_low=30, softness=0.4),
        "overwrite_step": STEPS,
    },
    "refined": {"refiner_model": "focal-tiny-sdxl-refiner", "overwrite_switch": 2, "overwrite_step": STEPS},
}


@pytest.mark.parametrize(("name", "scheme"), [(n, s) for n in ON_PICTURES for s in ("fooocus", "a1111")])
def test_a_picture_is_made_again_from_the_pictures_it_came_from(rooms, name, scheme):
    drawn = draw(Scene("white", (Thing("circle", "red"),)), SENT.width, SENT.height, random.Random(1))
    for room in rooms:
        room.put(drawn, SENT.name)
    first, again = rooms
    first.make(prompt="a blue star", metadata_scheme=scheme, **ON_PICTURES[name])
    (file,) = newest(first)
    (made,) = made_again(first, again, file, metadata_scheme=scheme)
    assert np.array_equal(pixels_of(made), pixels_of(file))
    assert parameters(made) == parameters(file)


FOUND = EnhanceStage(Masking("u2net"), engine="None", respective_field=1.0)
ENHANCED: dict[str, dict[str, Any]] = {
    "a picture of its own": {
        "prompt": "a blue star <lora:shift:0.4>, on a __ground__ background",
        "loras": [Lora("sub/other.safetensors", -0.35)],
        "overwrite_upscale_strength": 0.6,
        "metadata_scheme": "a1111",
        "enhance": Enhance(
            image=SENT,
            stages=[replace(FOUND, prompt="a green __ground__ square"), replace(FOUND, negative_prompt="red")],
            uov_method="Upscale (1.5x)",
            uov_order="After Last Enhancement",
            uov_prompt_type="Last Filled Enhancement Prompts",
        ),
    },
    "pictures of a flow": {
        "prompt": "a [[red, blue]] star on a __ground__ background",
        "styles": ["Random Style"],
        "image_number": 2,
        "seed": 41,
        "metadata_scheme": "fooocus",
        "enhance": Enhance(stages=[FOUND], uov_method="Vary (Subtle)"),
    },
}


@pytest.mark.parametrize("name", ENHANCED)
def test_what_each_pass_of_enhancing_left_is_made_again_alone(rooms, name):
    drawn = draw(Scene("white", (Thing("circle", "red"),)), SENT.width, SENT.height, random.Random(1))
    for room in rooms:
        room.put(drawn, SENT.name)
    first, again = rooms
    first.make(overwrite_step=STEPS, **ENHANCED[name])
    files = newest(first)
    assert len(files) == {"a picture of its own": 3, "pictures of a flow": 6}[name]
    for file in files:
        (made,) = made_again(first, again, file, metadata_scheme=ENHANCED[name]["metadata_scheme"])
        assert np.array_equal(pixels_of(made), pixels_of(file))
        if name == "a picture of its own":
            assert parameters(made) == parameters(file)


def test_an_inpainted_picture_says_its_additional_prompt_once(rooms):
    first, _ = rooms
    drawn = draw(Scene("white", (Thing("circle", "red"),)), 128, 128, random.Random(1))
    sent, mask = first.put(drawn, "drawn.png"), first.put(Image.new("L", (128, 128), 255), "mask.png")
    inpaint = Inpaint(mask=mask.name, additional_prompt="a blue star")
    compiled = first.compile(prompt="on white", input_image=sent, inpaint=inpaint)
    said = compiled.graph.nodes[compiled.outputs[0]].inputs["metadata"]
    request = read(said)
    assert request is not None
    assert request.inpaint == Inpaint(mask=mask.name, engine="v2.6")  # the preset's, by name
    again = compile_request(request, first.library.catalog)
    assert again.images[0].prompt == compiled.images[0].prompt == "a blue star\non white"


def made_again(first: Darkroom, again: Darkroom, file: bytes, **saving: Any) -> list[bytes]:
    """Read a file of the first room, and make what it says in the other one."""
    request = read_picture(file, first.library.catalog.styles)
    assert request is not None
    asked = {field: getattr(request, field) for field in GenerationRequest.__struct_fields__}
    again.make(**(asked | saving))
    return newest(again)


def single_spaced(file: bytes) -> str:
    return re.sub(" +", " ", parameters(file) or "")


def pixels_of(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)))
