"""Pictures that come inside requests: uploaded, as base64, as a data URI or as an address; kept as PNG.

What is stored is never what was sent: the picture is decoded, turned as its EXIF says, laid on white where it is
transparent, and written anew under the SHA-256 of the new file, so that the same picture is kept once.
"""

import base64
import binascii
import hashlib
import io
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from msgspec import Struct

from api.decode import Loc
from api.errors import Fault, InvalidRequest, shown
from api.images import BROKEN, BadImage, flattened, open_image
from api.services import Services
from graphs.request import InputImage

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
ADVICE = "Send a PNG, JPEG, WebP, BMP, GIF or TIFF of at most 64 megapixels."
PLACEHOLDERS = frozenset({"", "none", "null", "string", "undefined"})
SELECTED_OVER = 127
DECODED_AT_ONCE = threading.BoundedSemaphore(2)  # a picture of 64 megapixels takes some 500 MB while it is turned
_DATA_URI = re.compile(r"data:[^,]{0,200}?;base64,", re.IGNORECASE)
_SPACE = re.compile(rb"\s+")


class ReadImage(Struct, frozen=True):
    """A stored picture. painted: whether anything in it counts as selected, if it is a mask."""

    stored: InputImage
    painted: bool


def is_absent(value: Any) -> bool:
    """Whether a field holds no picture: not given, or one of the words that clients leave there."""
    return value is None or (isinstance(value, str | bytes) and _words(value) in PLACEHOLDERS)


async def read_image(value: Any, loc: Loc, served: Services, *, mask: bool = False) -> ReadImage:
    """Get, check and store a picture. Raises InvalidRequest naming the field for anything that is none.

    value: bytes of a file, or text with base64, a data URI or an http(s) address. mask: transparency may be what
    was painted.
    """
    if is_absent(value):
        raise InvalidRequest([Fault("missing", loc, "Field required", value if isinstance(value, str) else None)])
    if not isinstance(value, str | bytes):
        raise InvalidRequest([Fault("string_type", loc, "Input should be a valid string", shown(value))])
    try:
        data = await _bytes_of(value, served)
        return await to_thread.run_sync(_store, data, served.input_dir, mask)
    except BadImage as error:
        raise _refused(loc, value, f"{error.message} {ADVICE}") from error


class Reader:
    """Reads the pictures of one request and keeps the faults of all of them, until `check` raises them."""

    def __init__(self, served: Services) -> None:
        self._served = served
        self._faults: list[Fault] = []

    async def read(self, value: Any, loc: Loc, *, mask: bool = False, required: bool = False) -> ReadImage | None:
        """A picture, or None when there is none, or none that can be read."""
        if is_absent(value) and not required:
            return None
        try:
            return await read_image(value, loc, self._served, mask=mask)
        except InvalidRequest as refused:
            self._faults += refused.faults
            return None

    def check(self) -> None:
        """Raise InvalidRequest for everything that could not be read."""
        if self._faults:
            raise InvalidRequest(self._faults)


def _words(value: str | bytes) -> str:
    text = value[:20].decode("ascii", "replace") if isinstance(value, bytes) else value[:20]
    return text.strip().lower() if len(value) < 20 else "a picture"


def _refused(loc: Loc, value: str | bytes, cause: str) -> InvalidRequest:
    given = shown(value) if isinstance(value, str) else f"<{len(value)} bytes>"
    return InvalidRequest([Fault("value_error", loc, f"Value error, {cause}", given, {"error": cause})])


async def _bytes_of(value: str | bytes, served: Services) -> bytes:
    if isinstance(value, bytes):
        return value
    text = value.strip()
    if text[:8].lower().startswith(("http://", "https://")):
        from api.fetch import CannotFetch, fetch  # the HTTP client comes with the first address

        try:
            return await fetch(text, served.settings)
        except CannotFetch as error:
            raise BadImage(f"The address gave no picture: {error}.") from error
    return await to_thread.run_sync(_from_base64, text)


def _from_base64(text: str) -> bytes:
    """Both alphabets, with or without padding, line breaks anywhere."""
    if match := _DATA_URI.match(text):
        text = text[match.end() :]
    try:
        packed = _SPACE.sub(b"", text.encode("ascii")).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise BadImage("The text is neither base64 nor an http address.") from error


def _store(data: bytes, folder: Path, mask: bool) -> ReadImage:
    with DECODED_AT_ONCE:
        image = _upright(open_image(data, FORMATS))
        image = _painted_alpha(image) if mask else flattened(image)
        painted = not mask or _is_painted(image)
        out = io.BytesIO()
        image.info = {}
        image.save(out, "PNG", compress_level=1)
    content = out.getvalue()
    name = f"{hashlib.sha256(content).hexdigest()}.png"
    path = folder / name
    if path.exists():
        path.touch()  # it is wanted again: retention counts from now
    else:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{name}.{os.getpid()}.{threading.get_ident()}.part"
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # the job that needs it is on the disk before its id is answered
        temporary.replace(path)
    return ReadImage(InputImage(name, image.width, image.height), painted)


def _upright(image: "Image.Image") -> "Image.Image":
    """Turned as the EXIF says, and with 8 bits per channel."""
    from PIL import ImageOps

    if image.mode.startswith("I"):  # 16 bits; Pillow would cut instead of scale
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    try:
        return ImageOps.exif_transpose(image)
    except BROKEN as error:
        raise BadImage(f"The EXIF data cannot be read: {error}.") from error


def _painted_alpha(image: "Image.Image") -> "Image.Image":
    """A mask as RGB. Where only the transparency says something, what is opaque was painted."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        *colours, alpha = rgba.split()
        low, high = _extremes(alpha)
        if low != high and all(len(set(_extremes(colour))) == 1 for colour in colours):
            return alpha.convert("RGB")
    return flattened(image)


def _is_painted(mask: "Image.Image") -> bool:
    """Whether any pixel's mean or red is above 127, as the mask is read later."""
    mean = mask.convert("L", matrix=(1 / 3, 1 / 3, 1 / 3, 0.4))  # rounds 127 1/3 up and 127 down
    return max(_extremes(mean)[1], _extremes(mask.getchannel("R"))[1]) > SELECTED_OVER


def _extremes(band: "Image.Image") -> tuple[int, int]:
    low, high = band.getextrema()
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    return int(low), int(high)
