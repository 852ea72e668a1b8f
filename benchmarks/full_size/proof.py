"""What it takes to prove that files load: their writers, a run, and a record of the tensors that were read."""

import json
import re
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.formats.pickled import PickledFile
from models.formats.weights import WeightFile
from models.memory import DtypePolicy, Residency, Resident
from models.sampling.run import sample
from models.sdxl import Clip, Model, encode_tokens

LATENT = 16  # 128 x 128 pixels
PROMPT = [[49406, 320, 2368, *[49407] * 74]]  # "a cat", begun, ended and filled up
Words = list[list[Any]]  # conditioning
BUDGET_BYTES = 6 * 2**30  # so that text encoders make room for the UNet
Writer = Callable[[Path], None]


class Failure(AssertionError):
    """A format that does not do what it should."""


@dataclass(frozen=True)
class Proof:
    """One format, or several that need the same checkpoint: files to write, by name, and what to do with them.

    spare: patterns of tensors that a file may hold and nothing needs. needs: files that are not what is proved.
    """

    files: Mapping[str, Writer]
    run: Callable[["Bench"], Tensor]
    spare: tuple[str, ...] = ()
    needs: Mapping[str, Writer] = field(default_factory=dict)


class Bench:
    """Where the files lie, who holds the weights, and how long loading took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        policy = DtypePolicy(*[torch.bfloat16] * 3)
        self.bfloat16 = Residency("cpu", budget_bytes=BUDGET_BYTES, dtypes=policy)
        self.float32 = Residency("cpu", budget_bytes=BUDGET_BYTES)
        self.notes: list[str] = []
        self.load_s = 0.0

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Count the time inside as loading, what is outside as the run."""
        begun = time.monotonic()
        yield
        self.load_s += time.monotonic() - begun

    def same(self, name: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
        """Compare with another program's answer, relative to its spread."""
        difference = float((found.float() - expected.float()).abs().max() / expected.float().std())
        if not difference <= tolerance:
            raise Failure(f"{name} differ by {difference:.1e} of their spread")
        self.notes.append(f"{name} to {difference:.0e} of their spread")


def bring(*parts: Resident | Model) -> None:
    """Have weights read now and not at their first use."""
    for part in parts:
        with part.use():
            pass


def filled(module: nn.Module, state: Mapping[str, Tensor], *spare: str, assign: bool = False) -> None:
    """Fill another program's module. Raises Failure over names, but for missing ones that end as `spare` says."""
    missing, unexpected = module.load_state_dict(state, strict=False, assign=assign)
    if unexpected or any(not name.endswith(spare) for name in missing):
        raise Failure(f"transformers does not know the layout: {missing[:3]} {unexpected[:3]}")


def prove(proof: Proof, folder: Path) -> dict[str, Any]:
    """Run a proof whose files are there. Raises Failure."""
    read = recorded()
    bench, begun = Bench(folder), time.monotonic()
    with torch.no_grad():
        result = proof.run(bench)
    run_s = time.monotonic() - begun - bench.load_s
    if not torch.isfinite(result).all():
        raise Failure("the result is not finite")
    count = 0
    for name in proof.files:
        names = set(names_in(folder / name))
        count += len(names)
        unread = names - read.get(folder / name, names)
        if strange := [name for name in unread if not any(re.search(pattern, name) for pattern in proof.spare)]:
            raise Failure(f"{len(strange)} tensors are not read, the first {sorted(strange)[0]}")
    return {
        "bytes": sum((folder / name).stat().st_size for name in proof.files),
        "tensors": count,
        "load_s": bench.load_s,
        "run_s": run_s,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "result": list(result.shape),
        "notes": bench.notes,
    }


def recorded() -> dict[Path, set[str]]:
    """Note from now on which tensors are read of which file."""
    found: dict[Path, set[str]] = {}

    def noted(plain: Callable[[Any, str], Tensor]) -> Callable[[Any, str], Tensor]:
        def tensor(file: Any, name: str) -> Tensor:
            found.setdefault(file.path, set()).add(name)
            return plain(file, name)

        return tensor

    for kind in (WeightFile, PickledFile):
        kind.tensor = noted(kind.tensor)
    return found


def names_in(path: Path) -> Iterable[str]:
    """The names of a file's tensors, read by other means than the server's; none of what is no table of tensors."""
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return [name for name in header if name != "__metadata__"]
    if path.suffix not in (".bin", ".pth"):
        return []
    content = torch.load(path, weights_only=True, mmap=True)
    tables = {name: table for name, table in content.items() if isinstance(table, dict)}
    if not tables:
        return list(content)
    return [name if len(tables) == 1 else f"{group}.{name}" for group, table in tables.items() for name in table]


# ------------------------------------------------------------------------------------------------ sampling


def conditioning(clip: Clip) -> Words:
    """A short prompt for SDXL."""
    l, g = encode_tokens(clip, PROMPT, "l"), encode_tokens(clip, PROMPT, "g")  # noqa: E741
    return [[torch.cat([l.hidden, g.hidden], dim=-1), {"pooled_output": g.pooled}]]


def one_step(model: Model, positive: Words, latent: Tensor | None = None) -> Tensor:
    """One Euler step from noise, without a negative prompt."""
    start = {"samples": torch.zeros(1, 4, LATENT, LATENT) if latent is None else latent}
    options = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal"}
    return sample(model, positive, positive, start, **options)["samples"]
