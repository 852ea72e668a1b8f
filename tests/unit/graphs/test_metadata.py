"""Metadata: Fooocus's own line as the reference, round trips, files from strangers (Fooocus behaviour §7, §11.5)."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from graphs.catalog import Catalog
from graphs.images import image_text
from graphs.metadata import payload, read
from graphs.metadata_a1111 import sampler_label
from graphs.request import SAMPLERS, SCHEDULERS, FreeU, GenerationRequest, Lora
from graphs.resolve import resolve
from graphs.text_to_image import text_to_image

BYTES = {"base.safetensors": b"base", "styleA.safetensors": b"lora"}
CATALOG = Catalog(
    checkpoints=("base.safetensors",),
    loras=("styleA.safetensors", "sdxl_lightning_4step_lora.safetensors"),
    vaes=("soft.safetensors",),
    hash_of=lambda folder, name: sha256(BYTES.get(name, b"")).hexdigest()[:10],
)
# The request behind the reference line of §11.5, without its refiner.
REFERENCE = GenerationRequest(
    prompt="a cat, sitting\nsecond: line",
    negative_prompt="bad\nworse",
    styles=[],
    seed=42,
    width=128,
    height=96,
    base_model="base.safetensors",
    loras=[Lora("styleA.safetensors", 0.3)],
    overwrite_step=2,
    adaptive_cfg=5.0,
    freeu=FreeU(),
    metadata_scheme="a1111",
)
REFERENCE_LINE = (
    "Steps: 2, Sampler: DPM++ 2M SDE Karras, Seed: 42, Size: 128x96, CFG scale: 4.0, Sharpness: 2.0, "
    'ADM Guidance: "(1.5, 0.8, 0.3)", Model: base, Model hash: cae662172f, Performance: Speed, Scheduler: karras, '
    'VAE: Default (model), Raw prompt: "a cat, sitting\\nsecond: line", Raw negative prompt: "bad\\nworse", '
    'Adaptive CFG: 5.0, Clip skip: 2, FreeU: "(1.01, 1.02, 0.99, 0.95)", Lora hashes: "styleA: d339f720de", '
    'Lora weights: "styleA: 0.3", Version: Fooocus v2.5.5'
)


def metadata_of(request, version="Fooocus v2.5.5"):
    generation, _ = resolve(request, CATALOG)
    return payload(generation, image_text(generation, CATALOG, 0), CATALOG, version=version)


def test_the_a1111_text_is_the_one_fooocus_writes():
    assert metadata_of(REFERENCE).splitlines() == [
        "a cat, sitting, second: line",
        "Negative prompt: bad, worse",
        REFERENCE_LINE,
    ]


def test_the_fooocus_object_has_its_keys_in_order_and_its_kinds_of_value():
    content = json.loads(metadata_of(replace(REFERENCE, metadata_scheme="fooocus", styles=["SAI Anime"])))
    assert list(content) == sorted(content)
    expected = {
        "adaptive_cfg": 5.0,
        "adm_guidance": "(1.5, 0.8, 0.3)",
        "base_model": "base",
        "base_model_hash": "cae662172f",
        "freeu": "(1.01, 1.02, 0.99, 0.95)",
        "lora_combined_1": "styleA : 0.3",
        "loras": [["styleA", 0.3, "d339f720de"]],
        "metadata_scheme": "fooocus",
        "prompt": "a cat, sitting\nsecond: line",
        "refiner_model": "None",
        "resolution": "(128, 96)",
        "seed": "42",
        "steps": 2,
        "styles": "['SAI Anime']",
        "vae": "Default (model)",
    }
    assert {key: content[key] for key in expected} == expected
    assert content["full_prompt"][0].startswith("a cat, sitting")
    assert content["full_prompt"][1] == "second: line"


def test_what_is_not_ascii_is_escaped_and_comes_back():
    text = metadata_of(replace(REFERENCE, prompt="ein Kätzchen 猫", metadata_scheme="fooocus"))
    assert text.isascii()
    assert read(text).prompt == "ein Kätzchen 猫"


REQUESTS = st.builds(
    GenerationRequest,
    prompt=st.sampled_from(
        ["a cat", 'say "hi": a, b', "line one\nline two", "Steps: 3, Seed: 4", "Negative prompt: x"]
    ),
    negative_prompt=st.sampled_from(["", "bad", "bad, ugly\nworse: much"]),
    styles=st.sampled_from([[], ["SAI Anime"], ["Fooocus Enhance", "Fooocus Sharp"]]),
    performance=st.sampled_from(["Speed", "Quality", "Lightning"]),
    width=st.sampled_from([128, 1152]),
    height=st.sampled_from([96, 896]),
    seed=st.integers(0, 2**63 - 1),
    sharpness=st.sampled_from([0.0, 2.0, 12.5]),
    guidance_scale=st.sampled_from([1.0, 4.0, 9.5]),
    adaptive_cfg=st.sampled_from([7.0, 5.0]),
    adm_scaler_end=st.sampled_from([0.0, 0.3]),
    clip_skip=st.integers(1, 3),
    sampler=st.sampled_from([name for name in SAMPLERS if name not in ("dpmpp_sde", "dpmpp_2m_sde")]),
    scheduler=st.sampled_from(SCHEDULERS),
    overwrite_step=st.sampled_from([-1, 2]),
    freeu=st.sampled_from([None, FreeU(1.5, 1.2, 0.1, 0.2)]),
    vae=st.sampled_from([None, "soft.safetensors"]),
    loras=st.sampled_from([[], [Lora("styleA.safetensors", -0.5)]]),
    metadata_scheme=st.sampled_from(["fooocus", "a1111"]),
)


@given(REQUESTS)
def test_a_picture_made_again_from_its_own_metadata_is_the_same(request):
    first = text_to_image(request, CATALOG)
    text = first.graph.nodes[first.outputs[0]].inputs["metadata"]
    found = read(text, CATALOG.styles)
    assert found is not None
    again = text_to_image(replace(found, metadata_scheme=request.metadata_scheme), CATALOG)
    assert again.graph == first.graph


def test_styles_are_recognised_in_a1111_text_by_their_words():
    request = replace(REFERENCE, styles=["Fooocus Enhance", "SAI Anime", "Mk Gond Painting"])
    found = read(metadata_of(request), CATALOG.styles)
    assert sorted(found.styles) == sorted(request.styles)


def test_text_of_the_web_ui_is_read():
    found = read(
        "masterpiece, a cat\nNegative prompt: lowres,\nbad hands\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 12, Size: 512x768, Model: v1-5"
    )
    assert (found.prompt, found.negative_prompt) == ("masterpiece, a cat", "lowres,\nbad hands")
    assert (found.sampler, found.scheduler, found.seed) == ("dpmpp_2m", "karras", 12)
    assert (found.width, found.height, found.overwrite_step, found.base_model) == (512, 768, 20, "v1-5")


def test_the_log_of_fooocus_is_read_by_its_labels():
    found = read(
        json.dumps(
            {
                "Prompt": "a cat",
                "Styles": "['SAI Anime']",
                "Performance": "Lightning",
                "Resolution": "(896, 1152)",
                "Seed": "9007199254740993",
                "lora_combined_1": "sdxl_lightning_4step_lora : 1.0",
                "lora_combined_2": "False : styleA : 0.5",
            }
        )
    )
    assert (found.prompt, found.styles, found.performance) == ("a cat", ["SAI Anime"], "Lightning")
    assert (found.width, found.height, found.seed) == (896, 1152, 9007199254740993)
    assert found.loras == [Lora("styleA", 0.5, enabled=False)]


def test_samplers_that_share_a_label_come_back_as_the_gpu_one():
    assert sampler_label("dpmpp_2m_sde", "karras") == sampler_label("dpmpp_2m_sde_gpu", "karras")
    assert sampler_label("dpmpp_3m_sde_gpu", "karras") == "dpmpp_3m_sde_gpu"
    assert sampler_label("euler_ancestral", "normal") == "Euler a"


def test_text_without_settings_is_no_metadata():
    assert read("") is None
    assert read("just a caption, nothing else") is None


@given(st.text())
def test_any_text_is_read_without_an_error(text):
    read(text, CATALOG.styles)
    read(f"{text}\nSteps: 1, Seed: 2, {text}", CATALOG.styles)


@pytest.mark.timeout(5)
@pytest.mark.parametrize("piece", [" ", "a", "a ", "a: ", 'a: "', '\\"', "\n", "Negative prompt: ", ",", "a:,"])
def test_long_text_takes_no_long_time(piece):
    read(piece * (500_000 // len(piece)) + "\nSteps: 1, Seed: 2", CATALOG.styles)
    read("Steps: 1, Seed: 2, " + piece * (500_000 // len(piece)), CATALOG.styles)
    assert read(" " * 1_000_001) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["prompt", "styles", "steps", "resolution", "seed", "adm_guidance", "freeu", "lora_combined_1", "clip_skip"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_json_object_is_read_as_data(content):
    found = read(json.dumps(content))
    assert isinstance(found, GenerationRequest)


@pytest.mark.parametrize("text", ["__import__('os').system('true')", "(" * 5000, "[" * 60_000, "1e999999"])
def test_literals_are_data_and_never_run(text):
    assert read(json.dumps({"resolution": text, "styles": text})).width is None
