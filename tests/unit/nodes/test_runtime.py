import contextlib
import os
import random

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.folders import BadFoldersFile, ModelNotFound
from models.memory import Level
from nodes.runtime import _container_cores, choose_device, current, model_names, physical_cores, start
from tests.unit.nodes.conftest import CHECKPOINT, Workshop


def test_start_makes_the_process_s_runtime(workshop: Workshop):
    assert current() is workshop.runtime
    assert model_names("checkpoints")[0] == CHECKPOINT
    about = workshop.runtime.about()
    assert about["device"] == "cpu"
    assert about["threads"] == torch.get_num_threads() == 1


def test_warm_loads_every_part_and_free_drops_them(workshop: Workshop):
    runtime = workshop.runtime
    assert runtime.residency.bytes_at(Level.DEVICE) == 0
    runtime.warm(CHECKPOINT)
    assert runtime.residency.bytes_at(Level.DEVICE) > 1_000_000
    runtime.free()
    assert runtime.residency.bytes_at(Level.DEVICE) == 0


def test_warming_an_unknown_checkpoint_says_so(workshop: Workshop):
    with pytest.raises(ModelNotFound, match="There is no 'other' among checkpoints"):
        workshop.runtime.warm("other")


def test_what_runs_apart_leaves_every_shared_generator_as_it_was(workshop: Workshop):
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    def seed() -> None:
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)

    seed()
    expected = [draw(), draw()]
    seed()
    found = [draw()]
    with workshop.runtime.apart():
        draw()
        seed()
    with contextlib.suppress(ZeroDivisionError), workshop.runtime.apart():
        draw()
        raise ZeroDivisionError
    assert [*found, draw()] == expected


@pytest.mark.parametrize("options", [{"threads": "many"}, {"vram_bytes": []}])
def test_options_of_the_wrong_type_are_refused(options):
    with pytest.raises(msgspec.ValidationError):
        start(options)


def test_a_missing_extra_paths_file_is_named(tmp_path):
    with pytest.raises(BadFoldersFile, match=r"extra\.yaml"):
        start({"extra_model_paths": str(tmp_path / "extra.yaml"), "device": "cpu", "threads": 1})


def test_auto_takes_the_best_device_there_is():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert (choose_device("auto").type == "cuda") == torch.cuda.is_available()


def test_threads_follow_the_cores_unless_told_otherwise(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert physical_cores() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("text", "cores"), [("200000 100000\n", 2), ("150000 100000", 2), ("max 100000", None), ("?", None)]
)
def test_a_container_s_share_of_the_processor_counts(tmp_path, text, cores):
    limit = tmp_path / "cpu.max"
    limit.write_text(text)
    assert _container_cores(limit) == cores
    assert _container_cores(tmp_path / "missing") is None


def test_a_changed_embedding_is_never_served_stale(workshop: Workshop, models_dir):
    path = models_dir / "embeddings" / "style.safetensors"
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "2": {"class_type": "EncodePrompts", "inputs": {"clip": ["1", 1], "texts": {"__value__": ["embedding:style"]}}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0]}},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveGeneration", "inputs": {"images": ["5", 0]}},
    }
    values = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    graph["4"]["inputs"] |= values | {"latent_image": ["3", 0]}
    executed = []
    for number in (1, 1, 2):
        save_file({"clip_l": torch.full((1, 32), float(number)), "clip_g": torch.ones(1, 48)}, path)
        os.utime(path, ns=(number, number))
        executed.append("2" in workshop.run(graph).executed)
    path.unlink()
    assert executed == [True, False, True]
