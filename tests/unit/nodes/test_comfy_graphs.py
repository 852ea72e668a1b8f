"""Graphs as ComfyUI's users write them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine import events
from engine.graph import Graph
from engine.validate import validate
from tests.unit.nodes.conftest import CHECKPOINT, Nodes, Workshop


def k_sampler(**changes) -> Nodes:
    values = {
        "seed": 5,
        "steps": 4,
        "cfg": 3.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
    } | changes
    linked = {"model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}
    return {
        "3": {"class_type": "KSampler", "inputs": linked | values, "_meta": {"title": "KSampler"}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a (red:1.2) circle", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "ComfyUI"}},
    }


def opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()))


def pixels(workshop: Workshop, graph: Nodes) -> np.ndarray:
    result = workshop.run(graph)
    assert result.status == "succeeded", result.error
    (path,) = workshop.files(result)
    return np.asarray(opened(path))


def test_the_stock_graph_gives_a_numbered_picture_with_the_graph_inside(workshop: Workshop):
    graph = k_sampler()
    extra = {"extra_pnginfo": {"workflow": {"nodes": [], "title": "猫"}}}
    (file,) = workshop.files(workshop.run(graph, extra=extra))
    assert file.name == "ComfyUI_00001_.png"
    picture = opened(file)
    assert json.loads(picture.info["prompt"]) == graph
    assert json.loads(picture.info["workflow"]) == extra["extra_pnginfo"]["workflow"]
    workshop.forget()
    (second,) = workshop.files(workshop.run(graph))
    assert second.name == "ComfyUI_00002_.png"
    assert np.array_equal(np.asarray(opened(second)), np.asarray(picture))


def test_a_prefix_makes_subfolders_and_cannot_leave_the_output_folder(workshop: Workshop):
    graph = k_sampler(steps=1)
    graph["9"]["inputs"]["filename_prefix"] = "cats/%width%_%batch_num%"
    (file,) = workshop.files(workshop.run(graph))
    assert file == workshop.root / "outputs" / "cats" / "64_0_00001_.png"
    graph["9"]["inputs"]["filename_prefix"] = "../escaped"
    result = workshop.run(graph)
    assert result.error is not None
    assert result.error.code == "bad_file_name"
    assert not list(workshop.root.glob("escaped*"))


def test_preview_image_writes_to_the_temporary_folder(workshop: Workshop):
    graph = k_sampler(steps=1)
    graph["9"] = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
    result = workshop.run(graph)
    (image,) = result.ui["9"]["images"]
    assert image["type"] == "temp"
    assert image["filename"].startswith("ComfyUI_temp_")
    assert workshop.files(result)[0].parent == workshop.root / "temp"


def advanced(noise: str, start: int, end: int, leftover: str, latent: list) -> dict:
    values = {
        "add_noise": noise,
        "noise_seed": 5,
        "steps": 4,
        "cfg": 3.0,
        "sampler_name": "euler",
        "scheduler": "normal",
    }
    values |= {"start_at_step": start, "end_at_step": end, "return_with_leftover_noise": leftover}
    linked = {"model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": latent}
    return {"class_type": "KSamplerAdvanced", "inputs": linked | values}


def test_two_halves_of_a_schedule_equal_the_whole(workshop: Workshop):
    whole = pixels(workshop, k_sampler())
    graph = k_sampler()
    graph["10"] = advanced("enable", 0, 2, "enable", ["5", 0])
    graph["3"] = advanced("disable", 2, 10_000, "disable", ["10", 0])
    halves = pixels(workshop, graph)
    assert np.abs(whole.astype(int) - halves.astype(int)).max() <= 1  # scaled in and out of the VAE's space on the way


def test_sampler_custom_with_a_schedule_node_equals_k_sampler(workshop: Workshop):
    whole = pixels(workshop, k_sampler())
    graph = k_sampler()
    schedule = {"model": ["4", 0], "scheduler": "normal", "steps": 4, "denoise": 1.0}
    graph["10"] = {"class_type": "BasicScheduler", "inputs": schedule}
    graph["11"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}}
    linked = {"model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}
    linked |= {"sampler": ["11", 0], "sigmas": ["10", 0]}
    graph["3"] = {"class_type": "SamplerCustom", "inputs": {"add_noise": True, "noise_seed": 5, "cfg": 3.0} | linked}
    assert np.array_equal(pixels(workshop, graph), whole)


@pytest.mark.parametrize(
    ("class_type", "values", "length"),
    [
        ("KarrasScheduler", {"sigma_max": 14.6, "sigma_min": 0.03, "rho": 7.0}, 6),
        ("ExponentialScheduler", {"sigma_max": 14.6, "sigma_min": 0.03}, 6),
        ("PolyexponentialScheduler", {"sigma_max": 14.6, "sigma_min": 0.03, "rho": 1.0}, 6),
    ],
)
def test_schedule_nodes_give_a_descending_float32_tensor(registry, class_type, values, length):
    sigmas = registry.get(class_type).call(steps=5, **values)
    assert sigmas.dtype == torch.float32
    assert sigmas.shape == (length,)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


def test_conditioning_nodes_do_what_their_names_say(registry):
    def call(class_type, **inputs):
        return registry.get(class_type).call(**inputs)

    def conditioning(value: float, tokens: int = 77):
        return [[torch.full((1, tokens, 8), value), {"pooled_output": torch.full((1, 4), value), "strength": 1.0}]]

    one, two = conditioning(1.0), conditioning(2.0, tokens=154)
    assert len(call("ConditioningCombine", conditioning_1=one, conditioning_2=two)) == 2
    ((joined, facts),) = call("ConditioningConcat", conditioning_to=one, conditioning_from=two)
    assert joined.shape == (1, 231, 8)
    assert facts["pooled_output"][0, 0] == 1
    ((mean, facts),) = call(
        "ConditioningAverage", conditioning_to=one, conditioning_from=two, conditioning_to_strength=0.25
    )
    assert mean.shape == (1, 77, 8)
    assert mean[0, 0, 0] == facts["pooled_output"][0, 0] == 1.75
    ((longer, _),) = call(
        "ConditioningAverage", conditioning_to=two, conditioning_from=one, conditioning_to_strength=0.5
    )
    assert longer[0, 76, 0] == 1.5
    assert longer[0, 77, 0] == 1.0  # the shorter is filled with zeros
    ((zero, facts),) = call("ConditioningZeroOut", conditioning=one)
    assert not zero.any()
    assert not facts["pooled_output"].any()
    assert one[0][0].eq(1).all()  # nothing was changed in place
    assert one[0][1]["pooled_output"].eq(1).all()


def test_the_last_layer_is_chosen_on_a_copy(workshop: Workshop):
    graph = k_sampler(steps=1)
    plain = pixels(workshop, graph)
    graph["10"] = {"class_type": "CLIPSetLastLayer", "inputs": {"clip": ["4", 1], "stop_at_clip_layer": -1}}
    graph["6"]["inputs"]["clip"] = ["10", 0]
    assert not np.array_equal(pixels(workshop, graph), plain)
    assert np.array_equal(pixels(workshop, k_sampler(steps=1)), plain)


def test_an_input_picture_goes_through_the_vae_and_back(workshop: Workshop):
    rows, columns = np.mgrid[:67, :80]
    picture = np.stack([rows * 3, columns * 3, rows + columns], axis=-1).astype(np.uint8)
    (workshop.root / "input" / "sub").mkdir()
    Image.fromarray(picture).save(workshop.root / "input" / "sub" / "a.png")
    graph = k_sampler(denoise=0.5, steps=2)
    graph["10"] = {"class_type": "LoadImage", "inputs": {"image": "sub/a.png"}}
    graph["5"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    result = workshop.run(graph)
    assert result.status == "succeeded", result.error
    assert [e.maximum for e in workshop.seen(events.Progress)] == [2, 2]
    assert opened(workshop.files(result)[0]).size == (80, 64)  # 67 rows are cut to 64


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "link.png", "a\0.png", "", "missing.png", "notes.txt"]
)
def test_an_input_picture_outside_the_input_folder_is_refused(workshop: Workshop, name: str):
    Image.new("RGB", (8, 8)).save(workshop.root / "secret.png")
    (workshop.root / "input" / "link.png").symlink_to(workshop.root / "secret.png")
    (workshop.root / "input" / "notes.txt").write_text("x")
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    verdict = validate(Graph.from_json(graph), workshop.registry)
    assert verdict.node_errors["1"]["errors"][0]["type"] == "value_not_in_list"
    with pytest.raises(Exception, match="input folder has no picture"):
        workshop.registry.get("LoadImage").call(image=name, context=_context(workshop))


def test_a_replaced_input_picture_is_loaded_anew(workshop: Workshop):
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    for shade in (10, 200):
        Image.new("RGB", (8, 8), (shade,) * 3).save(workshop.root / "input" / "a.png")
        assert abs(int(pixels(workshop, graph)[0, 0, 0]) - shade) <= 1


def _context(workshop: Workshop):
    from engine.context import Context, RunContext

    return Context(RunContext(input_dir=workshop.root / "input", runtime=workshop.runtime), "1", lambda event: None)
