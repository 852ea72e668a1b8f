"""No flow mixes main memory and the GPU, or two precisions in one layer; what the engine keeps lies in main memory."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from graphs.request_parts import Enhance, EnhanceStage, FreeU, ImagePrompt, Inpaint, InputImage, Lora, Masking
from models.memory import DtypePolicy
from models.tiny.scenes import Scene, Thing, draw
from nodes import runtime
from tests.flows.darkroom import Darkroom
from tests.flows.pretended_gpu import GPU, MixedDevices, OnGpu, PretendedGpu, pretend

BRIEF = {"prompt": "a (red:1.2) circle on a cyan background", "overwrite_step": 2, "guidance_scale": 8.0}
PICTURE, MASK = InputImage("picture.png", 128, 128), "mask.png"
REFINED = {"overwrite_switch": 1, "refiner_model": "focal-tiny-sd15.safetensors"}
FLOWS = {
    "styles, FreeU, a LoRA": {
        "styles": ["Fooocus V2", "Fooocus Sharp"],
        "freeu": FreeU(),
        "loras": [Lora("focal-tiny-style.safetensors", 0.8)],
    },
    "lcm": {"performance": "Extreme Speed"},
    "upscale": {"input_image": PICTURE, "uov_method": "Upscale (1.5x)"},
    "inpaint, a refiner of SD 1.5": {"input_image": PICTURE, "inpaint": Inpaint(mask=MASK), **REFINED},
    "image prompts": {"image_prompts": [ImagePrompt(PICTURE, kind) for kind in ("FaceSwap", "PyraCanny")]},
    "enhance, black out": {
        "enhance": Enhance(image=PICTURE, stages=[EnhanceStage(Masking("u2net"))]),
        "black_out_nsfw": True,
    },
}


@pytest.fixture(scope="module")
def gpu_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Darkroom, PretendedGpu]]:
    with pytest.MonkeyPatch.context() as patch:
        pretend(patch)
        patch.setattr(runtime, "choose_device", lambda wish: GPU)
        room = Darkroom(tmp_path_factory.mktemp("gpu"))
        room.put(
            draw(Scene("cyan", (Thing("square", "black", "large", "center"),)), 128, 128, random.Random(3)),
            PICTURE.name,
        )
        mask = Image.new("RGB", (128, 128))
        ImageDraw.Draw(mask).rectangle((40, 40, 90, 90), fill="white")
        room.put(mask, MASK)
        yield room, PretendedGpu()
        room.close()


def test_it_refuses_what_a_gpu_refuses():
    with PretendedGpu():
        there, here = torch.ones(2, 2).to(GPU), torch.ones(2, 2)
        assert (there.device, there.is_cuda, isinstance(there * 2, OnGpu)) == (GPU, True, True)
        assert torch.equal((there + 1).cpu(), here + 1)
        for mixing in (lambda: there + here, lambda: there.numpy(), lambda: torch.cat([here, there])):
            with pytest.raises(MixedDevices):
                mixing()
        with pytest.raises(MixedDevices):
            torch.nn.functional.linear(there, there.half())


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_keeps_devices_and_precisions_apart(gpu_room, flow: str):
    room, gpu = gpu_room
    before = gpu.moved
    with gpu:
        pictures = room.make(**BRIEF, **FLOWS[flow])
    assert gpu.moved > before
    assert all(np.asarray(picture).std() > 1 for picture in pictures)


def test_half_precision_is_chosen_and_what_is_kept_lies_in_main_memory(gpu_room):
    room, _ = gpu_room
    residency = room.bench.runtime.residency
    assert residency.dtypes == DtypePolicy(torch.float16, torch.float16, torch.bfloat16)
    kept = [entry.outputs for entry in room.bench._executor.cache._entries.values()]
    found = [value for outputs in kept for slot in outputs for value in slot]
    assert found
    assert not any(isinstance(leaf, OnGpu) for leaf in _tensors(found))


def _tensors(value: object) -> Iterator[torch.Tensor]:
    """Every tensor inside of kept values, in lists, tables and the fields of things."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif hasattr(value, "image_prompts"):
        yield from _tensors([(prompt.positive, prompt.negative) for prompt in value.image_prompts])
    elif hasattr(value, "options"):
        yield from _tensors([value.options])
