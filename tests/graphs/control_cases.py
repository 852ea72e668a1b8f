"""Golden cases of image prompts that control: every flow, every setting."""

import dataclasses

from msgspec.structs import replace

from graphs.catalog import Catalog
from graphs.request import GenerationRequest, Inpaint, InputImage
from graphs.request_parts import ImagePrompt, Preprocessing

PHOTO = InputImage("photo.png", 800, 600)
SMALL = InputImage("a.png", 128, 96)
POSE = InputImage("poses/pose.png", 640, 480)
DEPTH = InputImage("depth.png", 512, 512)
REAL = ("canny/control-lora-canny-rank128.safetensors", "fooocus_xl_cpds_128.safetensors")
EMBEDDED = ("focal-tiny-control-canny.safetensors", "focal-tiny-control-cpds.safetensors")


def control_cases(catalog: Catalog, tiny: Catalog) -> dict[str, tuple[GenerationRequest, Catalog]]:
    """Requests and what is installed, by the name of their file. CPDS comes after PyraCanny, whatever the order."""
    real = with_controlnets(catalog, REAL)
    embedded = with_controlnets(tiny, EMBEDDED)
    both = [ImagePrompt(DEPTH, "CPDS", stop=0.8, weight=0.4), ImagePrompt(POSE, "PyraCanny")]
    one = GenerationRequest(prompt="a cat", seed=7, styles=[], image_prompts=[ImagePrompt(POSE, "PyraCanny")])
    without_effect = [ImagePrompt(POSE, "CPDS", weight=0.0), ImagePrompt(POSE, "PyraCanny", stop=0.0)]
    settings = Preprocessing(canny_low=10, canny_high=200, softness=0.5)
    return {
        "control": (replace(one, image_prompts=[*both, *without_effect], image_number=2), real),
        "control-unguided-skip": (replace(one, guidance_scale=1.0, preprocessing=Preprocessing(skip=True)), embedded),
        "control-debug": (
            replace(one, image_prompts=both, preprocessing=Preprocessing(canny_low=10, debug=True)),
            with_controlnets(tiny, ()),
        ),
        "control-vary": (
            replace(one, preprocessing=settings, input_image=SMALL, uov_method="Vary (Subtle)"),
            embedded,
        ),
        "control-upscale": (replace(one, input_image=PHOTO, uov_method="Upscale (1.5x)"), real),
        "control-inpaint": (replace(one, input_image=PHOTO, inpaint=Inpaint(mask="m.png", engine="v2.6")), real),
        "control-inpaint-debug": (
            replace(one, input_image=SMALL, inpaint=Inpaint(mask="m.png"), preprocessing=Preprocessing(debug=True)),
            embedded,
        ),
    }


def with_controlnets(catalog: Catalog, names: tuple[str, ...]) -> Catalog:
    """A catalog with other ControlNets."""
    return dataclasses.replace(catalog, files={"controlnet": names})
