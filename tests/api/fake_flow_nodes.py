"""The node classes of image prompts, masks, enhancing and describing without torch: they work on Pillow pictures.

What steers a picture is remembered in the model's or the prompts' words; a mask is the left half, and a picture is
described by its own colour.
"""

import os
import time
from pathlib import Path
from typing import Annotated, Any

from PIL import Image, ImageOps

from engine.context import Context
from engine.node import node
from engine.types import Socket, Ui
from tests.api.fake_image_nodes import Mask
from tests.api.fake_nodes import Conditioning, Model, Picture

Loaded = Annotated[Any, Socket("LOADED")]


@node("ControlNetLoader", category="loaders")
def load_control(control_net_name: str) -> Loaded:
    """Pretend to load."""
    return control_net_name


@node("FitForControl", category="control")
def fit_for_control(image: Picture, like: Picture | None = None, width: int = 0, height: int = 0) -> Picture:
    """The size of the result."""
    return image.resize(like.size if like is not None else (width, height))


@node("PyraCanny", category="control")
def pyra_canny(image: Picture, low_threshold: int = 64, high_threshold: int = 128) -> Picture:
    """The negative."""
    return ImageOps.invert(image)


@node("CPDS", category="control")
def cpds(image: Picture) -> Picture:
    """Grey."""
    return image.convert("L").convert("RGB")


@node("ImageScale", category="image")
def scale(image: Picture, upscale_method: str, width: int, height: int, crop: str) -> Picture:
    """Resize."""
    return image.resize((width, height))


@node("ApplyControl", category="control", outputs=("positive", "negative"))
def apply_control(
    positive: Conditioning,
    negative: Conditioning,
    control_net: Loaded,
    image: Picture,
    weight: float,
    stop: float,
    softness: float,
) -> tuple[Conditioning, Conditioning]:
    """Add words."""
    words = f"{control_net}:{weight}:{stop}:{softness}"
    return [*positive, words], [*negative, words]


@node("CLIPVisionLoader", category="loaders")
def load_vision(clip_name: str) -> Loaded:
    """Pretend to load."""
    return clip_name


@node("ImagePromptLoader", category="loaders")
def load_adapter(adapter_name: str) -> Loaded:
    """Pretend to load."""
    return adapter_name


@node("FaceDetectorLoader", category="loaders")
def load_detector(detector_name: str) -> Loaded:
    """Pretend to load."""
    return detector_name


@node("CropFace", category="face")
def crop_face(face_detector: Loaded, image: Picture) -> Picture:
    """Keep it."""
    return image


@node("EncodeImagePrompt", category="conditioning")
def encode_prompt(clip_vision: Loaded, image: Picture) -> Loaded:
    """The middle's colour."""
    return image.getpixel((image.width // 2, image.height // 2))


@node("ApplyImagePrompt", category="model")
def apply_prompt(model: Model, adapter: Loaded, clip_vision_output: Loaded, weight: float, stop: float) -> Model:
    """Pretend to patch."""
    return f"{model}/{adapter}:{clip_vision_output}:{weight}:{stop}"


@node("MaskModelLoader", category="loaders")
def load_mask_model(model_name: str) -> Loaded:
    """Pretend to load."""
    return model_name


@node("MaskWithModel", category="mask")
def mask_with_model(mask_model: Loaded, image: Picture, category: str = "full") -> Mask:
    """White on the left half."""
    mask = Image.new("L", image.size, 0)
    mask.paste(255, (0, 0, image.width // 2, image.height))
    return mask


@node("TakeIfMasked", category="mask", outputs=("IMAGE", "CHANGED"))
def take_if_masked(original: Picture, mask: Mask, changed: Picture) -> tuple[Picture, Picture]:
    """The changed one."""
    return changed, changed


@node("MaskPreview", category="mask", output=True)
def preview_mask(context: Context, mask: Mask) -> Ui:
    """A file that may be gone later."""
    folder = Path(context.temp_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"mask_{time.monotonic_ns()}.png"
    mask.convert("RGB").save(path)
    return Ui({"images": [{"filename": path.name, "subfolder": "", "type": "temp"}]})


@node("CaptionerLoader", category="loaders")
def load_captioner(model_name: str, vocabulary: str) -> Loaded:
    """Pretend to load."""
    return model_name


@node("TaggerLoader", category="loaders")
def load_tagger(model_name: str, tags: str) -> Loaded:
    """Pretend to load."""
    return model_name


@node("DescribePhoto", category="describe")
def describe_photo(context: Context, captioner: Loaded, image: Picture) -> str:
    """The first pixel's colour, in a sentence. (9, 9, 9) ends the process, (8, 8, 8) only once, (7, 7, 7) raises."""
    colour = image.getpixel((0, 0))
    mark = Path(context.temp_dir) / "described.died"
    if colour == (9, 9, 9) or (colour == (8, 8, 8) and not mark.exists()):
        mark.touch()
        os._exit(9)
    if colour == (7, 7, 7):
        raise RuntimeError("nothing to be seen")
    return f"a picture of {image.getpixel((0, 0))}"


@node("DescribeAnime", category="describe")
def describe_anime(tagger: Loaded, image: Picture) -> str:
    """The first pixel's colour, in tags."""
    return ", ".join(map(str, image.getpixel((0, 0))))


@node("ShowText", category="utils/string", output=True)
def show_text(text: str) -> Ui:
    """Give it to the client."""
    return Ui({"text": [text]})


@node("SafetyCheckerLoader", category="loaders")
def load_checker(model_name: str) -> Loaded:
    """Pretend to load."""
    return model_name


@node("BlackOutUnsafe", category="image")
def black_out(safety_checker: Loaded, images: Picture) -> Picture:
    """Black."""
    return Image.new("RGB", _drawn(images).size)


@node("ImageBatch", category="image")
def batch(image1: Picture, image2: Picture) -> Picture:
    """A list."""
    return [*(image1 if isinstance(image1, list) else [image1]), image2]


@node("ImageGrid", category="image")
def grid(images: Picture) -> Picture:
    """In rows of two, on black."""
    pictures = [_drawn(image) for image in images]
    width, height = pictures[0].size
    sheet = Image.new("RGB", (2 * width, (len(pictures) + 1) // 2 * height))
    for number, image in enumerate(pictures):
        sheet.paste(image, (number % 2 * width, number // 2 * height))
    return sheet


def _drawn(picture: Picture) -> Image.Image:
    """What the decoder gives is a size and a colour."""
    if isinstance(picture, Image.Image):
        return picture
    return Image.new("RGB", (picture["width"] // 8, picture["height"] // 8), picture["colour"])
