"""Upscale through the real path with the tiny models: sizes, limits, what is gained, seams."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.events import Progress
from graphs.progress import ProgressTracker
from models.memory import Residency
from models.tiny import UPSCALER
from models.tiny.measure import measure
from models.tiny.scenes import Scene, Thing, draw
from models.upscale.tiles import upscale_tiled
from models.upscale.upscaler import Upscaler, load_upscaler
from tests.flows.darkroom import Darkroom, pixels
from tests.flows.measure_upscale import gains

SCENE = Scene("cyan", (Thing("star", "red", "large", "left"),))
ONE_STEP = {"prompt": "a red star on a cyan background", "overwrite_step": 1}


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return load_upscaler(UPSCALER, Residency("cpu"))


def scene(width: int, height: int) -> Image.Image:
    return draw(SCENE, width, height, random.Random(3))


@pytest.mark.parametrize(
    ("method", "given", "made"),
    [
        ("Upscale (1.5x)", (128, 96), (192, 144)),
        ("Upscale (2x)", (96, 128), (192, 256)),
        ("Upscale (2x)", (101, 99), (200, 192)),  # cut to whole latent cells
        ("Upscale (1.5x)", (48, 48), (128, 128)),  # what stays small is brought to the model's own size
        ("Upscale (Fast 2x)", (101, 99), (202, 198)),
        ("Upscale (Fast 2x)", (48, 48), (128, 128)),
    ],
)
def test_the_result_has_the_documented_size(room: Darkroom, method, given, made):
    asked = {"input_image": room.put(scene(*given)), "uov_method": method}
    compiled = room.compile(**ONE_STEP, **asked)
    (result,) = room.run(compiled.graph.to_json(), compiled.outputs)
    assert result.size == made
    assert measure(result).found[0].colour == "red"
    if "Fast" not in method:
        assert made == (compiled.generation.width, compiled.generation.height)


@pytest.mark.parametrize(("value", "made"), [(1.0, (128, 128)), (1.25, (160, 160)), (None, (256, 256))])
def test_custom_takes_its_factor_from_the_request(room: Darkroom, value, made):
    asked = {"input_image": room.put(scene(128, 128)), "uov_method": "Upscale (Custom)", "upscale_value": value}
    assert room.make(**ONE_STEP, **asked)[0].size == made


def test_a_large_result_comes_as_the_upscaler_made_it(room: Darkroom):
    asked = {"input_image": room.put(scene(184, 184)), "uov_method": "Upscale (2x)", "image_number": 3}
    compiled = room.compile(**asked)
    kinds = {node.class_type for node in compiled.graph.nodes.values()}
    assert "CheckpointLoaderSimple" not in kinds
    assert any("large" in warning for warning in compiled.warnings)
    (result,) = room.run(compiled.graph.to_json(), compiled.outputs)
    assert result.size == (368, 368)
    assert not result.info.get("parameters")


def test_a_denoised_upscale_shows_the_scene_of_its_input(room: Darkroom):
    asked = {"input_image": room.put(scene(128, 128)), "uov_method": "Upscale (1.5x)"}
    found = measure(room.make(prompt="a red star on a cyan background", **asked)[0])
    assert (found.found[0].shape, found.found[0].colour, found.found[0].place) == ("star", "red", "left")
    assert found.background == "cyan"


def test_the_steps_are_those_of_the_mode(room: Darkroom):
    asked = {"input_image": room.put(scene(128, 128)), "uov_method": "Upscale (1.5x)"}
    for performance, steps in (("Speed", 18), ("Quality", 36)):
        compiled = room.compile(performance=performance, **asked)
        (sampler,) = [node for node in compiled.graph.nodes.values() if node.class_type == "SampleLatent"]
        assert (sampler.inputs["steps"], sampler.inputs["denoise"]) == (steps, 0.382)


def test_tiles_are_reported_and_move_the_progress(room: Darkroom):
    asked = {"input_image": room.put(scene(160, 160)), "uov_method": "Upscale (Fast 2x)"}
    compiled = room.compile(**asked)
    room.run(compiled.graph.to_json(), compiled.outputs)
    assert any(isinstance(event, Progress) for event in room.events)
    tracker = ProgressTracker(compiled.graph)
    told = [tracker.feed(event) for event in room.events]
    assert "Upscaling image ..." in [state.text for state in told]
    assert [state.percent for state in told] == sorted(state.percent for state in told)


def test_held_out_scenes_gain_at_least_one_decibel_over_bicubic(upscaler: Upscaler):
    found = gains(upscaler, count=6, filters=("BOX", "BICUBIC"))
    assert {name: sum(values) / len(values) > 1.0 for name, values in found.items()} == {"BOX": True, "BICUBIC": True}


@pytest.mark.parametrize("tile", [128, 256])
def test_seams_are_no_more_than_one_step_of_eight_bits(upscaler: Upscaler, tile: int):
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    picture = scene(300, 300)
    picture.paste(Image.fromarray(noise).resize((120, 120)), (90, 90))  # texture where tiles meet
    image = torch.from_numpy(pixels(picture).astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode(), upscaler.full.use() as network:
        whole = network(image).clamp(0, 1)
        tiled = upscale_tiled(network, image, 4, tile=tile).clamp(0, 1)
    assert (tiled - whole).abs().max().item() <= 1 / 255


def test_memory_beside_the_result_does_not_grow_with_the_picture(tmp_path: Path):
    beside = [_peak_beside_the_result(height) for height in (256, 1024)]
    assert beside[1] < beside[0] * 1.25 + 20e6


def _peak_beside_the_result(height: int) -> float:
    """Bytes that enlarging a picture of this height takes at its peak, less the result, in a process of its own."""
    code = f"""
import torch
from models.memory import Residency
from models.tiny import UPSCALER
from models.upscale import tiles, upscaler
upscaler.smaller_tiles = lambda: iter([128])
torch.set_num_threads(1)
def kib(word):
    return int(next(line for line in open("/proc/self/status") if line.startswith(word)).split()[1])
network = upscaler.load_upscaler(UPSCALER, Residency("cpu"))
network.upscale(torch.zeros(1, 128, 128, 3))
image = torch.zeros(1, {height}, 128, 3)
before = kib("VmRSS")
out = network.upscale(image)
print((kib("VmHWM") - before) * 1024 - out.nbytes)
"""
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return float(ran.stdout)
