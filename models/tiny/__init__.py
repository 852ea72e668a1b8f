"""A small SDXL that draws coloured shapes: a checkpoint in the real single-file layout, and the recipe that made it."""

import tempfile
from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoints" / "focal-tiny-sdxl.safetensors"
UPSCALER = Path(__file__).parent / "checkpoints" / "focal-tiny-upscaler-4x.safetensors"
U2NET_FILE = Path(__file__).parent / "checkpoints" / "inpaint" / "focal-tiny-u2net.onnx"
CLIP_VISION = CHECKPOINT.parent / "clip_vision" / "focal-tiny-clip-vision.safetensors"
IP_ADAPTER = CHECKPOINT.parent / "controlnet" / "focal-tiny-ip-adapter-plus.safetensors"
IP_ADAPTER_FACE = CHECKPOINT.parent / "controlnet" / "focal-tiny-ip-adapter-plus-face.safetensors"
FACE_DETECTOR = CHECKPOINT.parent / "controlnet" / "focal-tiny-face-detector.safetensors"
DEFAULT_SIZE = (128, 128)  # width, height in pixels
WORK = Path(tempfile.gettempdir()) / "tiny"  # where the recipe keeps what it does not release
