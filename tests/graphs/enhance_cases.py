"""Golden cases of enhancing: the pictures of a flow, one of its own, masks by network and by words."""

import dataclasses

from graphs.catalog import Catalog
from graphs.request import GenerationRequest, InputImage
from graphs.request_parts import Enhance, EnhanceStage, Masking

PHOTO = InputImage("photo.png", 800, 600)
SMALL = InputImage("a.png", 128, 96)
BY_WORDS = {
    "inpaint": ("groundingdino_swint_ogc.pth", "bert-base-uncased/vocab.txt", "isnet-general-use.onnx"),
    "sam": ("sam_vit_l_0b3195.pth",),
}


def enhance_cases(catalog: Catalog, tiny: Catalog) -> dict[str, tuple[GenerationRequest, Catalog]]:
    """Requests and what is installed, by the name of their file."""
    real = dataclasses.replace(catalog, files=BY_WORDS)
    embedded = dataclasses.replace(tiny, files={"inpaint": ("focal-tiny-u2net.onnx",)})
    return {
        "enhance": (
            GenerationRequest(
                prompt="a garden",
                negative_prompt="bad",
                seed=7,
                image_number=2,
                enhance=Enhance(
                    stages=[
                        EnhanceStage(Masking("u2net"), prompt="a red ball", respective_field=1.0, erode_or_dilate=4),
                        EnhanceStage(Masking("sam")),  # looks for nothing
                        EnhanceStage(Masking("isnet-anime"), negative_prompt="blur", strength=0.5, invert_mask=True),
                    ],
                ),
            ),
            embedded,
        ),
        "enhance-own-picture": (
            GenerationRequest(
                prompt="a garden",
                seed=7,
                image_number=4,
                enhance=Enhance(
                    image=PHOTO,
                    stages=[
                        EnhanceStage(
                            Masking("sam", "face", sam_model="vit_l", box_threshold=0.4, max_detections=2),
                            prompt="a friendly face",
                            engine="None",
                        ),
                        EnhanceStage(Masking("isnet-general-use"), disable_initial_latent=True),
                    ],
                    uov_method="Upscale (1.5x)",
                    uov_order="After Last Enhancement",
                    uov_prompt_type="Last Filled Enhancement Prompts",
                    save_final_only=True,
                ),
            ),
            real,
        ),
        "enhance-after-vary": (
            GenerationRequest(
                prompt="a garden",
                seed=7,
                input_image=SMALL,
                uov_method="Vary (Subtle)",
                enhance=Enhance(
                    stages=[EnhanceStage(Masking("silueta"))], uov_method="Upscale (Fast 2x)", save_final_only=True
                ),
            ),
            embedded,
        ),
    }
