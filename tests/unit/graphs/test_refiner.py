"""The refiner of a request: which file, which step, which method, and who does what (behaviour §1.6, §4.6)."""

import pytest
from msgspec.structs import replace

from graphs.catalog import Catalog, MissingFile
from graphs.flows import compile_request
from graphs.images import image_text
from graphs.metadata import payload, read
from graphs.refiner import BASE_ONLY, BOTH, REFINER_ONLY, Refinement, share_of
from graphs.request import FreeU, GenerationRequest, Inpaint, InputImage, Lora, Refused
from graphs.resolve import resolve

BASE, XL, SD15 = "base.safetensors", "sd_xl_refiner_1.0_0.9vae.safetensors", "v1-5-pruned-emaonly.safetensors"
TINY, TINY_XL = "focal-tiny-sdxl.safetensors", "focal-tiny-sdxl-refiner.safetensors"
FAMILIES = {BASE: "sdxl", "other.safetensors": "sdxl", XL: "sdxl_refiner", SD15: "sd1", TINY_XL: "sdxl_refiner"}
CATALOG = Catalog(
    checkpoints=(BASE, "other.safetensors", XL, SD15, TINY, TINY_XL),
    loras=("style.safetensors",),
    upscale_models=("fooocus_upscaler_s409985e5.bin",),
    inpaint_models=("fooocus_inpaint_head.pth", "inpaint_v26.fooocus.patch"),
    files={"vae_approx": ("xl-to-v1_interposer-v4.0.safetensors",)},
    family_of=lambda name: FAMILIES.get(name, ""),
)
REQUEST = GenerationRequest(prompt="a cat", seed=1, base_model=BASE, refiner_model=XL, styles=[], loras=[])
PICTURE = InputImage("a.png", 1024, 1024)


def refined(**changes) -> Refinement | None:
    return resolve(replace(REQUEST, **changes), CATALOG)[0].refiner


def compiled(**changes) -> dict:
    return compile_request(replace(REQUEST, **changes), CATALOG).graph.to_json()


def of_class(graph: dict, name: str) -> list[dict]:
    return [node["inputs"] for node in graph.values() if node["class_type"] == name]


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"refiner_switch": 0.5}, 15),
        ({"refiner_switch": 0.8}, 24),
        ({"refiner_switch": 0.35}, 10),  # 10.5: halves go to the even step
        ({"performance": "Quality", "refiner_switch": 0.75}, 45),
        ({"overwrite_step": 8, "refiner_switch": 0.5}, 15),  # of the mode's steps, not of those that replace them
        ({"overwrite_switch": 5, "refiner_switch": 0.5}, 5),
        ({"overwrite_switch": 0.5}, 1),
        ({"overwrite_switch": -1, "refiner_switch": 0.5}, 15),
    ],
)
def test_the_step_to_switch_at(changes, step):
    refiner = refined(**changes)
    assert refiner is not None
    assert refiner.switch == step


def test_upscaling_switches_by_its_own_steps():
    graph = compiled(uov_method="Upscale (1.5x)", input_image=PICTURE, refiner_switch=0.5)
    (sampler,) = of_class(graph, "SampleWithRefiner")
    assert (sampler["steps"], sampler["switch"]) == (18, 9)


@pytest.mark.parametrize(
    "changes",
    [
        {"refiner_model": None},
        {"refiner_model": "None"},
        {"refiner_model": " "},
        {"refiner_model": BASE},
        {"refiner_switch": 1.0},
        {"overwrite_step": 15, "refiner_switch": 0.5},
        {"overwrite_switch": 30},
    ],
)
def test_a_refiner_that_never_works_leaves_the_graph_as_it_is(changes):
    graph = compiled(**changes)
    plain = compiled(refiner_model="None", **{k: v for k, v in changes.items() if k != "refiner_model"})
    assert [node["class_type"] for node in graph.values()] == [node["class_type"] for node in plain.values()]
    assert not of_class(graph, "SampleWithRefiner")
    assert len(of_class(graph, "CheckpointLoaderSimple")) == 1


def test_a_distilled_mode_has_no_refiner_whatever_is_asked():
    catalog = replace_catalog(loras=("sdxl_lightning_4step_lora.safetensors",))
    generation, _ = resolve(replace(REQUEST, performance="Lightning"), catalog)
    assert (generation.refiner, generation.refiner_switch) == (None, 1.0)


def replace_catalog(**changes) -> Catalog:
    fields = {name: getattr(CATALOG, name) for name in CATALOG.__dataclass_fields__}
    return Catalog(**{**fields, **changes})


def test_the_refiner_gets_loras_and_guidance_but_no_freeu():
    graph = compiled(loras=[Lora("style.safetensors", 0.5)], freeu=FreeU(), refiner_swap_method="separate")
    (sampler,) = of_class(graph, "SampleWithRefiner")
    chain = []
    link = sampler["refiner"]
    while link:
        node = graph[link[0]]
        chain.append(node["class_type"])
        link = node["inputs"].get("model")
    assert chain == ["AdaptiveGuidance", "ScaleSizeConditioning", "LoraLoaderModelOnly", "CheckpointLoaderSimple"]
    assert graph[link_of(graph, "LoraLoaderModelOnly")]["inputs"]["strength_model"] == 0.5
    assert graph[sampler["model"][0]]["class_type"] == "FreeU_V2"
    assert sampler["method"] == "separate"
    positive, negative = (graph[sampler[f"refiner_{name}"][0]] for name in ("positive", "negative"))
    assert (positive["class_type"], positive["inputs"]["conditioning"]) == ("ConditionRefiner", sampler["positive"])
    assert negative["inputs"]["conditioning"] == sampler["negative"] != sampler["positive"]


def link_of(graph: dict, name: str) -> str:
    return next(node_id for node_id, node in graph.items() if node["class_type"] == name)


def test_an_sdxl_refiner_leaves_decoding_to_the_base_and_sd15_does_it_itself():
    (decoded,) = of_class(compiled(), "VAEDecode")
    assert decoded["vae"] == ["1", 2]
    graph = compiled(refiner_model=SD15, refiner_swap_method="joint")
    (sampler,), (decoded,) = of_class(graph, "SampleWithRefiner"), of_class(graph, "VAEDecode")
    assert graph[decoded["vae"][0]]["inputs"] == {"ckpt_name": SD15}
    assert sampler["method"] == "vae"
    assert of_class(graph, "InterposerLoader") == [{"interposer_name": "xl-to-v1_interposer-v4.0.safetensors"}]


def test_sd15_needs_the_interposer_and_says_where_to_get_it():
    with pytest.raises(MissingFile, match="xl-to-v1_interposer") as caught:
        resolve(replace(REQUEST, refiner_model=SD15), replace_catalog(files={}))
    assert caught.value.field == "refiner_model"


@pytest.mark.parametrize(
    ("family", "denoise", "share"),
    [
        ("sdxl_refiner", 0.1, BOTH),
        ("sd1", 1.0, BOTH),
        ("sd1", 0.91, BOTH),
        ("sd1", 0.9, BASE_ONLY),
        ("sd1", 0.5, BASE_ONLY),
        ("sd1", 0.31, REFINER_ONLY),  # the threshold is 0.314689 (behaviour §11.5)
        ("sd1", 0.3146, REFINER_ONLY),
        ("sd1", 0.3148, BASE_ONLY),
    ],
)
def test_who_works_on_how_much_noise(family, denoise, share):
    assert share_of(Refinement("a", family, "joint", 6, 6), 8, denoise) == share


def test_sd15_alone_encodes_samples_and_decodes_a_slightly_noised_picture():
    asked = {"uov_method": "Vary (Subtle)", "input_image": PICTURE, "overwrite_vary_strength": 0.2}
    graph = compiled(refiner_model=SD15, refiner_switch=0.8, freeu=FreeU(), **asked)
    (sampler,), (decoded,) = of_class(graph, "SampleLatent"), of_class(graph, "VAEDecode")
    (encoded,) = of_class(graph, "VAEEncode")
    loader = next(n for n, node in graph.items() if node["inputs"].get("ckpt_name") == SD15)
    assert decoded["vae"] == encoded["vae"] == [loader, 2]
    assert graph[sampler["positive"][0]]["class_type"] == "ConditionRefiner"
    assert not of_class(graph, "FreeU_V2")
    larger = compiled(refiner_model=SD15, refiner_switch=0.8, **asked | {"overwrite_vary_strength": 0.5})
    assert not [node for node in larger.values() if node["inputs"].get("ckpt_name") == SD15]


def test_an_inpainted_picture_is_encoded_for_both():
    asked = {"input_image": PICTURE, "inpaint": Inpaint(mask="m.png")}
    graph = compiled(refiner_model=SD15, **asked)
    (sampler,) = of_class(graph, "SampleWithRefiner")
    first, second = (graph[sampler[name][0]]["inputs"] for name in ("latent_image", "refiner_latent"))
    assert {**first, "vae": None} == {**second, "vae": None}
    assert first["vae"] != second["vae"]
    plain = compiled(**asked)
    assert "refiner_latent" not in of_class(plain, "SampleWithRefiner")[0]
    assert of_class(plain, "ApplyInpaintEngine")  # it gives way to the refiner


def test_tiny_models_refine_tiny_models_only():
    for base, refiner in ((BASE, TINY_XL), (TINY, XL)):
        with pytest.raises(Refused, match="fit each other only") as caught:
            resolve(replace(REQUEST, base_model=base, refiner_model=refiner), CATALOG)
        assert caught.value.field == "refiner_model"
    assert refined(base_model=TINY, refiner_model=TINY_XL) is not None


def test_only_sdxl_can_begin_a_picture():
    for name, word in ((XL, "SDXL's refiner"), (SD15, "an SD 1.x checkpoint")):
        with pytest.raises(Refused, match=word) as caught:
            resolve(replace(REQUEST, base_model=name), CATALOG)
        assert caught.value.field == "base_model"
    others_first = replace_catalog(checkpoints=(SD15, XL, BASE))
    assert resolve(replace(REQUEST, base_model=None, refiner_model=None), others_first)[0].checkpoint == BASE


def test_preset_sai_refines_when_the_file_is_there_and_goes_on_without_when_not():
    asked = replace(REQUEST, preset="sai", refiner_model=None)
    generation, warnings = resolve(asked, CATALOG)
    assert generation.refiner is not None
    assert (generation.refiner.checkpoint, generation.refiner.switch) == (XL, 22)  # 30 · 0.75 = 22.5
    assert not any("refiner" in warning for warning in warnings)
    generation, warnings = resolve(asked, replace_catalog(checkpoints=(BASE,)))
    assert generation.refiner is None
    assert any(XL in warning for warning in warnings)


def test_an_unknown_swap_method_is_joint_with_a_warning():
    generation, warnings = resolve(replace(REQUEST, refiner_swap_method="seperate"), CATALOG)
    assert generation.refiner is not None
    assert generation.refiner.method == "joint"
    assert any("seperate" in warning and "separate" in warning for warning in warnings)


@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
def test_metadata_name_the_refiner_and_are_read_back(scheme):
    asked = replace(REQUEST, metadata_scheme=scheme, overwrite_switch=7, refiner_swap_method="separate")
    catalog = replace_catalog(hash_of=lambda kind, name: {XL: "3ff6c05723"}.get(name, ""))
    generation, _ = resolve(asked, catalog)
    text = payload(generation, image_text(generation, catalog, 0), catalog)
    assert "3ff6c05723" in text
    again = read(text)
    assert again is not None
    assert again.refiner_model == "sd_xl_refiner_1.0_0.9vae"
    assert (again.overwrite_switch, again.refiner_swap_method) == (7, "separate")
    plain, _ = resolve(replace(asked, refiner_model="None"), catalog)
    assert "efiner hash" not in payload(plain, image_text(plain, catalog, 0), catalog)
