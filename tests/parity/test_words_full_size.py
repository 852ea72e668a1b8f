"""Names and shapes of the published sizes, from the configurations of transformers and diffusers, without weights."""

from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import BlipConfig, BlipForConditionalGeneration, CLIPConfig, GPT2Config, GPT2LMHeadModel

from models.describe.blip import Blip
from models.describe.formats import plan_blip
from models.expansion import plan_gpt2
from models.formats.plan import check_plan
from models.formats.weights import TensorInfo, WeightFile
from models.gpt2 import Gpt2
from models.safety import SafetyNetwork, plan_safety


def published(build) -> WeightFile:
    with torch.device("meta"):
        state = build().state_dict()
    return WeightFile(Path("published"), {name: TensorInfo(t.dtype, tuple(t.shape)) for name, t in state.items()})


def parameters_of(build):
    with torch.device("meta"):
        return {name: tuple(parameter.shape) for name, parameter in build().named_parameters()}


def test_blip_base_fits():
    file = published(lambda: BlipForConditionalGeneration(BlipConfig()))
    sizes, plan = plan_blip(file)
    assert (sizes.side, sizes.vocabulary, sizes.vision_layers, sizes.text_layers) == (384, 30524, 12, 12)
    check_plan(file, parameters_of(lambda: Blip(sizes)), plan)


def test_blip_large_fits():
    vision = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    config = BlipConfig(vision_config=vision, text_config={"encoder_hidden_size": 1024})
    file = published(lambda: BlipForConditionalGeneration(config))
    sizes, plan = plan_blip(file)
    assert (sizes.vision_width, sizes.text_width) == (1024, 768)
    check_plan(file, parameters_of(lambda: Blip(sizes)), plan)


def test_gpt2_small_fits():
    file = published(lambda: GPT2LMHeadModel(GPT2Config()))
    sizes, plan = plan_gpt2(file, {"n_head": 12})
    assert (sizes.vocabulary, sizes.positions, sizes.width, sizes.layers) == (50257, 1024, 768, 12)
    check_plan(file, parameters_of(lambda: Gpt2(sizes)), plan)
    assert plan_gpt2(file, {})[0] == sizes  # heads are 64 wide


def test_the_safety_checker_of_vit_l_fits():
    vision = {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "image_size": 224, "patch_size": 14, "projection_dim": 768,
    }  # fmt: skip
    file = published(lambda: StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=768)))
    sizes, plan = plan_safety(file)
    assert (sizes.encoder.image, sizes.encoder.heads, sizes.concepts, sizes.special_care) == (224, 16, 17, 3)
    check_plan(file, parameters_of(lambda: SafetyNetwork(sizes)), plan)
