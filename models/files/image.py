"""Pictures in and out: tensors to files with their metadata, untrusted files to tensors.

IMAGE is float32 (B, H, W, 3) in 0..1; MASK is float32 (B, H, W), 1 = transparent = to be repainted (1 - alpha).
"""

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from torch import Tensor

from models.errors import ModelError
from models.files.png import encode_png

EXTENSIONS = ("png", "jpg", "jpeg", "webp")
FORMATS = ("PNG", "JPEG", "WEBP")
"""What is opened. Pillow's other readers have had too many holes to be shown a stranger's file."""

MAX_PIXELS = 64_000_000
MAX_BYTES = 32 * 2**20
EMPTY_MASK = 64  # side of the mask of a picture without alpha, ComfyUI's convention

_QUALITY = 95  # Fooocus' for both lossy formats
_EXIF_LIMIT = 65_000  # a JPEG segment ends at 65533 bytes
_USER_COMMENT, _MAKER_NOTE, _SOFTWARE, _MODEL, _MAKE = 0x9286, 0x927C, 0x0131, 0x0110, 0x010F
_EXIF_TAGS = {"parameters": _USER_COMMENT, "fooocus_scheme": _MAKER_NOTE, "prompt": _MODEL, "workflow": _MAKE}
_PREFIXED = ("prompt", "workflow")  # ComfyUI writes "prompt:{json}" into a tag that means something else

log = logging.getLogger(__name__)


class BadImage(ModelError):
    """A file that is no picture that can be read: damaged, too large, or of another format."""

    code = "bad_image"


def to_uint8(image: Tensor) -> np.ndarray:
    """Turn (..., C) in 0..1 into uint8, cut, not rounded, as ComfyUI and Fooocus do."""
    return image.detach().mul(255.0).clamp(0, 255).to(torch.uint8).cpu().numpy()


def encode_image(pixels: np.ndarray, extension: str, texts: Mapping[str, str] | None = None) -> bytes:
    """Return pixels (H, W, C) uint8 as a file. texts: PNG text chunks; in JPEG and WebP the known ones go into EXIF."""
    if extension == "png":
        return encode_png(pixels, texts)
    picture = Image.fromarray(pixels).convert("RGB")
    exif = _exif(texts or {})
    out = io.BytesIO()
    if extension == "webp":
        picture.save(out, "WEBP", quality=_QUALITY, exif=exif)
    elif extension in ("jpg", "jpeg"):
        picture.save(out, "JPEG", quality=_QUALITY, optimize=True, progressive=True, exif=exif)
    else:
        raise ValueError(f"pictures are saved as {', '.join(EXTENSIONS)}, not {extension!r}")
    return out.getvalue()


def _exif(texts: Mapping[str, str]) -> bytes:
    """Lay the texts that fit into EXIF; the generation's parameters come before the graph."""
    exif = Image.Exif()
    if texts:
        exif[_SOFTWARE] = "Focal"
    for key, tag in _EXIF_TAGS.items():
        if key not in texts:
            continue
        text = f"{key}:{texts[key]}" if key in _PREFIXED else texts[key]
        if len(exif.tobytes()) + len(text.encode("utf-8", "replace")) > _EXIF_LIMIT:
            log.warning("The metadata %r is too long for EXIF and was left out of the file; PNG has room for it.", key)
            continue
        # Pillow writes str as ASCII and would turn other letters into "?".
        exif[tag] = text if text.isascii() else text.encode("utf-8", "replace")
    return exif.tobytes() if len(exif) else b""


def load_image(source: Path | bytes) -> tuple[Tensor, Tensor]:
    """Return IMAGE (B, H, W, 3) and MASK of a picture; B is the number of frames, those of another size left out.

    EXIF rotation is applied. Without alpha the mask is zeros (B, 64, 64). Raises BadImage.
    """
    images, masks = [], []
    for frame in _frames(source):
        if images and images[0].shape[:2] != (frame.height, frame.width):
            continue
        images.append(torch.from_numpy(_rgb(frame)))
        masks.append(_transparency(frame))
    return torch.stack(images), torch.stack(masks)


def _frames(source: Path | bytes) -> Iterator[Image.Image]:
    name = source.name if isinstance(source, Path) else "image"
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    if size > MAX_BYTES:
        raise BadImage(f"{name} has {size} bytes.", f"Pictures of up to {MAX_BYTES} bytes are read.")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS) as picture:
                frames = getattr(picture, "n_frames", 1)
                if picture.width * picture.height * frames > MAX_PIXELS:
                    fault = f"{name} is {picture.width} x {picture.height} with {frames} frames."
                    raise BadImage(fault, f"Pictures of up to {MAX_PIXELS} pixels are read.")
                for frame in ImageSequence.Iterator(picture):
                    yield ImageOps.exif_transpose(frame)
        except UnidentifiedImageError as fault:
            raise BadImage(f"{name} is no picture in {', '.join(FORMATS)}.", "Convert it to one of these.") from fault
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
            raise BadImage(f"{name} is too large.", f"Pictures of up to {MAX_PIXELS} pixels are read.") from fault
        except (OSError, SyntaxError, ValueError, EOFError) as fault:  # what Pillow raises for damaged files
            raise BadImage(f"{name} is damaged: {fault}.", "Save the picture again.") from fault


def _rgb(frame: Image.Image) -> np.ndarray:
    if frame.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would cut it at 255
        grey = np.asarray(frame, dtype=np.float32) / 65535.0
        return np.repeat(grey[..., None].clip(0.0, 1.0), 3, axis=-1)
    return np.asarray(frame.convert("RGB"), dtype=np.float32) / 255.0


def _transparency(frame: Image.Image) -> Tensor:
    if "A" not in frame.getbands() and "transparency" not in frame.info:
        return torch.zeros(EMPTY_MASK, EMPTY_MASK)
    alpha = np.asarray(frame.convert("RGBA").getchannel("A"), dtype=np.float32) / 255.0
    return 1.0 - torch.from_numpy(alpha)
