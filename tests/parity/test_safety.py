"""The safety checker against diffusers', its preparation of pictures against transformers'; tiny random weights."""

import random

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessorPil

from models.errors import BadModelFile
from models.memory import Residency
from models.safety import load_safety_checker, prepared, unwanted
from models.tiny.scenes import Scene, Thing, draw

VISION = {
    "hidden_size": 128, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8, "projection_dim": 24,
}  # fmt: skip
CONCEPTS, SPECIAL = 17, 3  # fixed in diffusers


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(3)
    model = StableDiffusionSafetyChecker(CLIPConfig(vision_config=VISION, projection_dim=24)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(torch.randn(parameter.shape) * 0.2 + centre)
        model.concept_embeds_weights.copy_(torch.full((CONCEPTS,), 0.30))
        model.special_care_embeds_weights.copy_(torch.full((SPECIAL,), 0.15))
    return model


def published_names(model):
    """The state dict in the names of the published file."""
    state = {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}
    nested = any(name.startswith("vision_model.vision_model.") for name in state)
    renamed = {
        name if nested else name.replace("vision_model.", "vision_model.vision_model.", 1): t
        for name, t in state.items()
    }
    renamed.setdefault("vision_model.vision_model.embeddings.position_ids", torch.arange(17)[None])
    return renamed


@pytest.mark.parametrize("kind", ["published", "transformers 5"])
def test_decisions_and_cosines_are_those_of_diffusers(reference, tmp_path, kind):
    if kind == "published":
        path = tmp_path / "checker.bin"
        torch.save(published_names(reference), path)
    else:
        path = tmp_path / "checker.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in reference.state_dict().items()}, path)
    checker = load_safety_checker(path, Residency("cpu"))
    pixels = torch.randn(24, 3, 32, 32)
    with torch.no_grad(), checker.module.use() as network:
        cosines, special = network(pixels)
        embeds = reference.visual_projection(reference.vision_model(pixels)[1])
        wanted = torch.nn.functional.cosine_similarity(embeds[:, None], reference.concept_embeds[None], dim=-1)
        assert (cosines - wanted).abs().max() < 1e-4
        _, flagged = reference(pixels, np.ones((24, 8, 8, 3)))
        limits = network.concept_embeds_weights, network.special_care_embeds_weights
        found = [unwanted(*pair, *limits) for pair in zip(cosines, special, strict=True)]
    assert found == flagged
    assert 2 < sum(found) < 22  # both answers occur


def test_a_special_care_concept_brings_the_others_nearer():
    limits, special_limits = torch.tensor([0.5]), torch.tensor([0.2])
    near = torch.tensor([0.495])
    assert unwanted(near, torch.tensor([0.3]), limits, special_limits)
    assert not unwanted(near, torch.tensor([0.1]), limits, special_limits)
    assert not unwanted(torch.tensor([0.5004]), torch.tensor([0.1]), limits, special_limits)  # rounds to 0
    assert unwanted(torch.tensor([0.5006]), torch.tensor([0.1]), limits, special_limits)


def test_pictures_are_prepared_as_by_transformers():
    picture = draw(Scene("cyan", (Thing("star", "red"),)), 161, 96, random.Random(3))
    processor = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    wanted = processor(picture, return_tensors="pt")["pixel_values"]
    found = prepared(torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255), 64)
    assert (found - wanted).abs().max() < 1e-2  # one step of 255 is 0.015


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"conv_first.weight": torch.zeros(4, 3, 3, 3)}, path)
    with pytest.raises(BadModelFile, match="no safety checker"):
        load_safety_checker(path, Residency("cpu"))
