"""Golden cases of refiners: SDXL's own by the three methods, SD 1.5, and what upscaling makes of one."""

import dataclasses

from graphs.catalog import Catalog
from graphs.request import GenerationRequest, InputImage

XL, SD15 = "sd_xl_refiner_1.0_0.9vae.safetensors", "realisticVisionV60B1_v51VAE.safetensors"
FAMILIES = {XL: "sdxl_refiner", SD15: "sd1"}
INTERPOSER = {"vae_approx": ("xl-to-v1_interposer-v4.0.safetensors",)}


def refiner_cases(catalog: Catalog) -> dict[str, tuple[GenerationRequest, Catalog]]:
    """Each case with the catalog that it compiles against."""
    installed = dataclasses.replace(
        catalog,
        checkpoints=(*catalog.checkpoints, XL, SD15),
        files=INTERPOSER,
        family_of=lambda name: FAMILIES.get(name, "sdxl"),
    )
    plain = {"prompt": "a cat", "seed": 7, "loras": [], "refiner_model": XL, "refiner_switch": 0.8}
    separate = {"refiner_swap_method": "separate", "overwrite_switch": 11.5}
    sd15 = {"refiner_model": SD15, "refiner_switch": 0.6}
    enlarged = {"input_image": InputImage("photo.png", 800, 600), "uov_method": "Upscale (1.5x)"}
    asked = {
        "refiner-joint": plain,
        "refiner-separate": plain | separate,
        "refiner-vae": plain | {"refiner_swap_method": "vae"},
        "refiner-sd15": plain | sd15,
        "refiner-upscale": plain | enlarged,
    }
    return {name: (GenerationRequest(**fields), installed) for name, fields in asked.items()}
