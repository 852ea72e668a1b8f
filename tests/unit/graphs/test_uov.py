"""Vary and upscale requests: which method is meant, what is refused, which upscaler is taken."""

import json

import pytest

from graphs.catalog import Catalog, is_tiny, native_px
from graphs.flows import compile_request
from graphs.request import GenerationRequest, InputImage, Refused
from graphs.uov import Upscale, Vary, chosen

PHOTO = InputImage("photo.png", 800, 600)
TINY = Catalog(
    checkpoints=("focal-tiny-sdxl.safetensors",), upscale_models=("focal-tiny-upscaler-4x.safetensors",), presets={}
)
REAL = Catalog(checkpoints=("model.safetensors",), upscale_models=("fooocus_upscaler_s409985e5.bin",), presets={})


def request(method: str, **changes) -> GenerationRequest:
    return GenerationRequest(**({"prompt": "a cat", "seed": 3, "input_image": PHOTO, "uov_method": method} | changes))


@pytest.mark.parametrize(
    ("label", "method"),
    [
        ("Disabled", None),
        ("disable", None),
        ("", None),
        ("Vary (Subtle)", Vary(0.5)),
        ("vary (strong)", Vary(0.85)),
        ("Upscale (1.5x)", Upscale(1.5, False, 0.382)),
        ("Upscale (2x)", Upscale(2.0, False, 0.382)),
        ("Upscale (Fast 2x)", Upscale(2.0, True, 0.382)),
        ("Upscale (Custom)", Upscale(2.0, False, 0.382)),
    ],
)
def test_labels_mean_what_fooocus_means_by_them(label, method):
    assert chosen(request(label)) == method


def test_strengths_and_the_custom_factor_can_be_given():
    assert chosen(request("Vary (Strong)", overwrite_vary_strength=0.3)) == Vary(0.3)
    assert chosen(request("Vary (Strong)", overwrite_vary_strength=0)) == Vary(0.85)
    given = {"upscale_value": 5.0, "overwrite_upscale_strength": 0.2}
    assert chosen(request("Upscale (Custom)", **given)) == Upscale(5.0, False, 0.2)
    assert chosen(request("Upscale (1.5x)", **given)) == Upscale(1.5, False, 0.2)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"uov_method": "Upscale (slow)"}, "uov_method"),
        ({"input_image": None}, "input_image"),
        ({"input_image": InputImage("big.png", 5000, 5000)}, "input_image"),
        ({"input_image": InputImage("none.png", 0, 5)}, "input_image"),
        ({"upscale_value": 5.5}, "upscale_value"),
        ({"overwrite_upscale_strength": 1.5}, "overwrite_upscale_strength"),
        ({"overwrite_vary_strength": float("nan")}, "overwrite_vary_strength"),
    ],
)
def test_what_cannot_be_done_is_refused_by_field(changes, field):
    with pytest.raises(Refused) as refused:
        compile_request(request("Upscale (Custom)", **changes), REAL)
    assert refused.value.field == field


def test_without_a_method_an_input_image_changes_nothing():
    plain = compile_request(request("Disabled", input_image=None), REAL)
    assert compile_request(request("Disabled"), REAL).graph.to_bytes() == plain.graph.to_bytes()


def test_fooocus_s_upscaler_comes_first_then_any_other_and_the_tiny_one_only_beside_the_tiny_model():
    tiny, other, own = "focal-tiny-upscaler-4x.safetensors", "RealESRGAN_x4plus.pth", "x/fooocus_upscaler_s409985e5.bin"

    def taken(*files: str, beside: str = "model.safetensors") -> str | None:
        return Catalog(upscale_models=files).upscaler(beside)

    assert taken(other, own, tiny) == own
    assert taken(other, tiny) == other
    assert taken(tiny) is None
    assert taken(tiny, beside="focal-tiny-sdxl.safetensors") == tiny


def test_a_missing_upscaler_is_named_with_its_folder_before_anything_is_queued():
    with pytest.raises(Refused, match=r"fooocus_upscaler_s409985e5\.bin.*models/upscale_models"):
        compile_request(request("Upscale (2x)"), Catalog(checkpoints=("model.safetensors",), presets={}))


def test_fast_needs_neither_the_mode_s_lora_nor_a_refiner():
    asked = request("Upscale (Fast 2x)", performance="Lightning", refiner_model="refiner.safetensors", image_number=4)
    compiled = compile_request(asked, REAL)
    assert len(compiled.images) == 1
    assert {node.class_type for node in compiled.graph.nodes.values()} == {
        "LoadImage", "UpscaleModelLoader", "ImageUpscaleWithModel", "FitForUpscale", "SaveGeneration",
    }  # fmt: skip


def test_sizes_follow_the_model_s_own():
    assert (native_px("focal-tiny-sdxl.safetensors"), native_px("model.safetensors")) == (128, 1024)
    assert is_tiny("sub/focal-tiny-sdxl.safetensors")
    assert not is_tiny("model.safetensors")
    for catalog, base in ((TINY, 128), (REAL, 1024)):
        (fit,) = [
            node
            for node in compile_request(request("Vary (Subtle)"), catalog).graph.nodes.values()
            if node.class_type == "FitForVary"
        ]
        assert fit.inputs["base_size"] == base


def test_metadata_tells_the_size_of_the_result():
    compiled = compile_request(request("Vary (Subtle)"), REAL)
    (saved,) = [node for node in compiled.graph.nodes.values() if node.class_type == "SaveGeneration"]
    told = json.loads(saved.inputs["metadata"])
    assert told["resolution"] == "(1152, 896)"
    assert told["steps"] == 30
    upscaled = compile_request(request("Upscale (2x)"), REAL)
    assert (upscaled.generation.width, upscaled.generation.height, upscaled.generation.steps) == (1600, 1200, 18)
