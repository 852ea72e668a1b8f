"""Vary, upscale, inpaint and outpaint over REST with the real nodes and the tiny models."""

import base64
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import TEXT_TO_IMAGE

PROMPT = "a red circle on a blue background"
VARY = "/v1/generation/image-upscale-vary"
INPAINT = "/v2/generation/image-inpaint-outpaint"
SOFT_PX = 32  # a repainted part fades out over so many pixels


def pixels(data: bytes) -> np.ndarray:
    """(H, W, 3) in 0..255."""
    return np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(int)


def made(server: Any, reply: Any) -> np.ndarray:
    (image,) = reply.json()
    assert image["finish_reason"] == "SUCCESS"
    return pixels(server.picture(image["url"]))


@pytest.fixture(scope="module")
def drawn(server) -> tuple[str, bytes]:
    """The address of a generated picture, and its bytes."""
    (image,) = server.client.post(TEXT_TO_IMAGE, json={"prompt": PROMPT, "image_seed": 5}).json()
    return image["url"], server.picture(image["url"])


def test_a_subtle_variation_is_another_picture_of_the_same_layout(server, drawn):
    _, data = drawn
    asked = {"uov_method": "Vary (Subtle)", "prompt": PROMPT, "image_seed": "6"}
    varied = made(server, server.client.post(VARY, data=asked, files={"input_image": data}))
    before = pixels(data)
    assert varied.shape == before.shape
    assert not np.array_equal(varied, before)
    likeness = np.corrcoef(varied.ravel(), before.ravel())[0, 1]
    assert likeness > 0.6


@pytest.mark.parametrize("method", ["Upscale (2x)", "Upscale (Fast 2x)"])
def test_upscaling_doubles_the_sides_and_keeps_the_picture(server, drawn, method):
    url, data = drawn
    body = {"uov_method": method, "prompt": PROMPT, "input_image": url}
    large = made(server, server.client.post(VARY, json=body))
    before = pixels(data)
    assert large.shape == (before.shape[0] * 2, before.shape[1] * 2, 3)
    small = large.reshape(before.shape[0], 2, before.shape[1], 2, 3).mean((1, 3))
    assert np.corrcoef(small.ravel(), before.ravel())[0, 1] > 0.8


def test_inpainting_leaves_what_lies_outside_bit_for_bit(server, drawn):
    url, data = drawn
    before = pixels(data)
    height, width = before.shape[:2]
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (0, 0, width // 4, height))
    out = BytesIO()
    mask.save(out, "PNG")
    body = {"input_image": url, "input_mask": base64.b64encode(out.getvalue()).decode(), "prompt": "a green background"}
    after = made(server, server.client.post(INPAINT, json=body))
    kept = width // 4 + SOFT_PX
    assert np.array_equal(after[:, kept:], before[:, kept:])
    assert not np.array_equal(after[:, : width // 4], before[:, : width // 4])


def test_outpainting_extends_the_picture_and_keeps_it(server, drawn):
    url, data = drawn
    before = pixels(data)
    body = {"input_image": url, "outpaint_selections": ["Right"], "outpaint_distance_right": 32, "prompt": PROMPT}
    after = made(server, server.client.post(INPAINT, json=body))
    assert after.shape == (before.shape[0], before.shape[1] + 32, 3)
    kept = before.shape[1] - SOFT_PX
    assert np.array_equal(after[:, :kept], before[:, :kept])
