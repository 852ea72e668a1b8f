"""Pictures: from the input folder, plain, resized, put together."""

import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal

import torch
from msgspec import Meta

from engine.context import Context
from engine.node import node
from engine.types import Choices, Widget
from models.errors import ModelError
from models.files.grid import grid
from models.files.image import EXTENSIONS, load_image
from models.files.resize import Crop, ImageMethod, resize
from nodes.runtime import current
from nodes.sockets import Image, Mask

MAX_SIDE = 16384

Side = Annotated[int, Meta(ge=1, le=MAX_SIDE), Widget(default=512)]
Size = Annotated[int, Meta(ge=0, le=MAX_SIDE), Widget(default=512)]
Place = Annotated[int, Meta(ge=0, le=MAX_SIDE), Widget(default=0)]


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


@node(
    "LoadImageMask",
    category="mask",
    display_name="Load Image (as Mask)",
    fingerprint=lambda image, **_: _content(image),
)
def load_mask_node(
    image: Annotated[str, Choices(_input_names), Widget(extra={"image_upload": True})],
    channel: Literal["alpha", "red", "green", "blue"],
    context: Context,
) -> Mask:
    """Load one channel of a picture of the input folder as a mask; alpha is inverted, colours are not."""
    picture, mask = load_image(_find(context.input_dir, image))
    if channel != "alpha":
        return picture[:1, ..., ("red", "green", "blue").index(channel)]
    if mask.shape[1:] == picture.shape[1:3]:
        return mask[:1]
    return torch.zeros(1, *picture.shape[1:3])  # a picture without alpha has nothing to repaint


@node("EmptyImage", category="image")
def empty_image(
    width: Side,
    height: Side,
    batch_size: Annotated[int, Meta(ge=1, le=4096), Widget(default=1)],
    color: Annotated[int, Meta(ge=0, le=0xFFFFFF), Widget(default=0, extra={"display": "color"})],
) -> Image:
    """A picture of one colour, 0xRRGGBB."""
    rgb = torch.tensor([color >> 16 & 0xFF, color >> 8 & 0xFF, color & 0xFF]) / 255.0
    return rgb.expand(batch_size, height, width, 3).clone()


@node("ImageScale", category="image/upscaling", display_name="Upscale Image")
def scale_image(image: Image, upscale_method: ImageMethod, width: Size, height: Size, crop: Crop) -> Image:
    """Resize to a size in pixels; 0 for one side keeps the proportions, for both changes nothing."""
    if width == 0 and height == 0:
        return image
    old_height, old_width = image.shape[1:3]
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    return resize(image.movedim(-1, 1), width, height, upscale_method, crop).movedim(1, -1)


@node("ImageScaleBy", category="image/upscaling", display_name="Upscale Image By")
def scale_image_by(
    image: Image,
    upscale_method: ImageMethod,
    scale_by: Annotated[float, Meta(ge=0.01, le=8.0), Widget(default=1.0, step=0.01)],
) -> Image:
    """Resize by a factor."""
    width, height = (max(1, round(side * scale_by)) for side in (image.shape[2], image.shape[1]))
    return resize(image.movedim(-1, 1), width, height, upscale_method).movedim(1, -1)


@node("ImageInvert", category="image", display_name="Invert Image")
def invert_image(image: Image) -> Image:
    """The negative of a picture."""
    return 1.0 - image


@node("ImageBatch", category="image", display_name="Batch Images")
def join_images(image1: Image, image2: Image) -> Image:
    """Put two batches one after the other; the second is resized to the first."""
    if image1.shape[1:] != image2.shape[1:]:
        image2 = resize(image2.movedim(-1, 1), image1.shape[2], image1.shape[1], "bilinear", "center").movedim(1, -1)
    return torch.cat([image1, image2])


@node("ImageGrid", category="image", display_name="Image Grid")
def lay_out_images(images: Image) -> Image:
    """One picture that shows all of a batch in rows, on black."""
    return grid(images)


@node("ImageCrop", category="image/transform", display_name="Image Crop")
def crop_image(image: Image, width: Side, height: Side, x: Place, y: Place) -> Image:
    """Cut a rectangle out of a picture (pixels); what lies outside is left out."""
    left, top = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return image[:, top : top + height, left : left + width].clone()
