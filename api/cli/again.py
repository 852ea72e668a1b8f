"""`focal generate --from-image FILE`: the request that a picture's own file tells, to make the picture again."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from api.cli.failure import Failure
from api.images import MEDIA_TYPES
from api.library import Library
from api.settings import Settings
from graphs.metadata_read import read_picture
from graphs.request import GenerationRequest

# What may not be said beside the file, with its default.
SAID_BY_THE_FILE = {
    "prompt": None, "negative": None, "seed": -1, "size": None, "steps": None, "guidance": None,
    "performance": None, "style": None, "model": None, "number": 1,
}  # fmt: skip


def request_of(parsed: argparse.Namespace, settings: Settings, library: Library) -> GenerationRequest:
    """Read the file. Raises Failure where it says nothing, or where a picture that it started from is not there."""
    doubly = [name for name, default in SAID_BY_THE_FILE.items() if getattr(parsed, name) != default]
    if doubly:
        said = ", ".join(name if name == "prompt" else f"--{name}" for name in doubly)
        raise Failure(f"--from-image makes a picture as its file tells it; leave out: {said}.")
    file: Path = parsed.from_image
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.") from error
    request = read_picture(data, library.catalog.styles)
    if request is None:
        raise Failure(f"{file} does not say how it was made: no PNG, JPEG or WebP with metadata that can be read.")
    absent = sorted(set(_pictures(request)) - _there(settings.input_dir))
    if absent:
        raise Failure(f"{file} was made from pictures that {settings.input_dir} does not hold: {', '.join(absent)}.")
    extension = parsed.output.suffix.lstrip(".").lower() if parsed.output else file.suffix.lstrip(".").lower()
    return replace(request, save_extension=extension if extension in MEDIA_TYPES else "png").seeded()


def _pictures(request: GenerationRequest) -> Iterator[str]:
    """The names of the input pictures of a request."""
    enhanced = request.enhance.image if request.enhance else None
    for picture in (request.input_image, enhanced, *(prompt.image for prompt in request.image_prompts)):
        if picture is not None:
            yield picture.name
    if request.inpaint is not None and request.inpaint.mask:
        yield request.inpaint.mask


def _there(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")} if folder.is_dir() else set()
