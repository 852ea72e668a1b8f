"""Faces in pictures: finding them, and cutting one out so that its eyes and mouth stand where they always do."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from models.formats.faces import open_faces, plan_faces
from models.formats.plan import check_plan, fill
from models.memory import Loader, Residency, Resident
from models.vision.retinaface import Faces, RetinaFace, anchors, read_faces

PART = "face_detector"
MEAN_BGR = (104.0, 117.0, 123.0)
LEAST_SCORE, OVERLAP = 0.97, 0.4  # Fooocus behaviour §5.6.2

CROP_PX = 512
# Where eyes, nose and corners of the mouth stand in FFHQ's pictures, in pixels of 512 (Fooocus behaviour §5.6.2).
TEMPLATE = np.array(
    [
        (192.98138, 239.94708),
        (318.90277, 240.1936),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    ]
)
BORDER_RGB = (132, 133, 135)  # around pictures that end before the crop does

Points = NDArray[np.float64]


@dataclass(frozen=True)
class FaceDetector:
    """A network that finds faces."""

    module: Resident

    def find(self, pixels: np.ndarray) -> Faces:
        """Find the faces of an 8-bit picture (H, W, 3) at its own size."""
        bgr = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1])).float() - torch.tensor(MEAN_BGR)
        with torch.inference_mode(), self.module.use() as network:
            like = next(network.parameters())
            outputs = network(bgr.permute(2, 0, 1)[None].to(like.device, like.dtype))
            logits, boxes, landmarks = (out.float().cpu() for out in outputs)
        return read_faces((logits, boxes, landmarks), _anchors(*pixels.shape[:2]), LEAST_SCORE, OVERLAP)


@lru_cache(maxsize=4)
def _anchors(height: int, width: int) -> Tensor:
    return anchors(height, width)


def load_face_detector(path: str | Path, residency: Residency) -> FaceDetector:
    """Open a face detector's file; its weights are read at the first use. Raises BadModelFile."""
    path = Path(path)
    with open_faces(path) as file:
        sizes, plan = plan_faces(file)
        status = path.stat()
        key = (str(path.resolve()), status.st_size, status.st_mtime_ns, PART)
        loader = Loader(PART, lambda: RetinaFace(sizes), _filler(path), torch.float32)
        resident = residency.load(key, loader)
        check_plan(file, {name: place.shape for name, place in resident.arena.places.items()}, plan)
    return FaceDetector(resident)


def _filler(path: Path) -> Callable[[nn.Module], None]:
    def read(module: nn.Module) -> None:
        with open_faces(path) as file:
            fill(module, file, plan_faces(file)[1])

    return read


def crop_face(detector: FaceDetector, pixels: np.ndarray) -> np.ndarray:
    """Cut the surest face of a picture (H, W, 3) out, upright and centred: (512, 512, 3). No face: the picture."""
    landmarks = detector.find(pixels).landmarks
    if not len(landmarks):
        return pixels
    return warped(pixels, similarity(landmarks[0].double().numpy(), TEMPLATE))


def similarity(source: Points, target: Points) -> Points:
    """Return the turn, scale and shift (2, 3) that take most points of `source` (N, 2) onto `target`.

    Least median of squares (Rousseeuw 1984) over all pairs of points, then least squares over the points that agree,
    so that one landmark that was not found does not tilt the face.
    """
    best, spread = _fitted(source, target), np.inf
    for pair in combinations(range(len(source)), 2):
        places = list(pair)
        candidate = _fitted(source[places], target[places])
        median = float(np.median(_squares(candidate, source, target)))
        if median < spread:
            best, spread = candidate, median
    # The usual robust standard deviation with its correction for few points; 2 of them settle a similarity.
    sigma = 2.5 * 1.4826 * (1 + 5 / max(len(source) - 2, 1)) * np.sqrt(spread)
    agree = _squares(best, source, target) <= max(sigma, 1e-3) ** 2
    return _fitted(source[agree], target[agree])


def _fitted(source: Points, target: Points) -> Points:
    """Least squares for x' = a·x − b·y + c, y' = b·x + a·y + d."""
    x, y = source.T
    one, none = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate((np.stack((x, -y, one, none), axis=1), np.stack((y, x, none, one), axis=1)))
    a, b, c, d = np.linalg.lstsq(rows, target.T.reshape(-1), rcond=None)[0]
    return np.array([(a, -b, c), (b, a, d)])


def _squares(matrix: Points, source: Points, target: Points) -> Points:
    return ((source @ matrix[:, :2].T + matrix[:, 2] - target) ** 2).sum(axis=-1)


def warped(pixels: np.ndarray, matrix: Points) -> np.ndarray:
    """Move a picture (H, W, 3) by a matrix (2, 3) of pixel centres, bilinear, into a square of 512."""
    whole = np.linalg.inv(np.vstack((matrix, (0, 0, 1))))[:2]
    whole[:, 2] += 0.5 - 0.5 * whole[:, :2].sum(axis=-1)  # Pillow counts from a pixel's corner
    size, method = (CROP_PX, CROP_PX), Image.Transform.AFFINE
    moved = Image.fromarray(pixels).transform(
        size, method, tuple(whole.ravel()), Image.Resampling.BILINEAR, fillcolor=BORDER_RGB
    )
    return np.asarray(moved)
