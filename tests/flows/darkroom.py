"""Pictures through the product's own path in one process: a request is compiled, the worker's bench runs the graph."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from api.engine_room import worker_config
from api.library import Library
from api.settings import Settings
from engine.events import Event, Succeeded
from engine.jobs.messages import Run
from engine.jobs.workbench import Workbench
from graphs.flows import compile_request
from graphs.request import GenerationRequest, InputImage
from graphs.save import Compiled
from nodes import runtime


class Darkroom:
    """A data folder and a bench with the real nodes and the tiny models."""

    def __init__(self, data: Path) -> None:
        settings = Settings(data=data, log_level="warning")
        self.data = data
        (data / "input").mkdir(parents=True, exist_ok=True)
        self.library = Library(settings)
        self.bench = Workbench(worker_config(settings, self.library))
        self.jobs = 0
        self.events: list[Event] = []
        self.defaults: dict[str, Any] = {}  # fields of every request that does not say them itself

    def put(self, picture: Image.Image, name: str = "input.png") -> InputImage:
        """Lay a picture into the input folder."""
        picture.save(self.data / "input" / name)
        return InputImage(name, picture.width, picture.height)

    def compile(self, **asked: Any) -> Compiled:
        """Compile a request; what is not asked comes from the tiny preset."""
        request = GenerationRequest(
            **({"preset": "tiny", "seed": 1, "base_model": "focal-tiny-sdxl"} | self.defaults | asked)
        )
        return compile_request(request, self.library.catalog)

    def run(self, graph: dict[str, Any], outputs: list[str]) -> list[Image.Image]:
        """Run a graph in API format; gives what its outputs saved, in their order."""
        runtime._running[:] = [self.bench.runtime]  # a process has one worker; tests may have several rooms
        self.jobs += 1
        self.events = []
        run = Run(f"job-{self.jobs}", 1, graph, tuple(outputs), {})
        self.bench.run(run, threading.Event(), self.events.append)
        ended = self.events[-1]
        assert isinstance(ended, Succeeded), ended
        files = [file for output in outputs for file in ended.ui[output]["images"]]
        folders = {"output": self.data / "outputs", "temp": self.data / "temp"}
        return [self._opened(folders[file["type"]] / file["subfolder"] / file["filename"]) for file in files]

    def make(self, **asked: Any) -> list[Image.Image]:
        """Make the pictures of a request."""
        compiled = self.compile(**asked)
        return self.run(compiled.graph.to_json(), compiled.outputs)

    def close(self) -> None:
        self.library.close()

    def _opened(self, path: Path) -> Image.Image:
        with Image.open(path) as picture:
            return picture.copy()


def pixels(picture: Image.Image) -> np.ndarray:
    """(H, W, 3) in 0..1."""
    return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio of pixels in 0..1, in dB."""
    return float(-10 * np.log10(((one - other) ** 2).mean() + 1e-12))
