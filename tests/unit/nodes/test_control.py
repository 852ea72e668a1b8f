"""The control nodes through the real executor."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from models.control.edges import BadThresholds, find_edges
from models.memory import Residency
from models.sdxl import load_checkpoint
from nodes.control import apply_controlnet, canny, cpds, fit_for_control, pyra_canny
from tests.parity.control_reference import random_control, random_control_lora, random_union
from tests.unit.nodes.conftest import CHECKPOINT, PLAN, Nodes, Workshop, text_to_image


@pytest.fixture(autouse=True)
def controls(models_dir: Path) -> None:
    folder = models_dir / "controlnet"
    folder.mkdir(exist_ok=True)
    if not (folder / "net.safetensors").exists():
        save_file(random_control(PLAN), folder / "net.safetensors")
        save_file(random_control_lora(PLAN), folder / "lora.safetensors")


def controlled(workshop: Workshop, name: str, node: str, **inputs: float) -> Nodes:
    Image.fromarray(np.kron(np.eye(4), np.ones((16, 16))).astype(np.uint8) * 255).save(
        workshop.root / "input" / "a.png"
    )
    graph = text_to_image()
    linked = {"positive": ["2", 0], "negative": ["3", 0], "control_net": ["10", 0], "image": ["12", 0]}
    graph |= {
        "10": {"class_type": "ControlNetLoader", "inputs": {"control_net_name": name}},
        "11": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "12": {"class_type": "PyraCanny", "inputs": {"image": ["11", 0]}},
        "13": {"class_type": node, "inputs": linked | inputs},
    }
    graph["5"]["inputs"] |= {"positive": ["13", 0], "negative": ["13", 1]}
    return graph


def picture(workshop: Workshop, graph: Nodes) -> np.ndarray:
    (file,) = workshop.files(workshop.run(graph))
    pixels = np.asarray(Image.open(file)).astype(int)
    file.unlink()
    return pixels


@pytest.mark.parametrize("name", ["net.safetensors", "lora.safetensors"])
def test_a_control_changes_the_picture_and_weight_0_does_not(workshop: Workshop, name: str) -> None:
    plain = picture(workshop, text_to_image())
    assert np.array_equal(picture(workshop, controlled(workshop, name, "ApplyControl", weight=0.0)), plain)
    steered = picture(workshop, controlled(workshop, name, "ApplyControl", weight=1.0))
    assert not np.array_equal(steered, plain)
    never = picture(workshop, controlled(workshop, name, "ApplyControl", weight=1.0, stop=0.0, softness=0.0))
    always = picture(workshop, controlled(workshop, name, "ApplyControl", weight=1.0, stop=1.0, softness=0.0))
    assert np.abs(never - plain).mean() < np.abs(always - plain).mean()


def test_comfy_s_node_equals_focal_s_without_softness(workshop: Workshop) -> None:
    window = {"strength": 0.8, "start_percent": 0.0, "end_percent": 0.6}
    comfy = picture(workshop, controlled(workshop, "net.safetensors", "ControlNetApplyAdvanced", **window))
    own = {"weight": 0.8, "stop": 0.6, "softness": 0.0}
    assert np.array_equal(comfy, picture(workshop, controlled(workshop, "net.safetensors", "ApplyControl", **own)))


def test_a_union_controlnet_is_told_what_it_sees(workshop: Workshop, models_dir: Path) -> None:
    path = models_dir / "controlnet" / "union.safetensors"
    model = load_checkpoint(models_dir / "checkpoints" / CHECKPOINT, Residency())[0]
    save_file({k: v.clone() for k, v in random_union(model.unet.sizes, PLAN, 6).state_dict().items()}, path)
    pictures = []
    for kind in ("auto", "openpose", "depth"):
        graph = controlled(workshop, "union.safetensors", "ApplyControl", weight=0.5, stop=1.0)
        graph["14"] = {"class_type": "SetUnionControlNetType", "inputs": {"control_net": ["10", 0], "type": kind}}
        graph["13"]["inputs"]["control_net"] = ["14", 0]
        pictures.append(picture(workshop, graph))
    assert not any(np.array_equal(a, b) for a, b in combinations(pictures, 2))


def test_strength_0_leaves_the_conditioning_as_it_is() -> None:
    conditioning = [[torch.zeros(1, 77, 8), {}]]
    assert apply_controlnet(conditioning, None, torch.zeros(1, 8, 8, 3), 0.0) is conditioning  # type: ignore[arg-type]


def test_preprocessors_return_grey_pictures_of_the_same_size() -> None:
    image = torch.rand(2, 24, 40, 3, generator=torch.Generator().manual_seed(1))
    for control in (pyra_canny(image), cpds(image), canny(image, 0.4, 0.8)):
        assert control.shape == image.shape
        assert control.dtype == torch.float32
        assert 0 <= control.min() < control.max() <= 1
        assert torch.equal(control[..., 0], control[..., 2])


def vector(height: int, width: int) -> torch.Tensor:
    """The picture of behaviour §11.5: R = 3x + y, G = x + 5y, B = xy // 7, modulo 256."""
    y, x = np.mgrid[0:height, 0:width]
    planes = np.stack(((3 * x + y) % 256, (x + 5 * y) % 256, (x * y // 7) % 256), axis=-1)
    return torch.from_numpy(planes.astype(np.uint8)).float().div(255.0)[None]


@pytest.mark.parametrize(("size", "mean"), [((100, 64), 122.432), ((64, 100), 132.7753)])
def test_a_control_picture_covers_the_result(size: tuple[int, int], mean: float) -> None:
    width, height = size
    fitted = fit_for_control(vector(90, 120), width=width, height=height)
    assert fitted.shape == (1, height, width, 3)
    assert fitted.mul(255).mean().item() == pytest.approx(mean, abs=2e-3)


def test_a_control_picture_takes_the_size_of_another_picture_s_latent() -> None:
    like = torch.zeros(1, 71, 50, 3)
    assert fit_for_control(vector(90, 120), like).shape == (1, 64, 48, 3)
    same = vector(64, 48)
    assert fit_for_control(same, like) is same


def test_canny_finds_a_step_at_the_magnitude_of_the_blurred_sobel() -> None:
    """A unit step, blurred with sigma 1 over 5 pixels: |gx| = 4 · (w₀ + w₁) at both sides, about 2.58."""
    image = torch.zeros(1, 12, 12, 3)
    image[:, :, 6:] = 1.0
    weights = np.exp([0, -0.5, -2])
    total = weights[0] + 2 * weights[1:].sum()
    reach = 4 * (weights[0] + weights[1]) / total
    found = find_edges(image, 0.1, reach - 0.01)[0, ..., 0]
    assert found[:, 5].all()
    assert found.sum() == 12  # of two equal columns the left one
    assert not find_edges(image, 0.1, reach + 0.01).any()


def test_thresholds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(BadThresholds, match="above"):
        find_edges(torch.zeros(1, 8, 8, 3), 0.8, 0.4)
