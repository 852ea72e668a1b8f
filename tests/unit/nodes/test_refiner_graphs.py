"""SD 1.5 and SDXL's refiner in graphs as ComfyUI's users write them."""

import numpy as np

from tests.unit.nodes.conftest import CHECKPOINT, Nodes, Workshop
from tests.unit.nodes.test_comfy_graphs import k_sampler, pixels

XL, SD15 = "focal-tiny-sdxl-refiner.safetensors", "focal-tiny-sd15.safetensors"


def base_and_refiner(clip: str = "11", switch: int = 2) -> Nodes:
    """The published workflow: two samplers on one schedule, the second with prompts of the refiner's own CLIP."""
    graph = k_sampler()
    score = {"width": 64, "height": 64, "clip": [clip, 1]}
    common = {"noise_seed": 5, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}
    first = {"add_noise": "enable", "start_at_step": 0, "end_at_step": switch, "return_with_leftover_noise": "enable"}
    second = {
        "add_noise": "disable",
        "start_at_step": switch,
        "end_at_step": 99,
        "return_with_leftover_noise": "disable",
    }
    words = {"positive": ["6", 0], "negative": ["7", 0]}
    refined = {"positive": ["12", 0], "negative": ["13", 0]}
    encode = "CLIPTextEncodeSDXLRefiner"
    samplers = {
        "3": common | first | words | {"model": ["4", 0], "latent_image": ["5", 0]},
        "10": common | second | refined | {"model": ["11", 0], "latent_image": ["3", 0]},
    }
    return graph | {
        **{name: {"class_type": "KSamplerAdvanced", "inputs": inputs} for name, inputs in samplers.items()},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["10", 0], "vae": ["4", 2]}},
        "11": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": XL}},
        "12": {"class_type": encode, "inputs": score | {"ascore": 6.0, "text": "a red circle"}},
        "13": {"class_type": encode, "inputs": score | {"ascore": 2.5, "text": "blurry"}},
    }


def test_sd15_makes_a_picture_by_itself(workshop: Workshop) -> None:
    graph = k_sampler()
    graph["4"]["inputs"]["ckpt_name"] = SD15
    one = pixels(workshop, graph)
    assert one.shape == (64, 64, 3)
    assert one.std() > 1
    graph["6"]["inputs"]["text"] = "a (blue:1.2) square"
    assert not np.array_equal(pixels(workshop, graph), one)


def test_the_published_workflow_of_base_and_refiner_runs_and_the_score_counts(workshop: Workshop) -> None:
    assert CHECKPOINT != XL
    graph = base_and_refiner()
    one = pixels(workshop, graph)
    assert one.std() > 1
    graph["12"]["inputs"]["ascore"] = 2.0
    assert not np.array_equal(pixels(workshop, graph), one)


def test_words_of_another_clip_are_refused_with_what_to_do(workshop: Workshop) -> None:
    result = workshop.run(base_and_refiner(clip="4"))
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.code == "wrong_context_width"
    assert "80 wide, the model reads 64" in result.error.message
