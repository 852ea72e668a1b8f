"""The pictures of a job, whichever contract it came by: which node saves which, where they lie, their addresses."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec
from msgspec import Struct

from api.images import MEDIA_TYPES, convert
from api.settings import Settings
from engine.jobs.job import Job, OutputFile

FILES, OUTPUTS = "files", "outputs"
PREFIXES: dict[str, str] = {"fooocus_api": FILES, "fooocusapi": OUTPUTS}
"""Contract → the first part of its results' paths. Both are served, whatever job a file is of."""


class PlannedImage(Struct):
    """Which node saves picture i, and the seed it is drawn from."""

    node: str
    seed: str


class MadeImage(Struct, frozen=True):
    """A picture that was made, and its seed ("" for a graph that somebody posted)."""

    file: OutputFile
    seed: str


def planned(job: Job) -> list[PlannedImage]:
    """The pictures that a job was compiled for; none for a graph that somebody posted."""
    plan = job.request.get("images") if isinstance(job.request, Mapping) else None
    return msgspec.convert(plan or [], list[PlannedImage])


def made(job: Job) -> list[MadeImage]:
    """The pictures made so far, in order; those that were skipped or did not come to their end are left out."""
    plan = planned(job)
    if not plan:
        return [MadeImage(file, "") for file in job.files() if file.type == "output"]
    found = [(image, file_of(job, image.node)) for image in plan]
    return [MadeImage(file, image.seed) for image, file in found if file is not None]


def file_of(job: Job, node: str) -> OutputFile | None:
    """The first picture that a node saved."""
    pictures = job.result.get(node, {}).get("images") or []
    if not pictures:
        return None
    first = pictures[0]
    return OutputFile(first["filename"], first.get("subfolder", ""), first.get("type", "output"))


def url_of(job: Job, file: OutputFile, settings: Settings, *, prefix: str = FILES) -> str:
    """The absolute address of a result, below the prefix of its job's contract; `prefix` where that has none."""
    folder = f"{quote(file.subfolder.replace(chr(92), '/'))}/" if file.subfolder else ""
    return f"{settings.public_url}/{PREFIXES.get(job.contract, prefix)}/{folder}{quote(file.filename)}"


def path_of(file: OutputFile, settings: Settings) -> Path:
    """Where a result lies on disk."""
    return settings.outputs_dir / file.subfolder / file.filename


def first_picture(job: Job, media_type: str, settings: Settings) -> bytes:
    """The first picture of a job, its stored bytes when the type is the same."""
    path = path_of(made(job)[0].file, settings)
    data = path.read_bytes()
    return data if MEDIA_TYPES[path.suffix.lstrip(".")] == media_type else convert(data, media_type)


def input_url(name: str, settings: Settings) -> str:
    """The absolute address of a picture that came with a request."""
    return f"{settings.public_url}/inputs/{quote(name)}"
