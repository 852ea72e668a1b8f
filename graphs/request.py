"""What a caller can ask for, in neutral words, whichever contract it came by.

A field that is None was not given: it takes the preset's value (`graphs.resolve`). Everything else is a plain number,
word or list; nothing here depends on which files are installed.
"""

import random
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from engine.errors import FocalError
from graphs.request_parts import Enhance, FreeU, ImagePrompt, Inpaint, InputImage, Lora, Preprocessing

MAX_SEED = 2**63 - 1

SAMPLERS = (
    "euler", "euler_ancestral", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive",
    "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_3m_sde",
    "dpmpp_3m_sde_gpu", "ddpm", "lcm", "tcd", "restart", "ddim", "uni_pc", "uni_pc_bh2",
)  # fmt: skip
SCHEDULERS = (
    "normal", "karras", "exponential", "sgm_uniform", "simple", "ddim_uniform",
    "lcm", "turbo", "align_your_steps", "tcd", "edm_playground_v2.5",
)  # fmt: skip


class Refused(FocalError):
    """A request that cannot be carried out; `field` names the `GenerationRequest` field at fault."""

    def __init__(self, field: str, message: str, hint: str = "") -> None:
        super().__init__("request_refused", message, hint)
        self.field = field


# Smallest and largest value of the numbers of a request, as both contracts print them (API contract §2.1, §2.2).
LIMITS: dict[str, tuple[float, float]] = {
    "image_number": (1, 32),
    "first_image": (0, 10_000),
    "seed": (0, MAX_SEED),
    "sharpness": (0, 30),
    "guidance_scale": (1, 30),
    "refiner_switch": (0, 1),
    "clip_skip": (1, 12),
    "adaptive_cfg": (1, 30),
    "adm_scaler_positive": (0, 3),
    "adm_scaler_negative": (0, 3),
    "adm_scaler_end": (0, 1),
    "overwrite_step": (-1, 10_000),
    "overwrite_switch": (-1, 10_000),
    "upscale_value": (1, 5),
    "overwrite_vary_strength": (-1, 1),
    "overwrite_upscale_strength": (-1, 1),
}
MAX_PROMPT_CHARACTERS = 100_000
MAX_PROMPT_LINES = 400  # Each line, and each style, is a chunk that the text encoders read on its own.
MAX_STYLES = 300


class GenerationRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request for pictures. None means "not given": the preset decides.

    seed: 0..2**63 - 1, image i uses seed + i. None must be settled with `seeded` before compiling.
    first_image: the place of the first picture in its batch. With 2, and image_number 1, it is the third one alone.
    width, height: pixels, brought down to multiples of 8. Not used where an input image gives the size.
    overwrite_*: values above 0 replace what performance mode, size and method say.
    uov_method: what to do with input_image, one of `graphs.uov.METHODS`. upscale_value: the factor of Upscale (Custom).
    inpaint: what to repaint of input_image, where uov_method is Disabled.
    image_prompts: pictures that steer whatever flow this is; a request that carries them and an input image mixes both.
    enhance: stages that run on every picture of the flow, or on a picture of their own.
    generate_image_grid: one more picture that shows all others.
    save_folder: below the results, instead of the day's. save_by_time: files without a save_name are named by the time
    instead of the job.
    """

    prompt: str | None = None
    negative_prompt: str | None = None
    styles: Sequence[str] | None = None
    performance: str | None = None
    width: int | None = None
    height: int | None = None
    image_number: int | None = None
    first_image: int = 0
    seed: int | None = None
    preset: str | None = None

    sharpness: float | None = None
    guidance_scale: float | None = None
    base_model: str | None = None
    refiner_model: str | None = None
    refiner_switch: float | None = None
    loras: Sequence[Lora] | None = None
    vae: str | None = None
    clip_skip: int | None = None
    sampler: str | None = None
    scheduler: str | None = None
    adaptive_cfg: float | None = None

    adm_scaler_positive: float = 1.5
    adm_scaler_negative: float = 0.8
    adm_scaler_end: float = 0.3
    overwrite_step: int | None = None
    overwrite_switch: float | None = None
    overwrite_width: int = -1
    overwrite_height: int = -1
    refiner_swap_method: str = "joint"
    freeu: FreeU | None = None
    disable_seed_increment: bool = False
    read_wildcards_in_order: bool = False
    disable_preview: bool = False
    black_out_nsfw: bool = False

    input_image: InputImage | None = None
    uov_method: str = "Disabled"
    upscale_value: float | None = None
    overwrite_vary_strength: float = -1
    overwrite_upscale_strength: float = -1
    inpaint: Inpaint | None = None
    image_prompts: Sequence[ImagePrompt] = ()
    preprocessing: Preprocessing = Preprocessing()
    enhance: Enhance | None = None
    generate_image_grid: bool = False

    save_extension: Literal["png", "jpg", "jpeg", "webp"] | None = None
    save_name: str = ""
    save_folder: str = ""
    save_by_time: bool = False
    save_metadata: bool | None = None
    metadata_scheme: Literal["fooocus", "a1111"] | None = None
    created_by: str | None = None

    def check_limits(self) -> None:
        """Raise Refused for a number outside `LIMITS` (NaN is outside) and for more text than anyone writes."""
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise Refused(name, f"{name} is {value}.", f"It must lie between {low:g} and {high:g}.")
        for name in ("prompt", "negative_prompt"):
            text = getattr(self, name) or ""
            if len(text) > MAX_PROMPT_CHARACTERS or text.count("\n") >= MAX_PROMPT_LINES:
                limits = f"{MAX_PROMPT_CHARACTERS} characters and {MAX_PROMPT_LINES} lines"
                raise Refused(name, f"The {name.replace('_', ' ')} is too long.", f"At most {limits} are read.")
        if self.styles is not None and len(self.styles) > MAX_STYLES:
            raise Refused("styles", f"{len(self.styles)} styles were given.", f"At most {MAX_STYLES} can be used.")

    def seeded(self, draw: Callable[[], int] | None = None) -> "GenerationRequest":
        """Settle the seed: a missing or out-of-range one (−1 included) becomes a random number of 0..2**63 − 1."""
        if self.seed is not None and 0 <= self.seed <= MAX_SEED:
            return self
        return replace(self, seed=draw() if draw else random.SystemRandom().randint(0, MAX_SEED))
