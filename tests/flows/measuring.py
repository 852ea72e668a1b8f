"""What the `measure_…` commands share: arguments, a darkroom of their own, held-out scenes, figures as JSON."""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.tiny.scenes import Shape, combinations
from tests.flows.darkroom import Darkroom


def arguments(about: str | None, count: int, what: str | None = None) -> argparse.ArgumentParser:
    """Take `--count`, how much of `what` is measured, and `--models`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--count", type=int, default=count, help=what)
    parser.add_argument("--models", type=Path, help="a folder of models that are taken before the embedded ones")
    return parser


@contextmanager
def darkroom(models: Path | None = None) -> Iterator[Darkroom]:
    """A darkroom over a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        if models:
            (Path(folder) / "models").symlink_to(models.resolve())
        room = Darkroom(Path(folder))
        yield room
        room.close()


def held_combinations(rng: random.Random) -> list[tuple[Shape, str, str]]:
    """Shape, colour and background of every combination that training never showed, shuffled."""
    found = combinations(held=True)
    rng.shuffle(found)
    return found


def show(figures: Any) -> None:
    """Print figures as JSON."""
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
