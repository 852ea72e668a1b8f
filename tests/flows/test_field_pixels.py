"""Settings of the model, of inpaint and of a stage of enhancing change pixels: each of them, by a short run."""

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from graphs.request import FreeU, Inpaint, InputImage
from graphs.request_parts import Enhance, EnhanceStage, Masking
from models.tiny import CHECKPOINT
from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom
from tests.flows.field_checks import changed

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


MASKED: dict[str, Any] = {
    "strength": 0.5,
    "respective_field": 0.0,
    "erode_or_dilate": 9,
    "invert_mask": True,
    "engine": "None",
    "disable_initial_latent": True,
}
REPAINTED = MASKED | {"mask": "half.png", "additional_prompt": "a blue star"}
IN_A_STAGE = MASKED | {"prompt": "a blue star", "negative_prompt": "red"}


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
    room.library.catalog = replace(room.library.catalog, vaes=("redder.safetensors",))
    (picture,) = room.make(**FEW, vae="redder.safetensors")
    difference = np.asarray(picture.convert("RGB"), dtype=int) - first
    redder = difference[..., 0][first[..., 0] < 180]
    assert 60 <= np.median(redder) <= 65  # 0.5 of -1..1 is 63.75 of 255
    assert np.abs(difference[..., 1:]).max() <= 1
