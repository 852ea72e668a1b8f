"""What both sides of `benchmarks.sdxl` are given, and how they keep time."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import torch

STAGES = ("text", "denoise", "vae", "file")
ROWS = (*STAGES, "total")


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


class Spent(NamedTuple):
    """Seconds on the clock on the wall, and of the processor, which busy neighbours disturb less."""

    wall: float = 0.0
    processor: float = 0.0

    def plus(self, other: Self) -> Self:
        """Add up."""
        return type(self)(self.wall + other.wall, self.processor + other.processor)

    def minus(self, other: Self) -> Self:
        """What lies between two moments."""
        return type(self)(self.wall - other.wall, self.processor - other.processor)


Row = dict[str, Spent]


class Clock:
    """Adds up the time of named stages, waiting for the GPU at their ends."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self.stages: Row = {}

    def now(self) -> Spent:
        """The moment when everything asked for is done."""
        if self._cuda:
            torch.cuda.synchronize()
        return Spent(time.perf_counter(), time.process_time())

    def add(self, stage: str, spent: Spent) -> None:
        """Count time towards a stage."""
        self.stages[stage] = self.stages.get(stage, Spent()).plus(spent)

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its time is added to a stage."""

        def call(*args: Any, **kwargs: Any) -> Any:
            started = self.now()
            try:
                return function(*args, **kwargs)
            finally:
                self.add(stage, self.now().minus(started))

        return call


def read_task() -> Task:
    """Read the task from the command line."""
    return msgspec.json.decode(sys.argv[1].encode(), type=Task)


def report(task: Task, one_picture: Callable[[int], Row]) -> None:
    """Make the pictures and print the medians of their stages, (wall, processor), as one line of JSON."""
    rows = [one_picture(number) for number in range(-task.warmups, task.images)][task.warmups :]
    medians = {stage: [statistics.median(row[stage][kind] for row in rows) for kind in (0, 1)] for stage in ROWS}
    peak = torch.cuda.max_memory_allocated() if task.device.startswith("cuda") else 0
    print(json.dumps({"stages": medians, "peak_bytes": peak}))


def picture_path(task: Task, side: str, number: int) -> Path:
    """Where a side saves a picture."""
    return Path(task.folder) / f"{side}-{number}.png"
