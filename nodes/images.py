"""Pictures from the input folder."""

import hashlib
import os
from pathlib import Path
from typing import Annotated

from engine.context import Context
from engine.node import node
from engine.types import Choices, Widget
from models.errors import ModelError
from models.files.image import EXTENSIONS, load_image
from nodes.runtime import current
from nodes.sockets import Image, Mask


class ImageNotFound(ModelError):
    """A picture that the input folder does not hold."""

    code = "image_not_found"


def input_files(folder: Path) -> dict[str, Path]:
    """Return the pictures below a folder by name; a link that leads out of it is left out."""
    inside, found = folder.resolve(), {}
    for parent, _, files in os.walk(folder):
        for file in files:
            path = Path(parent, file)
            if path.suffix.lower().lstrip(".") in EXTENSIONS and path.resolve().is_relative_to(inside):
                found[path.relative_to(folder).as_posix()] = path
    return dict(sorted(found.items()))


def _input_names() -> list[str]:
    runtime = current()
    return list(input_files(runtime.input_dir)) if runtime else []


def _content(image: str | None) -> str | None:
    """Return the picture's hash: another picture under the name is another result."""
    runtime = current()
    if runtime is None or image is None:
        return None
    return hashlib.sha256(_find(runtime.input_dir, image).read_bytes()).hexdigest()


def _find(folder: Path, name: str) -> Path:
    path = input_files(folder).get(name)
    if path is None:
        raise ImageNotFound(f"The input folder has no picture {name[:200]!r}.", "Upload it first (POST /upload/image).")
    return path


@node("LoadImage", category="image", display_name="Load Image", fingerprint=_content)
def load_image_node(
    image: Annotated[str, Choices(_input_names), Widget(extra={"image_upload": True})], context: Context
) -> tuple[Image, Mask]:
    """Load a picture of the input folder (PNG, JPEG, WebP), turned as its EXIF says; the mask is 1 - alpha."""
    return load_image(_find(context.input_dir, image))
