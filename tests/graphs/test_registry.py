"""Every node, input, output and constant that the builders write is one that the nodes take."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.graph import Graph
from engine.registry import Registry
from engine.validate import validate
from graphs.builder import OUTPUTS
from graphs.catalog import Catalog
from graphs.enhance_choice import ORDERS, PROMPT_TYPES
from graphs.flows import compile_request
from graphs.inpaint_choice import SIDES
from graphs.known_files import U2NET_FAMILY
from graphs.masks import CLOTH_CATEGORIES as CLOTHES
from graphs.request import LIMITS, SAMPLERS, SCHEDULERS, FreeU, GenerationRequest, Inpaint, InputImage, Lora
from graphs.request_parts import Enhance, EnhanceStage, Masking
from graphs.uov import METHODS

GOLDEN = Path(__file__).parent / "golden"
CATALOG = Catalog(
    checkpoints=("focal-tiny-sdxl.safetensors",),
    loras=("hey.safetensors",),
    vaes=("soft.safetensors",),
    upscale_models=("focal-tiny-upscaler-4x.safetensors",),
    files={"inpaint": ("focal-tiny-u2net.onnx", "u2net_cloth_seg.onnx")},
)
# Which files exist is not asked here.
FILE_INPUTS = {"ckpt_name", "lora_name", "vae_name", "model_name", "image", "head", "patch"}


@pytest.fixture(scope="module")
def registry():
    registry = Registry()
    registry.load_module("nodes")
    return registry


def test_golden_graphs_use_only_nodes_and_inputs_that_exist(registry):
    for path in sorted(GOLDEN.glob("*.json")):
        for node in Graph.from_bytes(path.read_bytes()).nodes.values():
            spec = registry.get(node.class_type)
            assert set(node.inputs) <= {declared.name for declared in spec.inputs}, node.class_type
            assert {declared.name for declared in spec.inputs if declared.required} <= set(node.inputs), node.class_type


def test_output_names_are_those_of_the_registry(registry):
    for class_type, names in OUTPUTS.items():
        assert tuple(output.type for output in registry.get(class_type).outputs) == names


def number(name):
    low, high = LIMITS[name]
    return st.one_of(st.sampled_from([low, high]), st.floats(low, high))


INPAINT = st.builds(
    Inpaint,
    mask=st.sampled_from([None, "mask.png"]),
    outpaint=st.lists(st.sampled_from(SIDES), max_size=4),
    distances=st.tuples(*[st.integers(-1, 64)] * 4),
    additional_prompt=st.text(max_size=20),
    strength=st.floats(0, 1),
    respective_field=st.floats(0, 1),
    erode_or_dilate=st.integers(-64, 64),
    invert_mask=st.booleans(),
    disable_initial_latent=st.booleans(),
    debug=st.booleans(),
)
ENHANCE = st.builds(
    Enhance,
    image=st.none() | st.builds(InputImage, st.just("b.png"), st.integers(1, 2400), st.integers(1, 2400)),
    stages=st.lists(
        st.builds(
            EnhanceStage,
            masking=st.builds(Masking, model=st.sampled_from(U2NET_FAMILY), cloth_category=st.sampled_from(CLOTHES)),
            prompt=st.text(max_size=20),
            strength=st.floats(0, 1),
            respective_field=st.floats(0, 1),
            erode_or_dilate=st.integers(-64, 64),
            invert_mask=st.booleans(),
            disable_initial_latent=st.booleans(),
        ),
        min_size=1,
        max_size=2,
    ),
    uov_method=st.sampled_from(METHODS),
    uov_order=st.sampled_from(ORDERS),
    uov_prompt_type=st.sampled_from(PROMPT_TYPES),
    save_final_only=st.booleans(),
)
REQUESTS = st.builds(
    GenerationRequest,
    prompt=st.text(max_size=20) | st.sampled_from(["a\nb", "__animal__, [[a,b]]", "(a:1.2) <lora:hey:0.4>"]),
    negative_prompt=st.text(max_size=20),
    styles=st.lists(st.sampled_from(CATALOG.styles.names), max_size=3),
    image_number=st.integers(1, 3),
    seed=st.integers(0, 2**63 - 1),
    width=st.integers(64, 4096),
    height=st.integers(64, 4096),
    sharpness=number("sharpness"),
    guidance_scale=number("guidance_scale"),
    adaptive_cfg=number("adaptive_cfg"),
    clip_skip=st.integers(1, 12),
    adm_scaler_positive=number("adm_scaler_positive"),
    adm_scaler_negative=number("adm_scaler_negative"),
    adm_scaler_end=number("adm_scaler_end"),
    overwrite_step=st.integers(-1, 10_000),
    sampler=st.sampled_from(SAMPLERS),
    scheduler=st.sampled_from(SCHEDULERS),
    freeu=st.none() | st.builds(FreeU, *[st.floats(0, 4)] * 4),
    vae=st.sampled_from([None, "soft"]),
    loras=st.lists(st.builds(Lora, st.just("hey"), st.floats(-2, 2)), max_size=6),
    save_extension=st.sampled_from(["png", "jpg", "jpeg", "webp"]),
    save_metadata=st.booleans(),
    metadata_scheme=st.sampled_from(["fooocus", "a1111"]),
    uov_method=st.sampled_from(METHODS),
    input_image=st.builds(InputImage, st.just("a.png"), st.integers(1, 2400), st.integers(1, 2400)),
    upscale_value=st.none() | number("upscale_value"),
    overwrite_vary_strength=number("overwrite_vary_strength"),
    overwrite_upscale_strength=number("overwrite_upscale_strength"),
    inpaint=st.none() | INPAINT,
    enhance=st.none() | ENHANCE,
)


@settings(max_examples=50, deadline=None)
@given(REQUESTS)
def test_every_request_within_its_limits_compiles_to_a_valid_graph(registry, asked):
    compiled = compile_request(asked, CATALOG)
    found = validate(compiled.graph, registry)
    faults = [
        fault
        for node in found.node_errors.values()
        for fault in node["errors"]
        if fault.get("extra_info", {}).get("input_name") not in FILE_INPUTS
    ]
    assert faults == []
    assert compiled.outputs
    assert all(compiled.graph.nodes[output].class_type == "SaveGeneration" for output in compiled.outputs)
