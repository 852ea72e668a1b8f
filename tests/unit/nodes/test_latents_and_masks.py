import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from engine import events
from tests.unit.nodes.conftest import Workshop
from tests.unit.nodes.test_comfy_graphs import k_sampler, pixels


@pytest.fixture
def call(registry):
    return lambda class_type, **inputs: registry.get(class_type).call(**inputs)


def latent(batch: int = 2, height: int = 8, width: int = 12, **facts):
    generator = torch.Generator().manual_seed(batch * height * width)
    return {"samples": torch.randn(batch, 4, height, width, generator=generator), **facts}


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [(192, 128, (16, 24)), (0, 128, (16, 24)), (192, 0, (16, 24)), (0, 0, (8, 12)), (8, 8, (8, 8)), (0, 8, (8, 12))],
)
def test_a_latent_is_resized_to_pixels_and_zero_keeps_the_aspect(call, width, height, shape):
    out = call(
        "LatentUpscale", samples=latent(), upscale_method="bilinear", width=width, height=height, crop="disabled"
    )
    assert out["samples"].shape[-2:] == shape


def test_a_latent_is_resized_by_a_factor(call):
    out = call("LatentUpscaleBy", samples=latent(noise_mask="kept"), upscale_method="bislerp", scale_by=1.5)
    assert out["samples"].shape == (2, 4, 12, 18)
    assert out["noise_mask"] == "kept"


def test_latents_are_flipped_and_turned_clockwise(call):
    value = latent()
    array = value["samples"].numpy()
    flipped = call("LatentFlip", samples=value, flip_method="x-axis: vertically")["samples"]
    assert np.array_equal(flipped, array[:, :, ::-1])
    flipped = call("LatentFlip", samples=value, flip_method="y-axis: horizontally")["samples"]
    assert np.array_equal(flipped, array[..., ::-1])
    for quarter, name in enumerate(("none", "90 degrees", "180 degrees", "270 degrees")):
        turned = call("LatentRotate", samples=value, rotation=name)["samples"]
        assert np.array_equal(turned, np.rot90(array, -quarter, axes=(2, 3)))


def test_a_part_of_a_batch_remembers_its_places(call):
    value = latent(4)
    part = call("LatentFromBatch", samples=value, batch_index=2, length=9)
    assert torch.equal(part["samples"], value["samples"][2:])
    assert part["batch_index"] == [2, 3]
    again = call("LatentFromBatch", samples=part, batch_index=1, length=1)
    assert again["batch_index"] == [3]
    striped = latent(4, noise_mask=torch.arange(2.0).reshape(2, 1, 1, 1))
    masked = call("LatentFromBatch", samples=striped, batch_index=1, length=2)
    assert masked["noise_mask"].flatten().tolist() == [1, 0]


def test_the_noise_of_a_batch_is_found_again_for_one_of_it(workshop: Workshop):
    graph = k_sampler(steps=2)
    graph["5"]["inputs"]["batch_size"] = 2
    _, second = (np.asarray(Image.open(path)) for path in workshop.files(workshop.run(graph)))
    graph["10"] = {"class_type": "LatentFromBatch", "inputs": {"samples": ["5", 0], "batch_index": 1, "length": 1}}
    graph["3"]["inputs"]["latent_image"] = ["10", 0]
    assert np.abs(pixels(workshop, graph).astype(int) - second).max() <= 1


def test_batches_are_repeated_and_joined(call):
    value = latent(2, batch_index=[1, 2])
    repeated = call("RepeatLatentBatch", samples=value, amount=2)
    assert torch.equal(repeated["samples"], value["samples"].repeat(2, 1, 1, 1))
    assert repeated["batch_index"] == [1, 2, 3, 4]
    joined = call("LatentBatch", samples1=value, samples2=latent(1, 16, 24))
    assert joined["samples"].shape == (3, 4, 8, 12)
    assert joined["batch_index"] == [1, 2, 0]


def test_latent_arithmetic_fits_the_second_to_the_first(call):
    one, two = latent(3), latent(2)
    total = call("LatentAdd", samples1=one, samples2=two)["samples"]
    assert torch.equal(total, one["samples"] + two["samples"][[0, 1, 0]])
    assert not call("LatentSubtract", samples1=one, samples2=one)["samples"].any()
    assert torch.equal(call("LatentMultiply", samples=one, multiplier=-2.0)["samples"], one["samples"] * -2)


@pytest.mark.parametrize("expand", [0, 1, 3, -1, -2, 500])
@pytest.mark.parametrize("tapered", [True, False])
def test_masks_grow_as_scipy_s_grey_dilation(call, expand, tapered):
    mask = torch.zeros(2, 20, 24)
    mask[0, 5:15, 6:12] = 1
    mask[1, 0, 0] = 0.5
    mask[1, 10:20, 10:24] = 0.8
    footprint = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]]) if tapered else np.ones((3, 3))
    expected = []
    for plane in mask.numpy():
        for _ in range(min(abs(expand), 30)):
            if expand < 0:
                plane = ndimage.grey_erosion(plane, footprint=footprint)
            else:
                plane = ndimage.grey_dilation(plane, footprint=footprint)
        expected.append(plane)
    assert np.array_equal(call("GrowMask", mask=mask, expand=expand, tapered_corners=tapered), np.stack(expected))


def test_simple_masks(call):
    mask = torch.rand(1, 6, 8)
    picture = call("MaskToImage", mask=mask)
    assert picture.shape == (1, 6, 8, 3)
    assert torch.equal(call("ImageToMask", image=picture, channel="blue"), mask)
    assert torch.equal(call("InvertMask", mask=mask), 1 - mask)
    assert torch.equal(call("ThresholdMask", mask=mask, value=0.5), (mask > 0.5).float())
    assert torch.equal(call("CropMask", mask=mask[0], x=2, y=1, width=3, height=99), mask[:, 1:, 2:5])
    assert torch.equal(call("SolidMask", value=0.25, width=3, height=2), torch.full((1, 2, 3), 0.25))


def test_simple_pictures(call):
    red = call("EmptyImage", width=4, height=3, batch_size=2, color=0xFF8000)
    assert red.shape == (2, 3, 4, 3)
    assert (red[1, 2, 3] * 255).round().tolist() == [255, 128, 0]
    assert torch.equal(call("ImageInvert", image=red), 1 - red)
    larger = call("ImageScale", image=red, upscale_method="bilinear", width=0, height=6, crop="disabled")
    assert larger.shape == (2, 6, 8, 3)
    assert call("ImageScaleBy", image=red, upscale_method="area", scale_by=0.5).shape == (2, 2, 2, 3)
    assert call("ImageBatch", image1=red, image2=larger).shape == (4, 3, 4, 3)
    assert call("ImageCrop", image=larger, width=99, height=2, x=3, y=99).shape == (2, 1, 5, 3)


def test_a_feathered_mask_fades_over_so_many_pixels_with_comfyui_s_late_start_at_the_right(call):
    faded = call("FeatherMask", mask=torch.ones(5, 8), left=4, top=0, right=0, bottom=0)
    assert faded[0].tolist() == [[0.25, 0.5, 0.75, 1, 1, 1, 1, 1]] * 5
    faded = call("FeatherMask", mask=torch.ones(1, 5, 8), left=0, top=0, right=2, bottom=0)
    assert faded[0].tolist() == [[0.5, 1, 1, 1, 1, 1, 1, 1]] * 5
    corner = call("FeatherMask", mask=torch.ones(1, 4, 4), left=2, top=99, right=0, bottom=0)
    assert corner[0].tolist() == [[0.25 * row * 0.5, *[0.25 * row] * 3] for row in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [("multiply", 0.3), ("add", 1.0), ("subtract", 0.0), ("and", 0.0), ("or", 1.0), ("xor", 1.0)],
)
def test_a_mask_is_laid_over_another(call, operation, expected):
    under, over = torch.full((2, 4, 6), 0.5), torch.full((1, 9, 3), 0.6)
    laid = call("MaskComposite", destination=under, source=over, x=4, y=1, operation=operation)
    inside = torch.zeros(4, 6, dtype=torch.bool)
    inside[1:, 4:] = True
    assert torch.allclose(laid[:, inside], torch.tensor(expected))
    assert (laid[:, ~inside] == 0.5).all()
    assert torch.equal(call("MaskComposite", destination=under, source=over, x=6, y=0, operation=operation), under)


def test_pixels_of_exactly_one_colour_are_selected(call):
    image = torch.tensor([[[[1.0, 0.5, 0.0, 0.3], [1.0, 0.504, 0.0, 1.0], [2.0, 0.502, -1.0, 1.0]]]])
    assert call("ImageColorToMask", image=image, color=0xFF8000).tolist() == [[[1, 0, 1]]]


def test_a_mask_is_shown_as_a_grey_picture(workshop: Workshop):
    graph = {
        "1": {"class_type": "SolidMask", "inputs": {"value": 0.5, "width": 6, "height": 4}},
        "2": {"class_type": "MaskPreview", "inputs": {"mask": ["1", 0]}},
    }
    shown = pixels(workshop, graph)
    assert shown.shape == (4, 6, 3)
    assert np.unique(shown).tolist() == [127]


def test_one_channel_of_a_file_is_a_mask(workshop: Workshop, call):
    array = np.zeros((4, 6, 4), dtype=np.uint8)
    array[..., 1], array[..., 3] = 51, 204
    Image.fromarray(array, "RGBA").save(workshop.root / "input" / "alpha.png")
    Image.fromarray(array[..., :3]).save(workshop.root / "input" / "plain.png")
    graph = {
        "1": {"class_type": "LoadImageMask", "inputs": {"image": "alpha.png", "channel": "alpha"}},
        "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    assert np.unique(pixels(workshop, graph)).tolist() == [50]  # 1 - 204/255, cut, not rounded
    graph["1"]["inputs"]["channel"] = "green"
    assert np.unique(pixels(workshop, graph)).tolist() == [51]
    graph["1"]["inputs"] = {"image": "plain.png", "channel": "alpha"}
    plain = pixels(workshop, graph)
    assert plain.shape == (4, 6, 3)
    assert not plain.any()


def test_sampling_keeps_what_the_noise_mask_leaves_out(workshop: Workshop):
    graph = k_sampler(steps=3)
    graph["10"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0x4080C0},
    }
    graph["11"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    graph["12"] = {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": 64, "height": 64}}
    graph["13"] = {"class_type": "SetLatentNoiseMask", "inputs": {"samples": ["11", 0], "mask": ["12", 0]}}
    graph["3"]["inputs"]["latent_image"] = ["13", 0]
    kept = pixels(workshop, graph)
    graph["8"]["inputs"]["samples"] = ["11", 0]
    assert np.abs(kept.astype(int) - pixels(workshop, graph)).max() <= 1


def test_inpainting_starts_from_a_greyed_out_picture_and_a_grown_mask(workshop: Workshop):
    graph = k_sampler(steps=2)
    graph["10"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 70, "height": 64, "batch_size": 1, "color": 0xFFFFFF},
    }
    graph["12"] = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 70, "height": 64}}
    inputs = {"pixels": ["10", 0], "vae": ["4", 2], "mask": ["12", 0], "grow_mask_by": 6}
    graph["5"] = {"class_type": "VAEEncodeForInpaint", "inputs": inputs}
    result = workshop.run(graph)
    assert result.status == "succeeded", result.error
    assert len(workshop.seen(events.Progress)) == 2


def test_the_grown_noise_mask_is_the_mask_moved_by_half_the_kernel(registry):
    class RecordingVae:
        def encode(self, image):
            self.seen = image
            return image

    vae, mask = RecordingVae(), torch.zeros(1, 16, 24)
    mask[0, 8, 12] = 1
    call = registry.get("VAEEncodeForInpaint").call
    out = call(pixels=torch.ones(1, 16, 24, 3), vae=vae, mask=mask, grow_mask_by=5)
    assert vae.seen[0, 8, 12].tolist() == [0.5, 0.5, 0.5]
    assert vae.seen.sum() == 16 * 24 * 3 - 1.5
    rows, columns = np.nonzero(out["noise_mask"][0, 0].numpy())
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 10, 10, 14)
    even = call(pixels=torch.ones(1, 16, 24, 3), vae=vae, mask=mask, grow_mask_by=6)["noise_mask"]
    assert even.shape == (1, 1, 16, 24)
    assert even.sum() == 36
