"""Pictures to files. Encoding and writing happen in threads while the next picture is sampled."""

import asyncio
import json
import secrets
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from engine.context import Context
from engine.node import node
from engine.types import Ui, Widget
from models.files.image import encode_image, to_uint8
from models.files.output import next_counter, safe_name, split_prefix, write_file, write_next
from nodes.sockets import Image, Mask


@node("SaveGeneration", category="image", output=True, cacheable=False)
async def save_generation(
    images: Image,
    context: Context,
    name: str = "",
    index: Annotated[int, Meta(ge=0)] = 0,
    extension: Literal["png", "jpg", "jpeg", "webp"] = "png",
    metadata: str = "",
    scheme: str = "",
    folder: str = "",
    by_time: bool = False,
) -> Ui:
    """Save the pictures of a generation as `<day>/<name>-<index>.<extension>` in the output folder.

    name: the job's id when empty; a name of the client's that is taken gets -1, -2 … behind it. folder: instead of the
    day's. by_time: without a name the file is called by the time and four digits, as Fooocus does. metadata: what the
    picture was made with, as `scheme` (fooocus or a1111) writes it; it goes into the file together with the graph.
    Without it the file carries nothing but the picture.
    """
    texts = {"parameters": metadata, "fooocus_scheme": scheme, "prompt": _graph_json(context)} if metadata else {}
    subfolder = safe_name(folder) if folder else time.strftime("%Y-%m-%d")
    stem = safe_name(name or context.job_id)

    def write(number: int, pixels: Any) -> dict[str, str]:
        place, data = context.output_dir / subfolder, encode_image(to_uint8(pixels), extension, texts)
        filename = f"{stem}-{number}.{extension}"
        if name:
            filename, _ = write_next(place, lambda n: f"{stem}-{number}{f'-{n}' if n else ''}.{extension}", 0, data)
        elif by_time:
            moment, first = time.strftime("%Y-%m-%d_%H-%M-%S"), 1000 + secrets.randbelow(9000)
            filename, _ = write_next(place, lambda n: f"{moment}_{n}.{extension}", first, data)
        else:  # the job's own name: a second attempt of the job replaces what the first one left
            write_file(place / filename, data)
        return {"filename": filename, "subfolder": subfolder, "type": "output"}

    writing = [asyncio.to_thread(write, number, pixels) for number, pixels in enumerate(images, start=index)]
    return Ui({"images": await asyncio.gather(*writing)})


@node("SaveImage", category="image", display_name="Save Image", output=True)
async def save_image(images: Image, filename_prefix: Annotated[str, Widget(default="ComfyUI")], context: Context) -> Ui:
    """Save pictures as PNG in the output folder, numbered, with the graph inside.

    filename_prefix: may have subfolders and %width%, %height%, %year%, %month%, %day%, %hour%, %minute%, %second%,
    %batch_num%.
    """
    return await _save_numbered(images, context, filename_prefix, context.output_dir, "output")


@node("PreviewImage", category="image", display_name="Preview Image", output=True)
async def preview_image(images: Image, context: Context) -> Ui:
    """Save pictures in the temporary folder, to be looked at."""
    prefix = f"ComfyUI_temp_{secrets.token_hex(3)}"
    return await _save_numbered(images, context, prefix, context.temp_dir, "temp")


@node("MaskPreview", category="mask", display_name="Preview Mask", output=True)
async def preview_mask(mask: Mask, context: Context) -> Ui:
    """Save masks as grey pictures in the temporary folder, to be looked at."""
    images = mask.reshape(-1, *mask.shape[-2:], 1).expand(-1, -1, -1, 3)
    return await _save_numbered(images, context, f"ComfyUI_temp_{secrets.token_hex(3)}", context.temp_dir, "temp")


async def _save_numbered(images: Any, context: Context, prefix: str, root: Path, kind: str) -> Ui:
    texts = {"prompt": _graph_json(context)}
    texts |= {key: json.dumps(value) for key, value in (context.extra.get("extra_pnginfo") or {}).items()}
    subfolder, stem = split_prefix(prefix, width=images.shape[2], height=images.shape[1])

    def write() -> list[dict[str, Any]]:
        folder, saved = root / subfolder, []
        counter = next_counter(folder, stem)
        for number, pixels in enumerate(images):
            numbered = stem.replace("%batch_num%", str(number))
            data = encode_image(to_uint8(pixels), "png", texts)
            filename, counter = write_next(folder, lambda n, s=numbered: f"{s}_{n:05}_.png", counter, data)
            saved.append({"filename": filename, "subfolder": subfolder, "type": kind})
            counter += 1
        return saved

    return Ui({"images": await asyncio.to_thread(write)})


def _graph_json(context: Context) -> str:
    return json.dumps(context.prompt)
