"""A picture's file read back: the request that makes it again (Fooocus behaviour §7.5).

PNG, JPEG and WebP, whether Focal, Fooocus or AUTOMATIC1111's web UI wrote them. Nothing in a file is executed; what
cannot be understood is left out.
"""

import io
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from graphs.metadata import MAX_CHARACTERS, read
from graphs.request import GenerationRequest
from graphs.styles import StyleBook

FORMATS = ("PNG", "JPEG", "WEBP")
_USER_COMMENT, _EXIF_FOLDER = 0x9286, 0x8769
_CHARSETS = {b"ASCII\0\0\0": "ascii", b"UNICODE\0": "utf-16", b"JIS\0\0\0\0\0": "iso2022_jp", b"\0" * 8: "utf-8"}


def read_picture(data: bytes, styles: StyleBook | None = None) -> GenerationRequest | None:
    """The request behind a picture's file; None when the file says nothing that can be read.

    styles: as in `graphs.metadata.read`.
    """
    said = parameters(data)
    request = read(said, styles) if said else None
    return replace(request, image_number=1) if request else None


def parameters(data: bytes) -> str | None:
    """The text that a PNG carries as `parameters`, a JPEG or WebP as its EXIF user comment."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            text = picture.info.get("parameters")
            if not isinstance(text, str):
                exif = picture.getexif()
                text = _user_comment(exif) or _user_comment(exif.get_ifd(_EXIF_FOLDER))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError):
        return None
    return text if text and len(text) <= MAX_CHARACTERS else None


def _user_comment(tags: Mapping[int, Any]) -> str | None:
    """EXIF's user comment: eight bytes name the alphabet; Fooocus and Focal leave them out."""
    comment = tags.get(_USER_COMMENT)
    if isinstance(comment, str):
        return comment
    if not isinstance(comment, bytes):
        return None
    charset = _CHARSETS.get(comment[:8])
    if charset is None:
        return comment.decode("utf-8", "replace")
    text = comment[8:]
    if charset == "utf-16" and text[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        charset = "utf-16-be" if text[:1] == b"\0" else "utf-16-le"  # no mark: most text is Latin letters
    return text.decode(charset, "replace")
