"""The parts of a request that have several values of their own: LoRAs, pictures, what to do with each of them."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct


class Lora(Struct, frozen=True):
    """One LoRA slot. `name` is a file name as listed; "" and "None" are empty slots."""

    name: str
    weight: float = 1.0
    enabled: bool = True

    @property
    def used(self) -> bool:
        return self.enabled and self.name not in ("", "None")


class InputImage(Struct, frozen=True):
    """A picture of the input folder: its name there, and its size in pixels, turned as its EXIF says."""

    name: str
    width: int
    height: int


class Inpaint(Struct, frozen=True, omit_defaults=True):
    """What to repaint of the input image, and how. `graphs.inpaint_choice` reads it.

    mask: the name of a picture in the input folder, white where to repaint. mask_size: its width and height in pixels,
    if they are to be checked. outpaint: sides to extend the picture by,
    of left, top, right, bottom. distances: pixels for left, top, right, bottom; what is not above 0 becomes 30 % of the
    picture. additional_prompt: put in front of the prompt. strength: share of the noise, 0..1. respective_field: 0
    shows the model only the surroundings of the mask, 1 the whole picture. erode_or_dilate: pixels to grow the mask by,
    negative to shrink. invert_mask: repaint the rest, after that. engine: None, v1, v2.5, v2.6; not given, the
    preset's. disable_initial_latent: start from nothing inside the mask. debug: only show fill, mask and area.
    """

    mask: str | None = None
    mask_size: tuple[int, int] | None = None
    outpaint: Sequence[str] = ()
    distances: tuple[int, int, int, int] = (0, 0, 0, 0)
    additional_prompt: str = ""
    strength: float = 1.0
    respective_field: float = 1.0
    erode_or_dilate: int = 0
    invert_mask: bool = False
    engine: str | None = None
    disable_initial_latent: bool = False
    debug: bool = False


class FreeU(Struct, frozen=True):
    """FreeU V2 factors: b1, b2 scale the backbone, s1, s2 the skip connections."""

    b1: float = 1.01
    b2: float = 1.02
    s1: float = 0.99
    s2: float = 0.95


ImagePromptType = Literal["ImagePrompt", "FaceSwap", "PyraCanny", "CPDS"]


class ImagePrompt(Struct, frozen=True, omit_defaults=True):
    """A picture that steers the result. `graphs.image_prompts` reads it.

    stop: share of the run after which it no longer acts, 0..1. weight: 0..2. Either None: what suits the type.
    """

    image: InputImage
    type: ImagePromptType = "ImagePrompt"
    stop: float | None = None
    weight: float | None = None


class Preprocessing(Struct, frozen=True, omit_defaults=True):
    """How image prompts are made ready. canny_low, canny_high: thresholds 1..255. softness: of ControlNets, 0..1.

    skip: the pictures are ready already. debug: only show what the preprocessors make.
    """

    canny_low: int = 64
    canny_high: int = 128
    softness: float = 0.25
    skip: bool = False
    debug: bool = False


class Masking(Struct, frozen=True, omit_defaults=True):
    """How a mask is found in a picture. `graphs.masks` reads it.

    model: one of `graphs.masks.MODELS`. prompt: what `sam` looks for, in words. cloth_category: full, upper, lower, of
    u2net_cloth_seg. sam_model: vit_b, vit_l, vit_h. box_threshold, text_threshold: of GroundingDINO, 0..1.
    max_detections: 0 is all. dino_erode_or_dilate: pixels to grow the boxes by. debug: show the boxes instead.
    """

    model: str = "isnet-general-use"
    prompt: str = ""
    cloth_category: str = "full"
    sam_model: str = "vit_b"
    box_threshold: float = 0.3
    text_threshold: float = 0.25
    max_detections: int = 0
    dino_erode_or_dilate: int = 0
    debug: bool = False


class EnhanceStage(Struct, frozen=True, omit_defaults=True):
    """One stage of enhancing: find a mask, repaint it. Empty prompts stand for those of the request.

    The inpaint settings mean what they mean in `Inpaint`; `invert_mask` turns the found mask round.
    """

    masking: Masking = Masking(model="sam")
    prompt: str = ""
    negative_prompt: str = ""
    disable_initial_latent: bool = False
    engine: str | None = None
    strength: float = 1.0
    respective_field: float = 0.618
    erode_or_dilate: int = 0
    invert_mask: bool = False


class Enhance(Struct, frozen=True, omit_defaults=True):
    """What to do to each finished picture, or to the picture given here. `graphs.enhance` reads it.

    uov_order, uov_prompt_type: Fooocus' words (behaviour §1.3). save_final_only: stages before the last are not kept.
    show_masks: each stage's mask is a picture of the answer as well, in front of what the stage made.
    """

    image: InputImage | None = None
    stages: Sequence[EnhanceStage] = ()
    uov_method: str = "Disabled"
    uov_order: str = "Before First Enhancement"
    uov_prompt_type: str = "Original Prompts"
    save_final_only: bool = False
    show_masks: bool = False
