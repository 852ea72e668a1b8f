"""From the words that both contracts share to the neutral request: advanced settings, image prompts, stages, masks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from api.decode import Bounds
from api.errors import Fault, InvalidRequest, shown
from api.fields import Advanced, EnhanceStage, GenerateMask, ImagePrompt, Lora
from api.input_images import ReadImage
from graphs import request_parts as parts
from graphs.catalog import Catalog
from graphs.inpaint_choice import ENGINES
from graphs.names import UnknownName, did_you_mean, find_folded
from graphs.request import Refused

SWAP_METHODS = ("joint", "separate", "vae")
# Part of an enhance stage, as builders name what they refuse → its field.
STAGE_FIELDS: dict[str, str] = {
    "masking.model": "enhance_mask_model",
    "masking.prompt": "enhance_mask_dino_prompt",
    "masking.cloth_category": "enhance_mask_cloth_category",
    "masking.sam_model": "enhance_mask_sam_model",
    "masking.box_threshold": "enhance_mask_box_threshold",
    "masking.text_threshold": "enhance_mask_text_threshold",
    "masking.max_detections": "enhance_mask_sam_max_detections",
    "engine": "enhance_inpaint_engine",
    "strength": "enhance_inpaint_strength",
    "respective_field": "enhance_inpaint_respective_field",
    "erode_or_dilate": "enhance_inpaint_erode_or_dilate",
}
_STAGE = re.compile(r"enhance\.stages\.(\d+)\.(.+)")
DEFAULT_ENGINE = "v2.6"  # clients send it along with everything else, so it stands for the preset's engine
PLAIN_PROMPT = "ImagePrompt"


def given(value: Any) -> Any:
    """None for a field that was not given."""
    return None if isinstance(value, UnsetType) else value


def loras(sent: Sequence[Lora] | UnsetType) -> list[parts.Lora] | None:
    """The slots in order; None when the field was not given."""
    return None if isinstance(sent, UnsetType) else [parts.Lora(s.model_name, s.weight, s.enabled) for s in sent]


def bounds(catalog: Catalog) -> Bounds:
    """Ranges that the preset in force sets instead of the schema, for `api.decode`."""
    preset = catalog.preset_in_force
    return {"Lora.weight": (preset.loras_min_weight, preset.loras_max_weight)}


def advanced(sent: Advanced, scalers: Mapping[str, float], warnings: list[str]) -> dict[str, Any]:
    """The fields of a GenerationRequest that advanced settings fill. scalers: adm_scaler_… when not given."""
    freeu = parts.FreeU(sent.freeu_b1, sent.freeu_b2, sent.freeu_s1, sent.freeu_s2)
    return {
        **{name: default if getattr(sent, name) is UNSET else getattr(sent, name) for name, default in scalers.items()},
        "refiner_swap_method": listed("refiner_swap_method", sent.refiner_swap_method, SWAP_METHODS, "joint", warnings),
        "adaptive_cfg": given(sent.adaptive_cfg),
        "clip_skip": given(sent.clip_skip),
        "sampler": given(sent.sampler_name),
        "scheduler": given(sent.scheduler_name),
        "vae": given(sent.vae_name),
        "overwrite_step": sent.overwrite_step if sent.overwrite_step > 0 else None,
        "overwrite_switch": sent.overwrite_switch if sent.overwrite_switch > 0 else None,
        "overwrite_width": sent.overwrite_width,
        "overwrite_height": sent.overwrite_height,
        "overwrite_vary_strength": sent.overwrite_vary_strength,
        "overwrite_upscale_strength": sent.overwrite_upscale_strength,
        "freeu": freeu if sent.freeu_enabled else None,
        "disable_preview": sent.disable_preview,
        "disable_seed_increment": sent.disable_seed_increment,
        "black_out_nsfw": sent.black_out_nsfw,
        "generate_image_grid": sent.generate_image_grid,
        "preprocessing": parts.Preprocessing(
            canny_low=sent.canny_low_threshold,
            canny_high=sent.canny_high_threshold,
            softness=sent.controlnet_softness,
            skip=sent.skipping_cn_preprocessor,
            debug=sent.debugging_cn_preprocessor,
        ),
    }


def image_prompts(
    sent: Sequence[tuple[ImagePrompt, parts.InputImage]], absent: tuple[float, float]
) -> list[parts.ImagePrompt]:
    """Image prompts whose pictures are stored. absent: stop and weight of a plain one that says neither."""
    return [
        parts.ImagePrompt(
            image,
            prompt.cn_type,
            _number(prompt.cn_stop, absent[0], prompt.cn_type),
            _number(prompt.cn_weight, absent[1], prompt.cn_type),
        )
        for prompt, image in sent
    ]


def inpaint(
    sent: Advanced,
    mask: ReadImage | None,
    sides: Sequence[str],
    distances: tuple[int, int, int, int],
    additional_prompt: str,
    warnings: list[str],
) -> parts.Inpaint:
    """What to repaint. distances: left, top, right, bottom. A mask with nothing painted counts as none."""
    if mask is not None and not mask.painted:
        warnings.append("Nothing in the mask is white: it counts as none.")
        mask = None
    return parts.Inpaint(
        mask=mask.stored.name if mask is not None else None,
        mask_size=(mask.stored.width, mask.stored.height) if mask is not None else None,
        outpaint=sides,
        distances=distances,
        additional_prompt=additional_prompt,
        strength=sent.inpaint_strength,
        respective_field=sent.inpaint_respective_field,
        erode_or_dilate=sent.inpaint_erode_or_dilate,
        invert_mask=sent.invert_mask_checkbox,
        engine=_engine(sent.inpaint_engine, warnings),
        disable_initial_latent=sent.inpaint_disable_initial_latent,
        debug=sent.debugging_inpaint_preprocessor,
    )


def enhance_stages(sent: Sequence[EnhanceStage], settings: Advanced, warnings: list[str]) -> list[parts.EnhanceStage]:
    """The stages that are switched on, but for those that look for words and are given none."""
    stages = []
    for number, stage in enumerate(sent, start=1):
        if _runs(stage):
            stages.append(enhance_stage(stage, settings, warnings))
        elif stage.enhance_enabled:
            warnings.append(f"Enhancement {number} was left out: enhance_mask_dino_prompt does not say what to find.")
    return stages


def stage_field(field: str, sent: Sequence[EnhanceStage]) -> tuple[int, str] | None:
    """Which of the stages that were sent, and which field of it, a refused part of a request came from."""
    match = _STAGE.fullmatch(field)
    running = [index for index, stage in enumerate(sent) if _runs(stage)]
    if match is None or match[2] not in STAGE_FIELDS or int(match[1]) >= len(running):
        return None
    return running[int(match[1])], STAGE_FIELDS[match[2]]


def _runs(stage: EnhanceStage) -> bool:
    is_blind = stage.enhance_mask_model == "sam" and not stage.enhance_mask_dino_prompt.strip()
    return stage.enhance_enabled and not is_blind


def enhance_stage(sent: EnhanceStage, settings: Advanced, warnings: list[str]) -> parts.EnhanceStage:
    """One stage; what it looks for is steered by the advanced settings too."""
    return parts.EnhanceStage(
        masking=parts.Masking(
            model=sent.enhance_mask_model,
            prompt=sent.enhance_mask_dino_prompt,
            cloth_category=sent.enhance_mask_cloth_category,
            sam_model=sent.enhance_mask_sam_model,
            box_threshold=sent.enhance_mask_box_threshold,
            text_threshold=sent.enhance_mask_text_threshold,
            max_detections=sent.enhance_mask_sam_max_detections,
            dino_erode_or_dilate=settings.dino_erode_or_dilate,
            debug=settings.debugging_dino,
        ),
        prompt=sent.enhance_prompt,
        negative_prompt=sent.enhance_negative_prompt,
        disable_initial_latent=sent.enhance_inpaint_disable_initial_latent,
        engine=_engine(sent.enhance_inpaint_engine, warnings),
        strength=sent.enhance_inpaint_strength,
        respective_field=sent.enhance_inpaint_respective_field,
        erode_or_dilate=sent.enhance_inpaint_erode_or_dilate,
        invert_mask=sent.enhance_mask_invert,
    )


def masking(sent: GenerateMask) -> parts.Masking:
    """How /v1/tools/generate_mask is to find its mask."""
    return parts.Masking(
        model=sent.mask_model,
        prompt=sent.dino_prompt_text,
        cloth_category=sent.cloth_category,
        sam_model=sent.sam_model,
        box_threshold=sent.box_threshold,
        text_threshold=sent.text_threshold,
        max_detections=sent.sam_max_detections,
        dino_erode_or_dilate=sent.dino_erode_or_dilate,
        debug=sent.dino_debug,
    )


def refused_field(refused: Refused, body: Any, wire: Sequence[str | int]) -> InvalidRequest:
    """Name the body's own field for what a builder refused. wire: the way to it from the body."""
    value: Any = body
    for name in wire:
        value = value[name] if isinstance(name, int) else getattr(value, name, None)
    sent = None if isinstance(value, UnsetType) else msgspec.to_builtins(value)
    msg = f"Value error, {refused.message} {refused.hint}".strip()
    return InvalidRequest([Fault("value_error", ("body", *wire), msg, shown(sent), {"error": refused.message})])


def listed(field: str, asked: str, names: Sequence[str], default: str, warnings: list[str]) -> str:
    """A name in any case; an unknown one becomes the default, with a warning."""
    found = find_folded(asked, names)
    if found is None:
        near = did_you_mean(asked, names)
        warnings.append(UnknownName(field, f"There is no {field} {asked[:40]!r}; {default!r} is used.{near}"))
    return found or default


def _engine(asked: str, warnings: list[str]) -> str | None:
    if asked == DEFAULT_ENGINE:
        return None
    found = find_folded(asked, ENGINES)
    if found is None:
        text = f"There is no inpaint engine {asked[:40]!r}; the preset's is used.{did_you_mean(asked, ENGINES)}"
        warnings.append(UnknownName("inpaint.engine", text))
    return found


def _number(sent: float | UnsetType | None, absent: float, type: str) -> float | None:
    """null and 0 mean what suits the type; the contract's own number is meant for plain image prompts."""
    if isinstance(sent, UnsetType):
        return absent if type == PLAIN_PROMPT else None
    return sent or None
