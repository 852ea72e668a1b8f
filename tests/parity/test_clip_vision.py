"""CLIP's image encoder against transformers' on the same random tensors."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPImageProcessor

from models.errors import BadModelFile
from models.memory import Residency
from models.vision.clip_vision import DEVIATION, MEAN, load_clip_vision
from models.vision.pixels import cropped
from tests.parity.vision_reference import open_clip_names, published_names, transformers_vision

TOLERANCE = 1e-4
ACT = "quick_gelu"
SIZES = {
    # As ViT-L: heads 64 wide, quick GELU.
    "64-wide heads": {"hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 3, "hidden_act": "quick_gelu"},
    # ViT-H: 16 heads of 80, which the tensors do not tell.
    "80-wide heads": {
        "hidden_size": 1280,
        "num_attention_heads": 16,
        "num_hidden_layers": 2,
        "hidden_act": "quick_gelu",
    },
    # ViT-H has 32 layers, and from there on encoders were trained with GELU.
    "32 layers": {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 32, "hidden_act": "gelu"},
}
OTHERS = {"intermediate_size": 96, "patch_size": 14, "image_size": 56, "projection_dim": 40}


def picture(side: int = 56) -> Tensor:
    return torch.rand(2, side, side, 3, generator=torch.Generator().manual_seed(5))


def normalised(pixels: Tensor) -> Tensor:
    return ((pixels - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).movedim(-1, 1)


@pytest.mark.parametrize("names", ["transformers", "open_clip"])
@pytest.mark.parametrize("kind", SIZES)
def test_states_and_embeddings_equal_transformers(kind: str, names: str, tmp_path: Path) -> None:
    oracle = transformers_vision(**SIZES[kind], **OTHERS)
    state = published_names(oracle)
    save_file(open_clip_names(state) if names == "open_clip" else state, tmp_path / "vision.safetensors")
    encoder = load_clip_vision(tmp_path / "vision.safetensors", Residency())
    found = encoder.encode(picture())
    with torch.inference_mode():
        expected = oracle(normalised(picture()), output_hidden_states=True)
    assert encoder.side == 56
    assert expected.image_embeds.std() > 0.1
    for mine, reference in (
        (found.last_hidden_state, expected.last_hidden_state),
        (found.penultimate_hidden_states, expected.hidden_states[-2]),
        (found.image_embeds, expected.image_embeds),
    ):
        torch.testing.assert_close(
            mine, reference, rtol=0, atol=TOLERANCE * max(1.0, float(reference.abs().max()) / 10)
        )


def test_the_header_may_tell_what_the_tensors_do_not(tmp_path: Path) -> None:
    sizes = {"hidden_size": 96, "num_attention_heads": 4, "num_hidden_layers": 2, "hidden_act": "gelu"}
    oracle = transformers_vision(**sizes, **OTHERS)
    told = {"focal.vision_heads": "4", "focal.vision_activation": "gelu"}
    save_file(published_names(oracle), tmp_path / "vision.safetensors", metadata=told)
    found = load_clip_vision(tmp_path / "vision.safetensors", Residency()).encode(picture())
    with torch.inference_mode():
        expected = oracle(normalised(picture())).image_embeds
    torch.testing.assert_close(found.image_embeds, expected, rtol=0, atol=TOLERANCE)


def test_nothing_is_a_picture_of_normalised_zeros(tmp_path: Path) -> None:
    oracle = transformers_vision(**SIZES["64-wide heads"], **OTHERS)
    save_file(published_names(oracle), tmp_path / "vision.safetensors")
    found = load_clip_vision(tmp_path / "vision.safetensors", Residency()).encode_nothing()
    with torch.inference_mode():
        expected = oracle(torch.zeros(1, 3, 56, 56), output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(found.penultimate_hidden_states, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("size", [(90, 70), (40, 100), (56, 56)])
def test_centre_crops_are_those_of_transformers(size: tuple[int, int]) -> None:
    """transformers resizes with Pillow, in 8 bits; ComfyUI (and this) with torch: both bicubic with antialiasing."""
    pixels = (torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(2)) * 255).round() / 255
    processor = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    array = (pixels[0] * 255).round().to(torch.uint8).numpy()
    expected = processor(images=array, return_tensors="pt")["pixel_values"]
    difference = (normalised(cropped(pixels, 56, center=True)) - expected).abs()
    assert difference.mean() < 1 / 255 / min(DEVIATION)


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ({"decoder.conv_in.weight": torch.zeros(1)}, "no CLIP image encoder"),
        ({"vision_model.embeddings.patch_embedding.weight": torch.zeros(8, 3, 2, 2)}, "lacks the tensor"),
    ],
)
def test_other_files_are_refused(state: dict[str, Tensor], fault: str, tmp_path: Path) -> None:
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(BadModelFile, match=fault):
        load_clip_vision(tmp_path / "other.safetensors", Residency())
