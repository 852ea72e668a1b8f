"""`focal doctor`: what is here, what is missing, what to do about it."""

import argparse
import asyncio
import os
import platform
import shutil
from pathlib import Path
from typing import Any, Literal

import msgspec

from api.contracts.comfy.stats import memory_bytes, package_version
from api.engine_room import running, worker_config
from api.library import Library
from api.settings import Loaded, Settings
from engine.errors import FocalError
from engine.jobs.memory_store import MemoryStore

LOW_DISK_BYTES = 2 * 2**30
PACKAGES = ("focal", "torch", "starlette", "uvicorn", "msgspec", "sqlalchemy", "pillow", "isal", "safetensors")
REQUIRED = frozenset(PACKAGES) - {"focal", "isal"}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    subject: str
    state: Literal["ok", "warning", "missing"]
    text: str


def run(parsed: argparse.Namespace, loaded: Loaded, notes: list[str]) -> int:
    settings = loaded.settings
    library = Library(settings)
    findings = [*_versions(), *_disk(settings), *_models(settings, library), *asyncio.run(_worker(settings, library))]
    library.close()
    if parsed.json:
        print(msgspec.json.format(msgspec.json.encode(findings)).decode())
    else:
        marks = {"ok": "ok     ", "warning": "look   ", "missing": "MISSING"}
        for finding in findings:
            print(f"{marks[finding.state]}  {finding.subject}: {finding.text}")
    return 1 if any(finding.state == "missing" for finding in findings) else 0


def _versions() -> list[Finding]:
    found = [Finding("python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}")]
    for name in PACKAGES:
        version = package_version(name)
        state = "ok" if version else "missing" if name in REQUIRED else "warning"
        found.append(Finding(name, state, version or "not installed: pip install " + name))
    return found


def _disk(settings: Settings) -> list[Finding]:
    data = settings.data.resolve()
    existing = next(folder for folder in (data, *data.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK)
    total, available = memory_bytes()
    return [
        Finding("data folder", "ok" if writable else "missing", f"{data}{'' if writable else ' cannot be written'}"),
        Finding("disk", "ok" if free >= LOW_DISK_BYTES else "warning", f"{free / 2**30:.1f} GiB free"),
        Finding("memory", "ok", f"{available / 2**30:.1f} of {total / 2**30:.1f} GiB free"),
    ]


def _models(settings: Settings, library: Library) -> list[Finding]:
    catalog = library.catalog
    roots = [settings.models_dir.resolve(), *filter(None, [settings.extra_model_paths])]
    found = [
        Finding("model root", "ok" if root.exists() else "warning", f"{root}{'' if root.exists() else ' is not there'}")
        for root in map(Path, roots)
    ]
    count = len(catalog.real_checkpoints)
    advice = (
        f"only the embedded tiny model; put an SDXL .safetensors file into {settings.models_dir.resolve()}/checkpoints"
    )
    found.append(Finding("checkpoints", "ok" if count else "warning", f"{count} found" if count else advice))
    default = catalog.default_checkpoint
    text = f"{catalog.preset_in_force.name}, checkpoint {default}" if default else "no checkpoint at all is installed"
    found.append(Finding("preset", "ok" if default else "missing", text))
    return found


async def _worker(settings: Settings, library: Library) -> list[Finding]:
    """Start a worker and let it tell of its device."""
    try:
        async with running(settings, MemoryStore(), worker_config(settings, library)) as room:
            await room.worker.wait_ready(timeout_s=120)
            ready = room.worker.about
    except FocalError as error:
        return [Finding("worker", "missing", str(error))]
    about: dict[str, Any] = ready.about if ready else {}
    device = ", ".join(str(about[key]) for key in ("device", "name") if key in about) or "unknown"
    nodes = ready.node_count if ready else 0
    return [
        Finding("device", "ok", f"{device}; {about.get('threads', '?')} threads"),
        Finding("nodes", "ok", f"{nodes} classes"),
    ]
