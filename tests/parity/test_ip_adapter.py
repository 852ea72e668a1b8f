"""IP-Adapters against diffusers on the same random tensors: the whole UNet with pictures beside the words."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.errors import BadModelFile
from models.memory import Residency
from models.sampling.conditions import NEGATIVE, POSITIVE
from models.sdxl import Model, load_checkpoint
from models.vision.apply import with_pictures
from models.vision.clip_vision import ClipVision, VisionOutput, load_clip_vision
from models.vision.image_prompt import AdapterMismatch, ImagePrompt, load_adapter
from tests.parity.diffusers_sdxl import diffusers_unet
from tests.parity.random_sdxl import TINY, write_checkpoint
from tests.parity.test_unet import inputs, size_vector
from tests.parity.vision_reference import (
    projection_shapes,
    published_names,
    random_adapter,
    resampler_shapes,
    transformers_vision,
    write_adapter,
)

TOLERANCE = 1e-4
CONTEXT = TINY.text_l[0] + TINY.text_g[0]
FEATURES, EMBEDS = 64, 40
WIDTHS = [64] * 2 + [128] * 4 + [128] * 6 + [64] * 3 + [128] * 2  # down, up, middle of TINY
PLUS = resampler_shapes(FEATURES, 128, tokens=16, depth=4, heads=2, output=CONTEXT)
PLAIN = projection_shapes(EMBEDS, tokens=4, output=CONTEXT)
WEIGHTS = (0.7, 0.4)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, dict[str, Tensor], Residency, ClipVision]:
    folder = tmp_path_factory.mktemp("base")
    state = write_checkpoint(folder / "base.safetensors", TINY)
    residency = Residency()
    sizes = {"hidden_size": FEATURES, "num_attention_heads": 1, "num_hidden_layers": 2, "hidden_act": "quick_gelu"}
    others = {"intermediate_size": 96, "patch_size": 14, "image_size": 56, "projection_dim": EMBEDS}
    save_file(published_names(transformers_vision(**sizes, **others)), folder / "vision.safetensors")
    vision = load_clip_vision(folder / "vision.safetensors", residency)
    return load_checkpoint(folder / "base.safetensors", residency)[0], state, residency, vision


def picture(vision: ClipVision, seed: int) -> VisionOutput:
    return vision.encode(torch.rand(1, 56, 56, 3, generator=torch.Generator().manual_seed(seed)))


@torch.inference_mode()
def ours(model: Model, prompts: list[ImagePrompt], branches: tuple[int, int]) -> Tensor:
    x, timesteps, context, pooled, numbers = inputs(TINY)
    y = size_vector(pooled, numbers, TINY.time_width)
    with model.use() as unet:
        sees = [branch == POSITIVE for branch in branches]
        return unet(x, timesteps, with_pictures(unet.prepare(context), prompts, sees, torch.cat), y)


@torch.inference_mode()
def theirs(state: dict[str, Tensor], model: Model, adapters: list, features: list[Tensor], weights: list) -> Tensor:
    """features: (rows, T, F) or (rows, F) for each adapter."""
    x, timesteps, context, pooled, numbers = inputs(TINY)
    unet = diffusers_unet(state, model.unet.sizes, TINY.text_g[0])
    unet._load_ip_adapter_weights(adapters, low_cpu_mem_usage=False)
    for processor in unet.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = weights
    added = {
        "text_embeds": pooled,
        "time_ids": numbers,
        "image_embeds": [feature[:, None] for feature in features],  # one picture per row
    }
    return unet(x, timesteps, encoder_hidden_states=context, added_cond_kwargs=added, return_dict=False)[0]


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
def test_a_plus_adapter_equals_diffusers_in_both_branches(ending: str, base, tmp_path: Path) -> None:
    model, state, residency, vision = base
    adapter = random_adapter(PLUS, WIDTHS, CONTEXT)
    loaded = load_adapter(write_adapter(adapter, tmp_path / f"plus{ending}"), residency)
    seen = picture(vision, 1)
    prompt = loaded.prompt(seen, model, WEIGHTS[0], stop=1.0)
    found = ours(model, [prompt], (NEGATIVE, POSITIVE))
    rows = torch.cat((vision.encode_nothing().penultimate_hidden_states, seen.penultimate_hidden_states))
    expected = theirs(state, model, [adapter], [rows], [WEIGHTS[0]])
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
    plain = theirs(state, model, [adapter], [rows], [0.0])
    assert (expected - plain).abs().mean() > 0.01


def test_a_plain_adapter_equals_diffusers(base, tmp_path: Path) -> None:
    model, state, residency, vision = base
    adapter = random_adapter(PLAIN, WIDTHS, CONTEXT)
    loaded = load_adapter(write_adapter(adapter, tmp_path / "plain.safetensors"), residency)
    seen = picture(vision, 1)
    prompt = loaded.prompt(seen, model, WEIGHTS[0], stop=1.0)
    rows = torch.cat((torch.zeros_like(seen.image_embeds), seen.image_embeds))
    expected = theirs(state, model, [adapter], [rows], [WEIGHTS[0]])
    torch.testing.assert_close(ours(model, [prompt], (NEGATIVE, POSITIVE)), expected, rtol=0, atol=TOLERANCE)


def test_several_pictures_add_up_as_in_diffusers(base, tmp_path: Path) -> None:
    model, state, residency, vision = base
    adapters = [random_adapter(PLUS, WIDTHS, CONTEXT, seed=seed) for seed in (3, 8)]
    files = [write_adapter(adapter, tmp_path / f"{i}.safetensors") for i, adapter in enumerate(adapters)]
    seen = [picture(vision, seed) for seed in (1, 2)]
    prompts = [
        load_adapter(file, residency).prompt(output, model, weight, 1.0)
        for file, output, weight in zip(files, seen, WEIGHTS, strict=True)
    ]
    rows = [output.penultimate_hidden_states.repeat(2, 1, 1) for output in seen]
    expected = theirs(state, model, adapters, rows, list(WEIGHTS))
    torch.testing.assert_close(ours(model, prompts, (POSITIVE, POSITIVE)), expected, rtol=0, atol=TOLERANCE)


def test_the_negative_prompt_sees_the_tokens_of_a_file(base, tmp_path: Path) -> None:
    model, _, residency, vision = base
    adapter = random_adapter(PLUS, WIDTHS, CONTEXT)
    file = write_adapter(adapter, tmp_path / "plus.safetensors")
    tokens = torch.randn(1, 16, CONTEXT, generator=torch.Generator().manual_seed(4))
    save_file({"data": tokens}, tmp_path / "negative.safetensors")
    loaded = load_adapter(file, residency, tmp_path / "negative.safetensors")
    prompt = loaded.prompt(picture(vision, 1), model, 1.0, 1.0)
    last = adapter["ip_adapter"]["33.to_k_ip.weight"]  # the middle block's second attention: place 7 in the UNet
    expected = (tokens @ last.T).unflatten(-1, (-1, 64)).transpose(1, 2)
    torch.testing.assert_close(prompt.negative[7][0], expected, rtol=0, atol=TOLERANCE)


def test_other_depths_and_heads_are_read_from_the_tensors(base, tmp_path: Path) -> None:
    model, _, residency, vision = base
    image = resampler_shapes(FEATURES, 96, tokens=5, depth=2, heads=3, output=CONTEXT)
    file = write_adapter(random_adapter(image, WIDTHS, CONTEXT), tmp_path / "plus.safetensors")
    prompt = load_adapter(file, residency).prompt(picture(vision, 1), model, 1.0, 1.0)
    assert prompt.positive[0][0].shape == (1, 1, 5, 64)


def test_an_adapter_for_another_model_is_refused(base, tmp_path: Path) -> None:
    model, _, residency, vision = base
    file = write_adapter(random_adapter(PLUS, WIDTHS[:-1], CONTEXT), tmp_path / "plus.safetensors")
    with pytest.raises(AdapterMismatch, match="another model"):
        load_adapter(file, residency).prompt(picture(vision, 1), model, 1.0, 1.0)


def test_an_adapter_for_another_encoder_is_refused(base, tmp_path: Path) -> None:
    model, _, residency, vision = base
    image = resampler_shapes(FEATURES + 8, 128, tokens=16, depth=2, heads=2, output=CONTEXT)
    file = write_adapter(random_adapter(image, WIDTHS, CONTEXT), tmp_path / "plus.safetensors")
    with pytest.raises(AdapterMismatch, match="72 wide, the encoder's are 64"):
        load_adapter(file, residency).prompt(picture(vision, 1), model, 1.0, 1.0)


def test_tokens_of_another_width_are_refused(base, tmp_path: Path) -> None:
    _, _, residency, _ = base
    file = write_adapter(random_adapter(PLUS, WIDTHS, CONTEXT), tmp_path / "plus.safetensors")
    save_file({"data": torch.zeros(1, 16, CONTEXT + 1)}, tmp_path / "negative.safetensors")
    with pytest.raises(AdapterMismatch, match="holds no tokens"):
        load_adapter(file, residency, tmp_path / "negative.safetensors")


FACE_ID = {"image_proj": {"proj.0.weight": torch.zeros(2, 2)}, "ip_adapter": {"1.to_q_lora.down.weight": torch.ones(1)}}


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
@pytest.mark.parametrize(
    ("adapter", "fault"),
    [
        (FACE_ID, "is a FaceID adapter"),
        ({"image_proj": {"proj.0.weight": torch.ones(1)}, "ip_adapter": {"1.to_k_ip.weight": torch.ones(1)}}, "a kind"),
        ({"image_proj": {"latents": torch.ones(1)}, "ip_adapter": {"other": torch.ones(1)}}, "is no IP-Adapter"),
        (
            {"image_proj": {"latents": torch.ones(1, 1, 1)}, "ip_adapter": {"1.to_k_ip.weight": torch.ones(1, 1)}},
            "lacks",
        ),
    ],
)
def test_files_that_cannot_be_used_are_refused(adapter: dict, fault: str, ending: str, tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=fault):
        load_adapter(write_adapter(adapter, tmp_path / f"other{ending}"), Residency())
