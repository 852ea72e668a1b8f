"""Nodes without torch: they nap, crash, hang, fail, write files. What they did is told by their files."""

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from engine.context import Context
from engine.node import node
from engine.types import Socket, Ui

Number = Annotated[int, Socket("INT")]


@node("Nap", category="fake")
def nap(context: Context, steps: int = 1, seconds: float = 0.0, seed: int = 0) -> int:
    """Sleep `seconds` in each of `steps` steps, telling progress and a preview."""
    for step in range(steps):
        time.sleep(seconds)
        context.progress(step + 1, steps, f"step {step + 1}")
        context.preview(b"picture %d" % step, width=1, height=1)
    return seed


@node("Write", category="fake", output=True, cacheable=False)
def write(context: Context, value: int, name: str = "") -> Ui:
    """Write a file named after the job, as a picture would be."""
    folder = Path(context.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{context.job_id}-{name or context.node_id}.txt"
    path.write_text(str(value))
    return Ui({"images": [{"filename": path.name, "subfolder": "", "type": "output"}], "extra": [context.extra]})


@node("Crash", category="fake", output=True, cacheable=False)
def crash(context: Context, marker: str, times: int = 1_000_000, value: int = 0) -> Ui:
    """Kill this very process the first `times` times, counted in the file `marker`."""
    path = Path(marker)
    count = int(path.read_text()) if path.exists() else 0
    path.write_text(str(count + 1))
    if count < times:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(10)
    return Ui({"survived": [count]})


@node("Exit", category="fake", output=True, cacheable=False)
def leave(status: int = 7) -> Ui:
    """End the process as a library's abort would."""
    os.write(2, b"last words of the worker\n")
    os._exit(status)


@node("Fail", category="fake", output=True, cacheable=False)
def fail(message: str = "no", value: int = 0) -> Ui:
    """Raise, as a node with a fault does."""
    raise ValueError(message)


@node("Deaf", category="fake", output=True, cacheable=False)
def deaf(seconds: float) -> Ui:
    """Sleep without ever looking at the interrupt flag."""
    time.sleep(seconds)
    return Ui({"slept": [seconds]})


@node("Freeze", category="fake", output=True, cacheable=False)
def freeze() -> Ui:
    """Stop the whole process, reader thread included."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return Ui({"thawed": [True]})


@node("Told", category="fake", output=True, cacheable=False)
def told(context: Context) -> Ui:
    """Show what the runtime object saw."""
    return Ui({"calls": list(context.runtime.calls), "guarded": [context.runtime.guarded]})


@node("Draw", category="fake", output=True, cacheable=False)
def draw(context: Context, steps: int = 1, seconds: float = 0.0) -> Ui:
    """Draw numbers from the generator that the whole process shares, one in each step."""
    random.seed(7)
    drawn = []
    for step in range(steps):
        time.sleep(seconds)
        context.progress(step + 1, steps)
        drawn.append(random.random())
    return Ui({"drawn": drawn, "guarded": [context.runtime.guarded]})


@node("Where", category="fake", output=True, cacheable=False)
def where(context: Context) -> Ui:
    """Tell which thread this is, and what ran before it."""
    return Ui({"thread": [threading.current_thread().name], "calls": list(context.runtime.calls)})


@node("Note", category="fake", output=True, cacheable=False)
def note(context: Context, word: str, value: int = 0) -> Ui:
    """Leave a word for those that ask what ran before them."""
    context.runtime.calls.append(word)
    return Ui({"value": [value]})


@node("Hungry", category="fake", output=True, cacheable=False)
def hungry(context: Context) -> Ui:
    """Find room the second time only."""
    context.runtime.calls.append("hungry")
    if context.runtime.calls.count("hungry") == 1:
        raise MemoryError("no room")
    return Ui({"calls": list(context.runtime.calls)})


@node("Elsewhere", category="fake")
async def elsewhere(context: Context, steps: int, seconds: float) -> int:
    """Report from an event loop and from a thread, never from where a graph could run."""
    for step in range(steps):
        context.progress(step, steps)
        await asyncio.to_thread(context.progress, step, steps)
        time.sleep(seconds)
    return steps


class Runtime:
    """A stand-in for the models: remembers what was asked of it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.calls: list[str] = []
        self._guards = 0

    @property
    def guarded(self) -> bool:
        return self._guards > 0

    def about(self) -> dict[str, Any]:
        return {"device": "fake"}

    def warm(self, checkpoint: str) -> None:
        self.calls.append(f"warm {checkpoint}")

    def free(self) -> None:
        self.calls.append("free")

    def echo(self, text: str) -> str:
        return f"{text} from {os.getpid()}"

    def guard(self) -> "Runtime":
        return self

    def __enter__(self) -> "Runtime":
        self._guards += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._guards -= 1

    @contextmanager
    def apart(self) -> Iterator[None]:
        state = random.getstate()
        yield
        random.setstate(state)


def start(options: dict[str, Any]) -> Runtime:
    if "fail" in options:
        raise RuntimeError(options["fail"])
    time.sleep(options.get("slow_s", 0))
    return Runtime(options)
