"""Write, load and run full-size files of every format, one after the other: `python -m benchmarks.full_size`.

Each is written below --folder with random weights, loaded the way the server loads it, run once at a small size, and
deleted, in processes of its own. Names and shapes come from diffusers' and transformers' full-size modules on the meta
device or from the authors' published layouts, never from the modules under test. A tensor that nothing reads, one that
is missing, or a result that is not finite ends a proof. Rows are those of docs/benchmarks/full-size.md. Needs 16 GB of
disk and 13 GiB of memory.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.full_size import checkpoints, controls, describe, loras, masks, upscalers, vision
from benchmarks.full_size.proof import Failure, Proof, prove

ROOMS = (upscalers, describe, vision, masks, checkpoints, controls, loras)
PROOFS: dict[str, Proof] = {name: proof for room in ROOMS for name, proof in room.PROOFS.items()}
TITLE = "| format | files | size | tensors | load s | run s | peak GiB | result | checks |\n" + "|---" * 9 + "|\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(PROOFS)}; all without")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/full-size"))
    args = parser.parse_args(arguments)
    if unknown := [name for name in args.formats if name not in PROOFS]:
        parser.error(f"no such format: {', '.join(unknown)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    if not one_by_one(args.formats or list(PROOFS), args.folder):
        raise SystemExit(1)


def one_by_one(formats: Sequence[str], folder: Path) -> bool:
    """Prove formats in processes of their own, printing a row for each; whether all did well."""
    sys.stdout.write(TITLE)
    well = True
    for place, name in enumerate(formats):
        proof, later = PROOFS[name], {file for other in formats[place + 1 :] for file in PROOFS[other].needs}
        try:
            apart(write, proof, folder)
            sys.stdout.write(row(name, proof, apart(prove, proof, folder)))
        except Failure as fault:
            well = False
            sys.stdout.write(f"| {name} | FAILED: {fault} |\n")
        finally:
            for file in {*proof.files, *proof.needs} - later:
                (folder / file).unlink(missing_ok=True)
        sys.stdout.flush()
    return well


def apart(work: Callable[[Proof, Path], Any], proof: Proof, folder: Path) -> Any:
    """Do something in a process of its own, so that its memory is its own. Raises Failure."""
    context = multiprocessing.get_context("fork")  # the imports alone take seconds
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_reported, args=(theirs, work, proof, folder))
    process.start()
    theirs.close()
    try:
        done, answer = ours.recv()
    except EOFError as error:
        process.join()
        raise Failure(f"ended with {process.exitcode}") from error
    process.join()
    if not done:
        raise Failure(answer)
    return answer


def _reported(pipe: Connection, work: Callable[[Proof, Path], Any], proof: Proof, folder: Path) -> None:
    try:
        pipe.send((True, work(proof, folder)))
    except Exception as error:  # noqa: BLE001 (whatever it is, other formats are still to be proved)
        sys.excepthook(type(error), error, error.__traceback__)
        pipe.send((False, f"{type(error).__name__}: {error}"))


def write(proof: Proof, folder: Path) -> None:
    """Write the files of a proof that are not there yet."""
    for name, writer in {**proof.needs, **proof.files}.items():
        path = folder / name
        if not path.exists():
            part = path.with_name(f"part-{path.name}")
            writer(part)
            os.replace(part, path)


def row(name: str, proof: Proof, found: dict[str, Any]) -> str:
    size = f"{found['bytes'] / 1e9:.2f} GB" if found["bytes"] > 1e8 else f"{found['bytes'] / 1e6:.1f} MB"
    files = ", ".join(f"`{file}`" for file in proof.files)
    figures = f"{found['load_s']:.1f} | {found['run_s']:.1f} | {found['peak_gib']:.1f}"
    shape, notes = " x ".join(str(side) for side in found["result"]), "; ".join(found["notes"])
    return f"| {name} | {files} | {size} | {found['tensors'] or '-'} | {figures} | {shape} | {notes} |\n"


if __name__ == "__main__":
    main()
