"""The node classes of the graphs that start from a picture, without torch: they work on Pillow pictures.

A varied picture has one colour and the input's size, an upscaled one is enlarged, a repainted one red in places.
"""

from pathlib import Path
from typing import Annotated, Any

from PIL import Image, ImageOps

from engine.context import Context
from engine.node import node
from engine.types import Socket
from tests.api.fake_nodes import Latent, Model, Picture, Vae

Mask = Annotated[Any, Socket("MASK")]
Upscaler = Annotated[Any, Socket("UPSCALE_MODEL")]
Area = Annotated[Any, Socket("INPAINT_AREA")]


def _latent(pixels: Image.Image) -> dict:
    return {"width": pixels.width * 8, "height": pixels.height * 8}


@node("LoadImage", category="image")
def load_image(context: Context, image: str) -> tuple[Picture, Mask]:
    """Open a picture of the input folder."""
    with Image.open(Path(context.input_dir) / image) as opened:
        return opened.convert("RGB"), None


@node("FitForVary", category="image")
def fit_for_vary(image: Picture, base_size: int = 1024) -> Picture:
    """Keep it."""
    return image


@node("UpscaleModelLoader", category="loaders")
def load_upscaler(model_name: str) -> Upscaler:
    """Pretend to load."""
    return model_name


@node("ImageUpscaleWithModel", category="image")
def enlarge(upscale_model: Upscaler, image: Picture) -> Picture:
    """Four times."""
    return image.resize((image.width * 4, image.height * 4))


@node("FitForUpscale", category="image")
def fit_for_upscale(image: Picture, original: Picture, factor: float = 2.0, base_size: int = 1024) -> Picture:
    """The size that was asked for."""
    return image.resize((round(original.width * factor), round(original.height * factor)))


@node("VAEEncode", category="latent")
def encode(pixels: Picture, vae: Vae) -> Latent:
    """Keep the size."""
    return _latent(pixels)


@node("VAEEncodeTiled", category="latent")
def encode_tiled(pixels: Picture, vae: Vae, tile_size: int, overlap: int) -> Latent:
    """Keep the size."""
    return _latent(pixels)


@node("VAEDecodeTiled", category="latent")
def decode_tiled(samples: Latent, vae: Vae, tile_size: int, overlap: int) -> Picture:
    """Give the colour."""
    return samples


@node("AssembleMask", category="inpaint")
def assemble_mask(
    image: Picture, mask_image: Picture | None = None, erode_or_dilate: int = 0, invert: bool = False
) -> Mask:
    """A black and white picture of the same size."""
    mask = mask_image.convert("L").resize(image.size) if mask_image is not None else Image.new("L", image.size)
    return ImageOps.invert(mask) if invert else mask


@node("PadForOutpaint", category="inpaint", outputs=("IMAGE", "MASK"))
def pad(image: Picture, mask: Mask, left: int, top: int, right: int, bottom: int) -> tuple[Picture, Mask]:
    """Extend the picture in grey and the mask in white."""
    border = (left, top, right, bottom)
    return ImageOps.expand(image, border, (128, 128, 128)), ImageOps.expand(mask, border, 255)


@node("CropForInpaint", category="inpaint", outputs=("IMAGE", "MASK", "INPAINT_AREA"))
def crop(
    image: Picture, mask: Mask, upscale_model: Upscaler = None, respective_field: float = 1.0, base_size: int = 1024
) -> tuple[Picture, Mask, Area]:
    """The whole picture."""
    return image, mask, (0, 0)


@node("FillMasked", category="inpaint")
def fill(image: Picture, mask: Mask) -> Picture:
    """Keep it."""
    return image


@node("MaskToImage", category="mask")
def mask_to_image(mask: Mask) -> Picture:
    """Show it."""
    return mask.convert("RGB")


@node("ApplyInpaintEngine", category="inpaint")
def apply_engine(model: Model, vae: Vae, image: Picture, mask: Mask, head: str, patch: str) -> Model:
    """Pretend to patch."""
    return f"{model}/{head}/{patch}"


@node("EncodeInpaint", category="inpaint")
def encode_inpaint(image: Picture, mask: Mask, vae: Vae, disable_initial_latent: bool = False) -> Latent:
    """Keep the size."""
    return _latent(image)


@node("PasteInpaint", category="inpaint")
def paste(image: Picture, generated: Picture, mask: Mask, area: Area) -> Picture:
    """Red where the mask is white."""
    return Image.composite(Image.new("RGB", image.size, "red"), image, mask)
