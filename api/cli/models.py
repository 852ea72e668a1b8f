"""`focal models`: the files that requests can name, those the flows would use, and getting those that are missing."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import msgspec

from api.cli.failure import Failure
from api.cli.terminal import ProgressLine
from api.library import Library
from api.settings import Loaded
from graphs.model_files import ModelFile, Standing, files_named, files_of_preset, standings
from graphs.names import did_you_mean
from models.download import download
from models.errors import ModelError

MIB = 2**20
REFRESH_S = 0.1
PLAIN_PERCENT = 10  # a pipe gets a line for each


def run(parsed: argparse.Namespace, loaded: Loaded, notes: list[str]) -> int:
    library = Library(loaded.settings)
    try:
        if parsed.action == "list":
            return _list(parsed, library)
        return _download(parsed, library)
    except ModelError as error:
        raise Failure(str(error)) from error
    finally:
        library.close()


def _list(parsed: argparse.Namespace, library: Library) -> int:
    folders = library.folders
    wanted = parsed.names or list(folders.kinds)
    found = {kind: folders.list(kind) for kind in wanted}
    needed = [standing for standing in standings(library.catalog) if standing.kind in wanted]
    if parsed.json:
        told = {
            kind: {"files": names, "used": [_told(standing) for standing in needed if standing.kind == kind]}
            for kind, names in found.items()
        }
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
        return 0
    for kind, names in found.items():
        mine = [standing for standing in needed if standing.kind == kind]
        if names or mine or parsed.names:
            print(f"{kind}:")
        for name in names:
            print(f"  {folders.path(kind, name).stat().st_size / MIB:9.1f} MiB  {name}")
        for line in _used(mine):
            print(f"  {line}")
    return 0


def _told(standing: Standing) -> dict[str, str]:
    return {**msgspec.to_builtins(standing), "state": standing.state}


def _used(needed: Sequence[Standing]) -> list[str]:
    """A line per purpose: what is used, and where a missing file comes from."""
    lines = []
    for standing in needed:
        use = {
            "there": f"uses {standing.file}",
            "only tiny": f"has only {standing.tiny}, for the tiny checkpoint; a real one needs {standing.needed}",
            "missing": f"needs {standing.needed}, which is missing",
            "optional": f"can use {standing.needed}, which is not there",
        }[standing.state]
        source = f"  ({standing.url})" if standing.state != "there" and standing.url else ""
        lines.append(f"{standing.used_by} {use}{source}")
    return lines


def _download(parsed: argparse.Namespace, library: Library) -> int:
    files = [file for name in parsed.names for file in files_named(name, library.catalog)]
    if name := parsed.setting_preset:
        preset = library.catalog.preset(name)
        if preset is None:
            raise Failure(f"There is no preset {name!r}.{did_you_mean(name, library.catalog.presets)}")
        missing, remarks = files_of_preset(preset, library.catalog, always_new=parsed.always_new)
        files += missing
        for remark in remarks:
            print(remark)
    elif not parsed.names:
        raise Failure("Which files? Give names, or --preset NAME. `focal models list` shows what is missing.")
    if not files:
        print("Everything is there.")
    for number, file in enumerate(files, 1):
        _fetch(file, _target(library, file), f"{number}/{len(files)} {file.name}")
    return 0


def _target(library: Library, file: ModelFile) -> Path:
    """Where a file goes: below the first folder of its kind."""
    path = PurePosixPath(file.name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise Failure(f"{file.name!r} is no name for a file.")
    return library.folders.searched(file.kind)[0] / path


def _fetch(file: ModelFile, target: Path, title: str) -> None:
    if target.is_file():
        print(f"{title} is already there: {target}")
        return
    line, begun, shown = ProgressLine(), time.monotonic(), [0.0, -PLAIN_PERCENT]

    def progress(done: int, total: int) -> None:
        now, percent = time.monotonic(), 100 * done // total if total else 0
        if line.live and (now - shown[0] >= REFRESH_S or done == total):
            speed = done / MIB / max(now - begun, 1e-3)
            line.show(percent, f"{title}  {done / MIB:.1f} of {total / MIB:.1f} MiB, {speed:.1f} MiB/s")
            shown[0] = now
        elif not line.live and percent >= shown[1] + PLAIN_PERCENT:
            shown[1] = percent
            print(f"{title} {percent:3}% of {total / MIB:.1f} MiB", flush=True)

    try:
        download(file.url, target, progress=progress)
    finally:
        line.end()
    print(f"{title} is there: {target}")
