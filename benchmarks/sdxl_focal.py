"""Focal's side of `benchmarks.sdxl`: a graph through the executor, from prompt to PNG."""

import json
from pathlib import Path

from benchmarks.sdxl_task import Clock, Row, Spent, Task, picture_path, read_task, report
from engine.context import RunContext
from engine.events import Event, Executing
from engine.executor import Executor
from engine.graph import Graph
from engine.registry import Registry
from models.sdxl import load_checkpoint
from nodes.runtime import Runtime, start

STAGE_OF = {"6": "text", "7": "text", "3": "denoise", "8": "vae", "9": "file"}


def graph(task: Task, number: int) -> dict[str, dict]:
    """ComfyUI's text-to-image graph."""
    text = {"clip": ["4", 1]}
    return {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": Path(task.checkpoint).name}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": task.size, "height": task.size, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": text | {"text": task.prompt(number)}},
        "7": {"class_type": "CLIPTextEncode", "inputs": text | {"text": f"{task.negative}, number {number}"}},
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["4", 0],
                "positive": ["6", 0],
                "negative": ["7", 0],
                "latent_image": ["5", 0],
                "seed": max(number, 0),
                "steps": task.steps,
                "cfg": task.cfg,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        },
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": f"focal-{number}"}},
    }


class Bench:
    """An executor with a runtime, and the time of every node."""

    def __init__(self, task: Task) -> None:
        self.task = task
        paths = Path(task.folder) / "extra_model_paths.yaml"
        paths.write_text(json.dumps({"benchmark": {"checkpoints": str(Path(task.checkpoint).resolve().parent)}}))
        self.runtime: Runtime = start(
            {"device": task.device, "models_dirs": [task.folder], "extra_model_paths": str(paths)}
        )
        registry = Registry()
        registry.load_module("nodes")
        self.executor = Executor(registry)
        if task.compile:
            self._compile(Path(task.checkpoint))

    def picture(self, number: int) -> Row:
        """Make one picture; return its time by stage."""
        clock = Clock(self.task.device)
        began: list[tuple[str, Spent]] = []

        def listen(event: Event) -> None:
            if isinstance(event, Executing):
                began.append((event.node, clock.now()))

        context = RunContext(
            job_id=str(number),
            output_dir=Path(self.task.folder),
            runtime=self.runtime,
            run_guard=self.runtime.guard,
            previews=False,
        )
        started = clock.now()
        result = self.executor.run(Graph.from_json(graph(self.task, number)), ["9"], context=context, emit=listen)
        ended = clock.now()
        assert result.status == "succeeded", result.error
        saved = next(iter(Path(self.task.folder).glob(f"focal-{number}_*.png")))
        saved.rename(picture_path(self.task, "focal", number))
        for (node, at), end in zip(began, [*(at for _, at in began[1:]), ended], strict=True):
            clock.add(STAGE_OF.get(node, "rest"), end.minus(at))
        return clock.stages | {"total": ended.minus(started)}

    def _compile(self, checkpoint: Path) -> None:
        model, _, vae = load_checkpoint(checkpoint, self.runtime.residency)
        with model.use() as unet, vae.module.use() as decoder:
            unet.compile(mode="max-autotune-no-cudagraphs")
            decoder.decoder.compile(mode="max-autotune-no-cudagraphs")


if __name__ == "__main__":
    given = read_task()
    report(given, Bench(given).picture)
