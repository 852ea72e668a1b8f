"""From Fooocus-API's words to the neutral ones, for requests with an input image."""

from msgspec.structs import replace

from api.contracts.fooocus_api.image_schemas import Inpaint as InpaintBody
from api.contracts.fooocus_api.image_schemas import UpscaleVary, UpscaleVaryForm
from api.contracts.fooocus_api.schemas import AdvancedParams
from api.contracts.fooocus_api.translate import given, to_generation
from api.input_images import ReadImage
from api.settings import Settings
from graphs.inpaint_choice import ENGINES
from graphs.names import find_folded
from graphs.request import GenerationRequest, Inpaint, InputImage
from graphs.uov import DISABLED


def to_upscale_vary(
    body: UpscaleVary | UpscaleVaryForm, settings: Settings, image: InputImage, *, one_image: bool = False
) -> tuple[GenerationRequest, list[str]]:
    """Translate a body whose picture is stored. Returns the request and what will not be done."""
    advanced = body.advanced_params
    request = replace(
        to_generation(body, settings, one_image=one_image),
        input_image=image,
        uov_method=body.uov_method,
        upscale_value=given(body.upscale_value),
        overwrite_vary_strength=advanced.overwrite_vary_strength,
        overwrite_upscale_strength=advanced.overwrite_upscale_strength,
    )
    unused = "uov_method is Disabled: the picture is not used, only the prompt."
    return request, [unused] if body.uov_method == DISABLED else []


def to_inpaint(
    body: InpaintBody, settings: Settings, image: InputImage, mask: ReadImage | None, *, one_image: bool = False
) -> tuple[GenerationRequest, list[str]]:
    """Translate a body whose pictures are stored. A mask with nothing painted counts as none."""
    advanced, warnings = body.advanced_params, []
    if mask is not None and not mask.painted:
        warnings.append("Nothing in the mask is white: it counts as none.")
    # Clients send the default along with everything else, so it stands for the preset's engine.
    engine = None if advanced.inpaint_engine == AdvancedParams().inpaint_engine else advanced.inpaint_engine
    if engine is not None and find_folded(engine, ENGINES) is None:
        warnings.append(f"There is no inpaint engine {engine[:40]!r}; the preset's is used.")
        engine = None
    inpaint = Inpaint(
        mask=mask.stored.name if mask is not None and mask.painted else None,
        outpaint=given(body.outpaint_selections) or (),
        distances=(
            body.outpaint_distance_left,
            body.outpaint_distance_top,
            body.outpaint_distance_right,
            body.outpaint_distance_bottom,
        ),
        additional_prompt=body.inpaint_additional_prompt,
        strength=advanced.inpaint_strength,
        respective_field=advanced.inpaint_respective_field,
        erode_or_dilate=advanced.inpaint_erode_or_dilate,
        invert_mask=advanced.invert_mask_checkbox,
        engine=engine,
        disable_initial_latent=advanced.inpaint_disable_initial_latent,
        debug=advanced.debugging_inpaint_preprocessor,
    )
    request = to_generation(body, settings, one_image=one_image)
    return replace(request, input_image=image, inpaint=inpaint), warnings
