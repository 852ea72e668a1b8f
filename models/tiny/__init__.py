"""A small SDXL that draws coloured shapes: a checkpoint in the real single-file layout, and the recipe that made it."""

import tempfile
from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoints" / "focal-tiny-sdxl.safetensors"
UPSCALER = Path(__file__).parent / "checkpoints" / "focal-tiny-upscaler-4x.safetensors"
U2NET_FILE = Path(__file__).parent / "checkpoints" / "inpaint" / "focal-tiny-u2net.onnx"
DEFAULT_SIZE = (128, 128)  # width, height in pixels
WORK = Path(tempfile.gettempdir()) / "tiny"  # where the recipe keeps what it does not release
