"""What both sides of `benchmarks.sdxl` are given, and how they keep time."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch

STAGES = ("text", "denoise", "vae", "file")
ROWS = (*STAGES, "total", "processor")  # the last: processor time of the whole, which busy neighbours disturb less


class Task(msgspec.Struct, frozen=True):
    """The pictures to make. Prompts differ from picture to picture, so that no side can reuse an encoding."""

    checkpoint: str
    folder: str
    device: str
    size: int
    steps: int
    cfg: float
    images: int
    warmups: int
    compile: bool

    def prompt(self, number: int) -> str:
        """The prompt of one picture."""
        return f"a red circle on a blue background, number {number}"

    negative = "a green square"


class Clock:
    """Adds up the seconds of named stages, waiting for the GPU at their ends."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self.seconds: dict[str, float] = {}

    def now(self) -> float:
        """The time when everything asked for is done."""
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its time is added to a stage."""

        def call(*args: Any, **kwargs: Any) -> Any:
            started = self.now()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + self.now() - started

        return call


def read_task() -> Task:
    """Read the task from the command line."""
    return msgspec.json.decode(sys.argv[1].encode(), type=Task)


def report(task: Task, one_picture: Callable[[int], dict[str, float]]) -> None:
    """Make the pictures and print the medians of their stages as one line of JSON."""
    rows = []
    for number in range(-task.warmups, task.images):
        worked = time.process_time()
        row = one_picture(number)
        rows.append(row | {"processor": time.process_time() - worked})
    medians = {stage: statistics.median(row[stage] for row in rows[task.warmups :]) for stage in ROWS}
    peak = torch.cuda.max_memory_allocated() if task.device.startswith("cuda") else 0
    print(json.dumps(medians | {"peak_bytes": peak}))


def picture_path(task: Task, side: str, number: int) -> Path:
    """Where a side saves a picture."""
    return Path(task.folder) / f"{side}-{number}.png"
