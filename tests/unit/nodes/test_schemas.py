"""What /object_info says of our nodes, against the catalogue of a running ComfyUI (0.3.64), copied by hand."""

import json

import pytest

from engine.registry import Registry

INT, FLOAT, STRING, BOOLEAN, COMBO = "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"
SEED = (INT, 0, 0, 2**64 - 1)
STEPS = (INT, 20, 1, 10_000)
CFG = (FLOAT, 8.0, 0.0, 100.0)
SIDE = (INT, 1024, 0, 16384)
CROP = (INT, 0, 0, 16384)
LORA = (FLOAT, 1.0, -100.0, 100.0)
SIGMA_MAX, SIGMA_MIN = (FLOAT, 14.614642, 0.0, 5000.0), (FLOAT, 0.0291675, 0.0, 5000.0)
TEXT = (STRING, None, None, None)

# class: ({input: type or (type, default, min, max)}, outputs)
COMFYUI = {
    "CheckpointLoaderSimple": ({"ckpt_name": COMBO}, ["MODEL", "CLIP", "VAE"]),
    "VAELoader": ({"vae_name": COMBO}, ["VAE"]),
    "LoraLoader": (
        {"model": "MODEL", "clip": "CLIP", "lora_name": COMBO, "strength_model": LORA, "strength_clip": LORA},
        ["MODEL", "CLIP"],
    ),
    "LoraLoaderModelOnly": ({"model": "MODEL", "lora_name": COMBO, "strength_model": LORA}, ["MODEL"]),
    "LoadImage": ({"image": COMBO}, ["IMAGE", "MASK"]),
    "SaveImage": ({"images": "IMAGE", "filename_prefix": (STRING, "ComfyUI", None, None)}, []),
    "PreviewImage": ({"images": "IMAGE"}, []),
    "CLIPTextEncode": ({"text": TEXT, "clip": "CLIP"}, ["CONDITIONING"]),
    "CLIPTextEncodeSDXL": (
        {"clip": "CLIP", "width": SIDE, "height": SIDE, "crop_w": CROP, "crop_h": CROP, "target_width": SIDE}
        | {"target_height": SIDE, "text_g": TEXT, "text_l": TEXT},
        ["CONDITIONING"],
    ),
    "CLIPSetLastLayer": ({"clip": "CLIP", "stop_at_clip_layer": (INT, -1, -24, -1)}, ["CLIP"]),
    "ConditioningCombine": ({"conditioning_1": "CONDITIONING", "conditioning_2": "CONDITIONING"}, ["CONDITIONING"]),
    "ConditioningConcat": (
        {"conditioning_to": "CONDITIONING", "conditioning_from": "CONDITIONING"},
        ["CONDITIONING"],
    ),
    "ConditioningAverage": (
        {"conditioning_to": "CONDITIONING", "conditioning_from": "CONDITIONING"}
        | {"conditioning_to_strength": (FLOAT, 1.0, 0.0, 1.0)},
        ["CONDITIONING"],
    ),
    "ConditioningZeroOut": ({"conditioning": "CONDITIONING"}, ["CONDITIONING"]),
    "EmptyLatentImage": (
        {"width": (INT, 512, 16, 16384), "height": (INT, 512, 16, 16384), "batch_size": (INT, 1, 1, 4096)},
        ["LATENT"],
    ),
    "VAEDecode": ({"samples": "LATENT", "vae": "VAE"}, ["IMAGE"]),
    "VAEEncode": ({"pixels": "IMAGE", "vae": "VAE"}, ["LATENT"]),
    "KSampler": (
        {"model": "MODEL", "seed": SEED, "steps": STEPS, "cfg": CFG, "sampler_name": COMBO, "scheduler": COMBO}
        | {"positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"}
        | {"denoise": (FLOAT, 1.0, 0.0, 1.0)},
        ["LATENT"],
    ),
    "KSamplerAdvanced": (
        {"model": "MODEL", "add_noise": COMBO, "noise_seed": SEED, "steps": STEPS, "cfg": CFG, "sampler_name": COMBO}
        | {"scheduler": COMBO, "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"}
        | {"start_at_step": (INT, 0, 0, 10_000), "end_at_step": (INT, 10_000, 0, 10_000)}
        | {"return_with_leftover_noise": COMBO},
        ["LATENT"],
    ),
    "SamplerCustom": (
        {"model": "MODEL", "add_noise": (BOOLEAN, True, None, None), "noise_seed": SEED, "cfg": CFG}
        | {"positive": "CONDITIONING", "negative": "CONDITIONING", "sampler": "SAMPLER", "sigmas": "SIGMAS"}
        | {"latent_image": "LATENT"},
        ["LATENT", "LATENT"],
    ),
    "KSamplerSelect": ({"sampler_name": COMBO}, ["SAMPLER"]),
    "BasicScheduler": (
        {"model": "MODEL", "scheduler": COMBO, "steps": STEPS, "denoise": (FLOAT, 1.0, 0.0, 1.0)},
        ["SIGMAS"],
    ),
    "KarrasScheduler": (
        {"steps": STEPS, "sigma_max": SIGMA_MAX, "sigma_min": SIGMA_MIN, "rho": (FLOAT, 7.0, 0.0, 100.0)},
        ["SIGMAS"],
    ),
    "ExponentialScheduler": ({"steps": STEPS, "sigma_max": SIGMA_MAX, "sigma_min": SIGMA_MIN}, ["SIGMAS"]),
    "PolyexponentialScheduler": (
        {"steps": STEPS, "sigma_max": SIGMA_MAX, "sigma_min": SIGMA_MIN, "rho": (FLOAT, 1.0, 0.0, 100.0)},
        ["SIGMAS"],
    ),
    "AlignYourStepsScheduler": (
        {"model_type": COMBO, "steps": (INT, 10, 1, 10_000), "denoise": (FLOAT, 1.0, 0.0, 1.0)},
        ["SIGMAS"],
    ),
    "SDTurboScheduler": (
        {"model": "MODEL", "steps": (INT, 1, 1, 10), "denoise": (FLOAT, 1.0, 0.0, 1.0)},
        ["SIGMAS"],
    ),
    "VPScheduler": (
        {"steps": STEPS, "beta_d": (FLOAT, 19.9, 0.0, 5000.0), "beta_min": (FLOAT, 0.1, 0.0, 5000.0)}
        | {"eps_s": (FLOAT, 0.001, 0.0, 1.0)},
        ["SIGMAS"],
    ),
    "LaplaceScheduler": (
        {"steps": STEPS, "sigma_max": SIGMA_MAX, "sigma_min": SIGMA_MIN, "mu": (FLOAT, 0.0, -10.0, 10.0)}
        | {"beta": (FLOAT, 0.5, 0.0, 10.0)},
        ["SIGMAS"],
    ),
    "BetaSamplingScheduler": (
        {"model": "MODEL", "steps": STEPS, "alpha": (FLOAT, 0.6, 0.0, 50.0), "beta": (FLOAT, 0.6, 0.0, 50.0)},
        ["SIGMAS"],
    ),
    "SplitSigmas": ({"sigmas": "SIGMAS", "step": (INT, 0, 0, 10_000)}, ["SIGMAS", "SIGMAS"]),
    "SplitSigmasDenoise": ({"sigmas": "SIGMAS", "denoise": (FLOAT, 1.0, 0.0, 1.0)}, ["SIGMAS", "SIGMAS"]),
    "FlipSigmas": ({"sigmas": "SIGMAS"}, ["SIGMAS"]),
    "SetFirstSigma": ({"sigmas": "SIGMAS", "sigma": (FLOAT, 136.0, 0.0, 20_000.0)}, ["SIGMAS"]),
    "ConditioningSetArea": (
        {"conditioning": "CONDITIONING", "width": (INT, 64, 64, 16384), "height": (INT, 64, 64, 16384)}
        | {"x": (INT, 0, 0, 16384), "y": (INT, 0, 0, 16384), "strength": (FLOAT, 1.0, 0.0, 10.0)},
        ["CONDITIONING"],
    ),
    "ConditioningSetAreaPercentage": (
        {"conditioning": "CONDITIONING", "width": (FLOAT, 1.0, 0.0, 1.0), "height": (FLOAT, 1.0, 0.0, 1.0)}
        | {"x": (FLOAT, 0.0, 0.0, 1.0), "y": (FLOAT, 0.0, 0.0, 1.0), "strength": (FLOAT, 1.0, 0.0, 10.0)},
        ["CONDITIONING"],
    ),
    "ConditioningSetAreaStrength": (
        {"conditioning": "CONDITIONING", "strength": (FLOAT, 1.0, 0.0, 10.0)},
        ["CONDITIONING"],
    ),
    "ConditioningSetTimestepRange": (
        {"conditioning": "CONDITIONING", "start": (FLOAT, 0.0, 0.0, 1.0), "end": (FLOAT, 1.0, 0.0, 1.0)},
        ["CONDITIONING"],
    ),
    "ConditioningSetMask": (
        {"conditioning": "CONDITIONING", "mask": "MASK", "strength": (FLOAT, 1.0, 0.0, 10.0), "set_cond_area": COMBO},
        ["CONDITIONING"],
    ),
    "VAEEncodeForInpaint": (
        {"pixels": "IMAGE", "vae": "VAE", "mask": "MASK", "grow_mask_by": (INT, 6, 0, 64)},
        ["LATENT"],
    ),
    "SetLatentNoiseMask": ({"samples": "LATENT", "mask": "MASK"}, ["LATENT"]),
    "LatentUpscale": (
        {"samples": "LATENT", "upscale_method": COMBO, "width": (INT, 512, 0, 16384), "height": (INT, 512, 0, 16384)}
        | {"crop": COMBO},
        ["LATENT"],
    ),
    "LatentUpscaleBy": (
        {"samples": "LATENT", "upscale_method": COMBO, "scale_by": (FLOAT, 1.5, 0.01, 8.0)},
        ["LATENT"],
    ),
    "LatentFromBatch": (
        {"samples": "LATENT", "batch_index": (INT, 0, 0, 63), "length": (INT, 1, 1, 64)},
        ["LATENT"],
    ),
    "RepeatLatentBatch": ({"samples": "LATENT", "amount": (INT, 1, 1, 64)}, ["LATENT"]),
    "LatentBatch": ({"samples1": "LATENT", "samples2": "LATENT"}, ["LATENT"]),
    "LatentFlip": ({"samples": "LATENT", "flip_method": COMBO}, ["LATENT"]),
    "LatentRotate": ({"samples": "LATENT", "rotation": COMBO}, ["LATENT"]),
    "LatentAdd": ({"samples1": "LATENT", "samples2": "LATENT"}, ["LATENT"]),
    "LatentSubtract": ({"samples1": "LATENT", "samples2": "LATENT"}, ["LATENT"]),
    "LatentMultiply": ({"samples": "LATENT", "multiplier": (FLOAT, 1.0, -10.0, 10.0)}, ["LATENT"]),
    "LoadImageMask": ({"image": COMBO, "channel": COMBO}, ["MASK"]),
    "EmptyImage": (
        {"width": (INT, 512, 1, 16384), "height": (INT, 512, 1, 16384), "batch_size": (INT, 1, 1, 4096)}
        | {"color": (INT, 0, 0, 0xFFFFFF)},
        ["IMAGE"],
    ),
    "ImageScale": (
        {"image": "IMAGE", "upscale_method": COMBO, "width": (INT, 512, 0, 16384), "height": (INT, 512, 0, 16384)}
        | {"crop": COMBO},
        ["IMAGE"],
    ),
    "ImageScaleBy": ({"image": "IMAGE", "upscale_method": COMBO, "scale_by": (FLOAT, 1.0, 0.01, 8.0)}, ["IMAGE"]),
    "ImageInvert": ({"image": "IMAGE"}, ["IMAGE"]),
    "ImageBatch": ({"image1": "IMAGE", "image2": "IMAGE"}, ["IMAGE"]),
    "ImageCrop": (
        {"image": "IMAGE", "width": (INT, 512, 1, 16384), "height": (INT, 512, 1, 16384)}
        | {"x": (INT, 0, 0, 16384), "y": (INT, 0, 0, 16384)},
        ["IMAGE"],
    ),
    "MaskToImage": ({"mask": "MASK"}, ["IMAGE"]),
    "ImageToMask": ({"image": "IMAGE", "channel": COMBO}, ["MASK"]),
    "SolidMask": (
        {"value": (FLOAT, 1.0, 0.0, 1.0), "width": (INT, 512, 1, 16384), "height": (INT, 512, 1, 16384)},
        ["MASK"],
    ),
    "InvertMask": ({"mask": "MASK"}, ["MASK"]),
    "GrowMask": (
        {"mask": "MASK", "expand": (INT, 0, -16384, 16384), "tapered_corners": (BOOLEAN, True, None, None)},
        ["MASK"],
    ),
    "CropMask": (
        {"mask": "MASK", "x": (INT, 0, 0, 16384), "y": (INT, 0, 0, 16384), "width": (INT, 512, 1, 16384)}
        | {"height": (INT, 512, 1, 16384)},
        ["MASK"],
    ),
    "FeatherMask": (
        {"mask": "MASK"} | dict.fromkeys(("left", "top", "right", "bottom"), (INT, 0, 0, 16384)),
        ["MASK"],
    ),
    "MaskComposite": (
        {"destination": "MASK", "source": "MASK", "x": (INT, 0, 0, 16384), "y": (INT, 0, 0, 16384), "operation": COMBO},
        ["MASK"],
    ),
    "ImageColorToMask": ({"image": "IMAGE", "color": (INT, 0, 0, 0xFFFFFF)}, ["MASK"]),
    "MaskPreview": ({"mask": "MASK"}, []),
    "ThresholdMask": ({"mask": "MASK", "value": (FLOAT, 0.5, 0.0, 1.0)}, ["MASK"]),
    "FreeU_V2": (
        {"model": "MODEL", "b1": (FLOAT, 1.3, 0.0, 10.0), "b2": (FLOAT, 1.4, 0.0, 10.0)}
        | {"s1": (FLOAT, 0.9, 0.0, 10.0), "s2": (FLOAT, 0.2, 0.0, 10.0)},
        ["MODEL"],
    ),
}

SAMPLERS = """
euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp heun heunpp2 dpm_2 dpm_2_ancestral lms dpm_fast dpm_adaptive
dpmpp_2s_ancestral dpmpp_2s_ancestral_cfg_pp dpmpp_sde dpmpp_sde_gpu dpmpp_2m dpmpp_2m_cfg_pp dpmpp_2m_sde
dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_2m_sde_heun_gpu dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm lcm ipndm ipndm_v deis
res_multistep res_multistep_cfg_pp res_multistep_ancestral res_multistep_ancestral_cfg_pp gradient_estimation
gradient_estimation_cfg_pp er_sde seeds_2 seeds_3 sa_solver sa_solver_pece ddim uni_pc uni_pc_bh2
""".split()  # noqa: SIM905 (as a list it would take forty lines)
SCHEDULERS = [
    *("simple", "sgm_uniform", "karras", "exponential", "ddim_uniform"),
    *("beta", "normal", "linear_quadratic", "kl_optimal"),
]


@pytest.mark.parametrize("class_type", COMFYUI)
def test_inputs_defaults_bounds_and_outputs_are_comfyui_s(registry: Registry, class_type: str):
    inputs, outputs = COMFYUI[class_type]
    told = registry.object_info(class_type)[class_type]
    assert "optional" not in told["input"]
    assert list(told["input"]["required"]) == list(inputs)
    assert told["output"] == outputs
    for name, (kind, options) in told["input"]["required"].items():
        expected = inputs[name]
        if expected == COMBO:
            assert isinstance(kind, list), name
        elif isinstance(expected, str):
            assert kind == expected, name
        else:
            own = (kind, *(options.get(word) for word in ("default", "min", "max")))
            assert own == expected, name


def test_sampler_custom_names_its_outputs(registry: Registry):
    assert registry.object_info("SamplerCustom")["SamplerCustom"]["output_name"] == ["output", "denoised_output"]


@pytest.mark.parametrize("class_type", ["KSampler", "KSamplerAdvanced", "KSamplerSelect"])
def test_samplers_are_listed_in_comfyui_s_order(registry: Registry, class_type: str):
    listed = registry.get(class_type).by_name["sampler_name"].current_choices() or []
    assert listed[0] == "euler"
    assert [name for name in listed if name in SAMPLERS] == [name for name in SAMPLERS if name in listed]


@pytest.mark.parametrize("class_type", ["KSampler", "KSamplerAdvanced", "BasicScheduler"])
def test_every_scheduler_of_comfyui_is_listed_first(registry: Registry, class_type: str):
    listed = registry.get(class_type).by_name["scheduler"].current_choices() or []
    assert listed[: len(SCHEDULERS)] == SCHEDULERS


def test_the_whole_catalogue_is_json(registry: Registry):
    catalogue = registry.object_info()
    assert json.loads(json.dumps(catalogue)) == catalogue
    assert set(COMFYUI) <= set(catalogue)


def test_every_node_says_what_it_does_and_where_it_belongs(registry: Registry):
    for name in registry:
        spec = registry.get(name)
        assert spec.description, name
        assert spec.category, name
