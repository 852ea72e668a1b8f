"""Finding faces and cutting them out."""

from typing import Annotated

import numpy as np
import torch

from engine.context import Context
from engine.node import node
from engine.types import Choices, Socket
from models.files.image import to_uint8
from models.vision.faces import FaceDetector, crop_face, load_face_detector
from models.vision.pixels import resized
from nodes.runtime import Runtime, file_identity, model_names
from nodes.sockets import Image

Detector = Annotated[FaceDetector, Socket("FACE_DETECTOR")]
DetectorName = Annotated[str, Choices(lambda: model_names("controlnet"))]


@node(
    "FaceDetectorLoader",
    category="loaders",
    display_name="Load Face Detector",
    fingerprint=lambda detector_name: file_identity("controlnet", detector_name),
)
def load_face_detector_node(detector_name: DetectorName, context: Context) -> Detector:
    """Open a RetinaFace with a ResNet body, such as detection_Resnet50_Final.pth."""
    runtime: Runtime = context.runtime
    return load_face_detector(runtime.folders.path("controlnet", detector_name), runtime.residency)


@node("CropFace", category="image/preprocessors", display_name="Crop Face")
def crop_face_node(face_detector: Detector, image: Image) -> Image:
    """Cut the surest face out of a picture, upright and centred, 512 × 512; a picture without one stays as it is.

    Of several pictures each has the size of the first.
    """
    crops = [crop_face(face_detector, pixels) for pixels in to_uint8(image[..., :3])]
    height, width = crops[0].shape[:2]
    alike = [crop if crop.shape[:2] == (height, width) else resized(crop, height, width) for crop in crops]
    return torch.from_numpy(np.stack(alike)).float() / 255
