"""An image prompt as a value that the engine may keep."""

from pathlib import Path

import torch

from models.memory import Residency
from models.sdxl import load_checkpoint
from models.vision.clip_vision import load_clip_vision
from models.vision.image_prompt import cross_widths, load_adapter

TINY = Path(__file__).parents[4] / "models" / "tiny" / "checkpoints"


def test_what_is_computed_for_a_run_is_plain_contiguous_and_in_main_memory() -> None:
    residency = Residency()
    model = load_checkpoint(TINY / "focal-tiny-sdxl.safetensors", residency)[0]
    encoder = load_clip_vision(TINY / "clip_vision" / "focal-tiny-clip-vision.safetensors", residency)
    adapter = load_adapter(TINY / "controlnet" / "focal-tiny-ip-adapter-plus.safetensors", residency)
    with torch.inference_mode():  # as in a worker
        seen = encoder.encode(torch.rand(1, encoder.side, encoder.side, 3))
    prompt = adapter.prompt(seen, model, weight=0.6, stop=0.5)
    tensors = [tensor for pair in (*prompt.positive, *prompt.negative) for tensor in pair]
    assert len(tensors) == 4 * len(cross_widths(model.unet.sizes))
    assert all(tensor.is_contiguous() and tensor.device.type == "cpu" for tensor in tensors)
    assert not any(tensor.is_inference() for tensor in tensors)
