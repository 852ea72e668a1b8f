"""A workshop for node tests: a random SDXL checkpoint of a few megabytes, a runtime on it, and graphs run through the
real executor."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.context import RunContext
from engine.events import Event
from engine.executor import Executor, RunResult
from engine.graph import Graph
from engine.registry import Registry
from engine.validate import validate
from nodes.runtime import Runtime, start
from tests.parity.random_sdxl import Plan, write_checkpoint

PLAN = Plan(vocabulary=49408, vae=(32, 32, 64, 64))
CHECKPOINT = "random.safetensors"

Nodes = dict[str, dict[str, Any]]


@dataclass
class Workshop:
    """A data folder, a runtime and an executor; `run` runs a graph in API format."""

    root: Path
    runtime: Runtime
    registry: Registry
    executor: Executor
    events: list[Event] = field(default_factory=list)

    def run(self, graph: Nodes, job_id: str = "job", **context: Any) -> RunResult:
        self.events.clear()
        on_event: Callable[[Event], None] = context.pop("emit", lambda event: None)

        def emit(event: Event) -> None:
            self.events.append(event)
            on_event(event)

        run = RunContext(
            job_id=job_id,
            prompt=graph,
            output_dir=self.root / "outputs",
            input_dir=self.root / "input",
            temp_dir=self.root / "temp",
            runtime=self.runtime,
            run_guard=self.runtime.guard,
            **context,
        )
        verdict = validate(Graph.from_json(graph), self.registry)
        assert verdict.error is None, verdict
        assert not verdict.node_errors, verdict
        return self.executor.run(verdict.graph, verdict.outputs, context=run, emit=emit)

    def forget(self) -> None:
        """Forget all results, so that the next run computes everything."""
        self.executor.cache.clear()

    def files(self, result: RunResult) -> list[Path]:
        """Return the files that a run's output nodes tell of."""
        roots = {"output": self.root / "outputs", "temp": self.root / "temp"}
        images = [image for ui in result.ui.values() for image in ui["images"]]
        return [roots[image["type"]] / image["subfolder"] / image["filename"] for image in images]

    def seen(self, kind: type) -> list[Any]:
        """Return the events of a kind from the last run."""
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for kind in ("checkpoints", "loras", "embeddings", "vae"):
        (root / kind).mkdir()
    write_checkpoint(root / "checkpoints" / CHECKPOINT, PLAN)
    random = torch.Generator().manual_seed(5)
    tensors = {}
    for name, rows, columns in (
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", 64, 64),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1", 128, 32),
    ):
        tensors[f"{name}.lora_up.weight"] = torch.randn(rows, 4, generator=random)
        tensors[f"{name}.lora_down.weight"] = torch.randn(4, columns, generator=random)
        tensors[f"{name}.alpha"] = torch.tensor(4.0)
    save_file(tensors, root / "loras" / "style.safetensors")
    return root


@pytest.fixture(scope="session")
def registry() -> Registry:
    found = Registry()
    found.load_module("nodes")
    return found


@pytest.fixture
def workshop(tmp_path: Path, models_dir: Path, registry: Registry) -> Workshop:
    for name in ("outputs", "input", "temp"):
        (tmp_path / name).mkdir()
    runtime = start({"models_dirs": [str(models_dir)], "data_dir": str(tmp_path), "device": "cpu", "threads": 1})
    return Workshop(tmp_path, runtime, registry, Executor(registry))


def text_to_image(**changes: Any) -> Nodes:
    """Build a graph as the REST contracts compile it; changes go into the SampleLatent node."""
    sampling = {"seed": 7, "steps": 4, "cfg": 4.0, "sampler_name": "dpmpp_2m_sde_gpu", "scheduler": "karras"} | changes
    linked = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "2": {
            "class_type": "EncodePrompts",
            "inputs": {"clip": ["1", 1], "texts": {"__value__": ["a red circle", "(sharp:1.2)"]}, "pooled_top_k": 1},
        },
        "3": {"class_type": "EncodePrompts", "inputs": {"clip": ["1", 1], "texts": {"__value__": ["blurry"]}}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "5": {"class_type": "SampleLatent", "inputs": linked | sampling},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveGeneration", "inputs": {"images": ["6", 0]}},
    }
