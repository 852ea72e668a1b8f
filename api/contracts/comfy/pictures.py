"""GET /view and POST /upload/image: pictures out of and into the data folder."""

import hashlib
import io
import re
from pathlib import Path

from anyio import to_thread
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from api.errors import NotFound
from api.files import SAFE_HEADERS, picture, stored
from api.images import MEDIA_TYPES, encode, open_image, re_encoded
from api.json_response import Json
from api.services import Services, services
from engine.errors import FocalError

_ANNOTATED = re.compile(r"(.*\S)\s*\[(input|output|temp)\]")
_NAME = re.compile(r"[^\w .()\[\]+@#,=&-]")


class BadPath(FocalError):
    """A name that would lead out of the data folder, or is none."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_path", message, "Give a plain file name, and a subfolder below the data folder.")


async def view(request: Request) -> Response:
    """GET /view?filename=&type=&subfolder= → a stored picture; `preview` and `channel` re-encode it."""
    query = request.query_params
    name, kind = query.get("filename", ""), query.get("type", "output")
    if annotated := _ANNOTATED.fullmatch(name):
        name, kind = annotated[1], annotated[2]
    if not name:
        raise NotFound
    if name.startswith("/") or ".." in name:
        raise BadPath("The file name leads out of its folder.")
    path = stored(_folder(services(request), kind), *_parts(query.get("subfolder", "")), *_parts(name))
    channel, preview = query.get("channel", "rgba"), query.get("preview")
    if channel not in ("rgb", "a") and not preview:
        return picture(path)
    data, media_type = await to_thread.run_sync(_render, path, channel, preview)
    return Response(data, media_type=media_type, headers=SAFE_HEADERS)


async def upload_image(request: Request) -> Response:
    """POST /upload/image (multipart) → the stored name. The picture is decoded and written anew."""
    served = services(request)
    limit = served.settings.max_upload
    async with request.form(max_files=1, max_fields=16, max_part_size=limit) as form:
        sent = form.get("image")
        if not isinstance(sent, UploadFile) or not sent.filename:
            raise BadPath("The form has no file called image.")
        if sent.size is not None and sent.size > limit:
            raise BadPath(f"The file is larger than {limit} bytes.")
        data = await sent.read()
        kind = str(form.get("type") or "input")
        subfolder = str(form.get("subfolder") or "")
        overwrite = str(form.get("overwrite") or "").lower() in ("true", "1")
        folder = _folder(served, kind).joinpath(*_parts(subfolder))
        name = await to_thread.run_sync(_keep, folder, sent.filename, data, overwrite)
    return Json({"name": name, "subfolder": subfolder, "type": kind})


def _folder(served: Services, kind: str) -> Path:
    folders = {"output": served.outputs_dir, "input": served.input_dir, "temp": served.temp_dir}
    if kind not in folders:
        raise BadPath(f"There is no folder type {kind[:40]!r}; use output, input or temp.")
    return folders[kind]


def _parts(path: str) -> list[str]:
    """The steps of a relative path. Raises BadPath for what leads elsewhere."""
    parts = [part for part in path.replace("\\", "/").split("/") if part]
    if path.startswith(("/", "\\")) or any(part in (".", "..") or "\0" in part or ":" in part for part in parts):
        raise BadPath("The path leads out of its folder.")
    return parts


def _keep(folder: Path, filename: str, data: bytes, overwrite: bool) -> str:
    """Write a picture under a free name. The same picture sent again keeps its name and is not written."""
    content, extension = re_encoded(data)
    stem = _NAME.sub("_", Path(filename.replace("\\", "/")).stem).strip(". ")[:200] or "image"
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(content).digest()
    number = 0
    while True:
        name = f"{stem}.{extension}" if number == 0 else f"{stem} ({number}).{extension}"
        path = folder / name
        if not path.exists() or (overwrite and number == 0):
            temporary = path.with_name(f".{name}.part")
            temporary.write_bytes(content)
            temporary.replace(path)
            return name
        if path.is_file() and hashlib.sha256(path.read_bytes()).digest() == digest:
            return name
        number += 1


def _render(path: Path, channel: str, preview: str | None) -> tuple[bytes, str]:
    """The picture as a preview, or one of its channels as PNG. Returns bytes and media type."""
    from PIL import Image

    image = open_image(path.read_bytes())
    if preview:
        word, _, quality = preview.partition(";")
        media_type = MEDIA_TYPES.get(word if word == "jpeg" and "a" not in channel else "webp", "image/webp")
        out = io.BytesIO()
        mode = "RGB" if media_type == "image/jpeg" else "RGBA"
        percent = min(int(quality), 100) if re.fullmatch(r"\d{1,9}", quality) else 90
        image.convert(mode).save(out, media_type.partition("/")[2], quality=percent)
        return out.getvalue(), media_type
    if channel == "rgb":
        return encode(image.convert("RGB"), "image/png"), "image/png"
    black = Image.new("RGBA", image.size)
    black.putalpha(image.convert("RGBA").getchannel("A"))
    return encode(black, "image/png"), "image/png"
