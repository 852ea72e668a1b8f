"""SDXL from prompt to PNG: Focal beside diffusers' own pipeline. Same file, prompt, steps, sampler and noise.

    python -m benchmarks.sdxl [--checkpoint FILE] [--size 128] [--steps 20] [--images 5] [--rounds 2] [--json FILE]
    python -m benchmarks.sdxl --full [--compile]     full-size random weights, 1024², 30 steps; needs CUDA

Each side runs in a process of its own, A-B-A-B. A figure is the median over the pictures of a process, then the best
over its rounds; a ratio below 1 means that Focal is faster. On a shared machine look at the processor's clock, which
busy neighbours disturb less than the wall's. The pictures of both sides are compared too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import torch
from PIL import Image

from benchmarks.sdxl_task import ROWS, Task, picture_path
from models.folders import TINY_CHECKPOINT

SIDES = ("focal", "diffusers")
CLOCKS = ("wall", "processor")


def main() -> None:
    """Measure and print the table."""
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="focal-bench-") as folder:
        task = make_task(arguments, Path(folder))
        rounds: dict[str, list[dict]] = {side: [] for side in SIDES}
        for _ in range(arguments.rounds):
            for side in SIDES:
                rounds[side].append(run_side(side, task))
        result = summary(task, rounds)
    print_table(task, result)
    if arguments.json:
        Path(arguments.json).write_text(
            json.dumps(result | {"task": msgspec.to_builtins(task), "rounds": rounds}, indent=2)
        )


def run_side(side: str, task: Task) -> dict:
    """Run one side in its own process; return its medians in seconds."""
    command = [sys.executable, "-m", f"benchmarks.sdxl_{side}", msgspec.json.encode(task).decode()]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def summary(task: Task, rounds: dict[str, list[dict]]) -> dict:
    """Return the best medians by clock, side and stage, and how far the pictures are apart."""
    best = {
        clock: {
            side: {stage: min(row["stages"][stage][kind] for row in rows) for stage in ROWS}
            for side, rows in rounds.items()
        }
        for kind, clock in enumerate(CLOCKS)
    }
    peaks = {side: max(row["peak_bytes"] for row in rows) for side, rows in rounds.items()}
    return {"seconds": best, "peak_bytes": peaks, "mean_pixel_difference": difference(task)}


def difference(task: Task) -> float:
    """Mean absolute difference of the two sides' pictures, in 8-bit steps."""
    pairs = [[np.asarray(Image.open(picture_path(task, side, n))) for side in SIDES] for n in range(task.images)]
    return float(np.mean([np.abs(a.astype(float) - b.astype(float)).mean() for a, b in pairs]))


def print_table(task: Task, result: dict) -> None:
    """Print one line per stage: milliseconds of both sides and their ratio, on both clocks."""
    print(f"{Path(task.checkpoint).name}, {task.size}², {task.steps} steps, {task.device}, torch {torch.__version__}")
    print(f"{'':10}" + "".join(f"{clock + ': Focal':>18}{'diffusers':>11}{'ratio':>7}" for clock in CLOCKS))
    for stage in ROWS:
        cells = ""
        for clock in CLOCKS:
            ours, theirs = (result["seconds"][clock][side][stage] * 1e3 for side in SIDES)
            cells += f"{ours:18.2f}{theirs:11.2f}{ours / theirs:7.2f}"
        print(f"{stage:10}{cells}")
    print(f"Milliseconds. Pictures differ by {result['mean_pixel_difference']:.2f} of 255 on average.")


def make_task(arguments: argparse.Namespace, folder: Path) -> Task:
    """Fill in what the arguments leave open."""
    checkpoint = arguments.checkpoint or str(TINY_CHECKPOINT)
    if arguments.full:
        from tests.parity.random_sdxl import FULL, write_checkpoint

        checkpoint = str(folder / "random-sdxl.safetensors")
        write_checkpoint(Path(checkpoint), FULL, dtype=torch.float16)
    device = "cuda" if torch.cuda.is_available() and (arguments.full or arguments.device == "cuda") else "cpu"
    if arguments.full and device == "cpu":
        raise SystemExit(
            "--full needs a CUDA device; without one a full-size picture takes about ten minutes per side."
        )
    return Task(
        checkpoint=checkpoint,
        folder=str(folder),
        device=device,
        size=arguments.size or (1024 if arguments.full else 128),
        steps=arguments.steps or (30 if arguments.full else 20),
        cfg=arguments.cfg,
        images=arguments.images,
        warmups=arguments.warmups,
        compile=arguments.compile,
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="single-file SDXL checkpoint (default: the embedded tiny one)")
    parser.add_argument("--full", action="store_true", help="a full-size file with random weights; needs CUDA")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", type=int, help="pixels per side (128; full size 1024)")
    parser.add_argument("--steps", type=int, help="20; full size 30")
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--images", type=int, default=5, help="timed pictures per process")
    parser.add_argument("--warmups", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2, help="processes per side, in turns")
    parser.add_argument("--compile", action="store_true", help="torch.compile UNet and decoder on both sides")
    parser.add_argument("--json", help="also write everything to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
