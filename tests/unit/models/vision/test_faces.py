"""Setting faces upright, and finding drawn ones with the tiny detector."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops, ImageFilter
from skimage import data
from skimage.feature import Cascade

from models.memory import Residency
from models.tiny import FACE_DETECTOR
from models.tiny.faces import drawn_faces
from models.vision.faces import CROP_PX, TEMPLATE, FaceDetector, crop_face, load_face_detector, similarity, warped
from models.vision.retinaface import overlap_of


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return load_face_detector(FACE_DETECTOR, Residency())


def moved(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.radians(degrees)
    matrix = scale * np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
    return points @ matrix.T + shift


@pytest.mark.parametrize("degrees", [0.0, 30.0, -140.0])
def test_a_turned_scaled_and_shifted_face_is_brought_back(degrees: float) -> None:
    there = moved(TEMPLATE, degrees, 0.3, (40, 70))
    matrix = similarity(there, TEMPLATE)
    np.testing.assert_allclose(there @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-6)


def test_one_landmark_in_the_wrong_place_does_not_tilt_the_face() -> None:
    there = moved(TEMPLATE, 20, 0.5, (10, 5))
    there[3] += (60, -80)
    matrix = similarity(there, TEMPLATE)
    back = there @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(np.delete(back, 3, 0), np.delete(TEMPLATE, 3, 0), atol=1e-6)


def test_pixels_land_where_the_matrix_says_and_the_rest_is_grey() -> None:
    pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    pixels[7, 11] = (200, 100, 50)
    shifted = warped(pixels, np.array([(1.0, 0.0, 40.0), (0.0, 1.0, 100.0)]))
    assert shifted.shape == (CROP_PX, CROP_PX, 3)
    assert tuple(shifted[107, 51]) == (200, 100, 50)
    assert tuple(shifted[300, 300]) == (132, 133, 135)
    doubled = warped(pixels, np.array([(2.0, 0.0, 0.0), (0.0, 2.0, 0.0)]))
    assert doubled[14, 22, 0] == 200  # a pixel's middle goes to the matrix's place
    assert doubled[14, 21, 0] == doubled[14, 23, 0] == 100


def test_a_picture_without_a_face_stays_as_it_is(detector: FaceDetector) -> None:
    plain = np.full((90, 120, 3), 128, dtype=np.uint8)
    assert crop_face(detector, plain) is plain


def test_drawn_faces_are_found_and_set_upright(detector: FaceDetector) -> None:
    """Their eyes, known from the drawing, come to stand where the template has them."""
    rng = random.Random(11)
    distances = []
    for _ in range(12):
        picture, (face,) = drawn_faces(192, 160, rng, count=1)
        pixels = np.asarray(picture)
        found = detector.find(pixels)
        if not len(found.scores):
            continue
        matrix = similarity(found.landmarks[0].double().numpy(), TEMPLATE)
        eyes = face.landmarks[:2] @ matrix[:, :2].T + matrix[:, 2]
        distances.append(np.abs(eyes - TEMPLATE[:2]).max())
    assert len(distances) >= 8
    assert np.median(distances) < 40  # of 512; the eyes are 126 apart


def test_a_real_photograph_shows_a_face_where_another_detector_finds_it(detector: FaceDetector) -> None:
    """NASA's portrait of Eileen Collins (public domain) and a cascade of binary patterns, both of scikit-image."""
    photograph = data.astronaut()
    cascade = Cascade(data.lbp_frontal_face_cascade_filename())
    sizes = {"scale_factor": 1.2, "step_ratio": 1, "min_size": (60, 60), "max_size": (200, 200)}
    (theirs,) = cascade.detect_multi_scale(img=photograph, **sizes)
    left, top = float(theirs["c"]), float(theirs["r"])
    other = torch.tensor([left, top, left + theirs["width"], top + theirs["height"]])
    found = detector.find(photograph)
    assert overlap_of(other, found.boxes[:1]).item() > 0.6
    across, down = ((found.landmarks[0] - other[:2]) / (other[2:] - other[:2])).unbind(dim=-1)
    assert across[0] < across[2] < across[1]  # the nose between the eyes
    assert across[3] < across[2] < across[4]  # and between the corners of the mouth
    assert max(down[0], down[1]) < 0.5 < down[2] < min(down[3], down[4])
    upright = crop_face(detector, photograph)
    assert upright.shape == (CROP_PX, CROP_PX, 3)
    (again,) = cascade.detect_multi_scale(
        img=upright, scale_factor=1.2, step_ratio=1, min_size=(200, 200), max_size=(400, 400)
    )
    middle = again["c"] + again["width"] / 2, again["r"] + again["height"] / 2
    assert np.abs(np.array(middle) - TEMPLATE.mean(axis=0)).max() < 40


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "reduced": lambda photograph: photograph.resize((360, 360)),
    "enlarged": lambda photograph: photograph.resize((600, 600)),
    "turned": lambda photograph: photograph.rotate(15),
    "moved": lambda photograph: ImageChops.offset(photograph, 37, 0),
    "cut": lambda photograph: photograph.crop((60, 0, 400, 300)),
    "blurred": lambda photograph: photograph.filter(ImageFilter.GaussianBlur(1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_photograph_still_shows_it_upright_in_the_middle(detector: FaceDetector, change: str) -> None:
    photograph = CHANGES[change](Image.fromarray(data.astronaut()))
    upright = crop_face(detector, np.asarray(photograph))
    cascade = Cascade(data.lbp_frontal_face_cascade_filename())
    sizes = {"scale_factor": 1.2, "step_ratio": 1, "min_size": (200, 200), "max_size": (400, 400)}
    (found,) = cascade.detect_multi_scale(img=upright, **sizes)
    middle = found["c"] + found["width"] / 2, found["r"] + found["height"] / 2
    assert np.abs(np.array(middle) - TEMPLATE.mean(axis=0)).max() < 60
