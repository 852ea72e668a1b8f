"""Nodes of Vary and Upscale: schemas as ComfyUI's, values, errors."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.node import spec_of
from engine.registry import Registry
from models.sdxl import load_checkpoint
from nodes.fit import fit_for_upscale, fit_for_vary
from nodes.runtime import Runtime
from nodes.vae_tiled import decode_tiled, encode_tiled
from tests.parity.rrdb_reference import named, random_weights
from tests.unit.nodes.conftest import CHECKPOINT, Workshop

OVERLAP = ("INT", 64, 0, 4096)
# Copied by hand from a running ComfyUI's catalogue: input → (type, default, minimum, maximum).
COMFYUI = {
    "VAEDecodeTiled": {"tile_size": ("INT", 512, 64, 4096), "overlap": OVERLAP},
    "VAEEncodeTiled": {"tile_size": ("INT", 512, 64, 4096), "overlap": OVERLAP},
}


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("name", COMFYUI)
def test_tiled_nodes_take_what_comfyui_s_take(registry: Registry, name):
    inputs = registry.get(name).by_name
    for own, expected in COMFYUI[name].items():
        found = inputs[own]
        assert (found.type, found.default, found.minimum, found.maximum) == expected
    assert {"temporal_size", "temporal_overlap"} <= set(inputs)


def test_upscale_nodes_take_what_comfyui_s_take(registry: Registry):
    loader, enlarge = registry.get("UpscaleModelLoader"), registry.get("ImageUpscaleWithModel")
    assert [(item.name, item.type) for item in loader.inputs] == [("model_name", "COMBO")]
    assert [(item.name, item.type) for item in enlarge.inputs] == [
        ("upscale_model", "UPSCALE_MODEL"),
        ("image", "IMAGE"),
    ]
    assert [slot.type for slot in loader.outputs] == ["UPSCALE_MODEL"]


def test_fit_for_vary_leaves_a_fitting_picture_alone_and_resizes_another():
    fitting = noise(1, 96, 160, 3)
    assert fit_for_vary(fitting, base_size=128) is fitting
    assert fit_for_vary(noise(2, 64, 64, 3), base_size=128).shape == (2, 128, 128, 3)
    assert fit_for_vary(noise(1, 60, 80, 3)).shape == (1, 896, 1152, 3)


def test_fit_for_upscale_counts_from_the_original():
    large = noise(1, 404, 396, 3)
    assert fit_for_upscale(large, noise(1, 101, 99, 3), 1.5, base_size=128).shape == (1, 151, 148, 3)
    assert fit_for_upscale(large, noise(1, 40, 40, 3), 1.5, base_size=128).shape == (1, 128, 128, 3)
    assert spec_of(fit_for_upscale).by_name["base_size"].default == 1024


def test_tiled_coding_agrees_with_whole_pictures_where_one_tile_holds_them(workshop: Workshop):
    runtime: Runtime = workshop.runtime
    _, _, vae = load_checkpoint(runtime.folders.path("checkpoints", CHECKPOINT), runtime.residency)
    image = noise(1, 70, 96, 3)
    latent = encode_tiled(image, vae, 512, 64)
    assert torch.equal(latent["samples"], vae.encode(image))
    assert torch.equal(decode_tiled(latent, vae, 512, 64), vae.decode(latent["samples"]))
    small = decode_tiled(latent, vae, 64, 64)
    assert small.shape == (1, 64, 96, 3)
    assert not torch.equal(small, vae.decode(latent["samples"]))


def test_a_graph_upscales_with_a_file_of_the_upscale_models_folder(workshop: Workshop, tmp_path: Path):
    folder = workshop.runtime.folders.path("checkpoints", CHECKPOINT).parents[1] / "upscale_models"
    folder.mkdir(exist_ok=True)
    torch.save(named(random_weights(8, 4, 1, 1), "old"), folder / "random_2x.pth")
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 24, "height": 16, "batch_size": 1, "color": 255}},
        "2": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "random_2x.pth"}},
        "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}},
        "4": {"class_type": "SaveGeneration", "inputs": {"images": ["3", 0]}},
    }
    result = workshop.run(graph)
    assert result.status == "succeeded", result.error
    assert len(workshop.files(result)) == 1
    save_file(named(random_weights(8, 4, 2, 1), "old"), folder / "wrong.pth")
    graph["2"]["inputs"]["model_name"] = "wrong.pth"
    refused = workshop.run(graph)
    assert refused.status == "failed"
    assert "wrong.pth" in str(refused.error)
