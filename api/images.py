"""Pictures at the doors: converting a result for an Accept header, checking and re-encoding an upload.

Pillow is imported when the first picture is touched, so that the server starts without it.
"""

import io
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.errors import FocalError

if TYPE_CHECKING:
    from PIL import Image

MEDIA_TYPES: dict[str, str] = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}
ACCEPTED: dict[str, str] = {  # exact Accept values → media type of the answer
    "image/png": "image/png",
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/webp": "image/webp",
}
FORMATS: dict[str, str] = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
UPLOAD_EXTENSIONS: dict[str, str] = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error)
"""What Pillow's readers raise for a file that is damaged or made to deceive."""
MAX_PIXELS = 64 * 10**6
QUALITY = 95


class BadImage(FocalError):
    """Bytes that are no picture we read, or one too large to decode."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_image", message, "Send a PNG, JPEG or WebP file of at most 64 megapixels.")


def accepted_type(accept: str) -> str | None:
    """The media type asked for when the header names exactly one picture type; None for lists and wildcards."""
    return ACCEPTED.get(accept.partition(";")[0].strip().lower())


def open_image(data: bytes, formats: Sequence[str] = tuple(UPLOAD_EXTENSIONS)) -> "Image.Image":
    """Decode the first frame of a picture completely. The size is checked before any pixel is decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=tuple(formats))
        if image.width * image.height > MAX_PIXELS:
            raise BadImage(f"The image has {image.width}x{image.height} pixels.")
        image.load()
    except UnidentifiedImageError as error:  # its text names only the buffer
        raise BadImage("The file is not an image that can be read: no known format.") from error
    except (Image.DecompressionBombError, *BROKEN) as error:
        raise BadImage(f"The file is not an image that can be read: {error}.") from error
    return image


def convert(data: bytes, media_type: str) -> bytes:
    """Encode a picture as another type, with its generation data; alpha is flattened to white for JPEG."""
    return encode(open_image(data), media_type)


def encode(image: "Image.Image", media_type: str) -> bytes:
    """Encode a decoded picture as PNG, JPEG or WebP at quality 95."""
    from PIL.PngImagePlugin import PngInfo

    out = io.BytesIO()
    text = {name: value for name, value in image.info.items() if isinstance(name, str) and isinstance(value, str)}
    match FORMATS[media_type]:
        case "PNG":
            info = PngInfo()
            for name, value in text.items():
                info.add_text(name, value)
            image.save(out, "PNG", pnginfo=info, compress_level=1)
        case "JPEG":
            flat = flattened(image)
            flat.save(out, "JPEG", quality=QUALITY, progressive=True, exif=_exif(image, text))
        case "WEBP":
            image.save(out, "WEBP", quality=QUALITY, exif=_exif(image, text))
    return out.getvalue()


def re_encoded(data: bytes) -> tuple[bytes, str]:
    """Check an upload by decoding it and write it anew, so that nothing but a picture is ever stored.

    Returns the bytes and the extension of their real format.
    """
    image = open_image(data)
    kind = image.format or "PNG"
    out = io.BytesIO()
    match kind:
        case "JPEG":
            image.save(out, "JPEG", quality="keep", exif=image.getexif())
        case "WEBP":
            image.save(out, "WEBP", lossless=True, exif=image.getexif())
        case _:
            out = io.BytesIO(encode(image, "image/png"))
    return out.getvalue(), UPLOAD_EXTENSIONS[kind]


def flattened(image: "Image.Image") -> "Image.Image":
    """The picture as RGB; what is transparent becomes white."""
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _exif(image: "Image.Image", text: dict[str, str]) -> "Image.Exif":
    """The picture's EXIF, or its PNG text in the tags where Fooocus keeps it (UserComment, MakerNote)."""
    exif = image.getexif()
    if "parameters" in text:
        exif[0x9286] = text["parameters"]
        exif[0x927C] = text.get("fooocus_scheme", "")
    return exif
