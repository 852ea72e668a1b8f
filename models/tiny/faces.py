"""Drawn faces for the tiny face detector: ovals with hair, eyes, nose and mouth, at any angle, before anything.

Pure and seeded like `scenes`. Landmarks are those of RetinaFace: eyes, nose, corners of the mouth, the picture's left
first.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from models.tiny.scenes import Rgb, draw, random_scene

SUPERSAMPLING = 2
SKINS: tuple[Rgb, ...] = (
    (255, 219, 190), (241, 194, 155), (224, 172, 125), (198, 134, 92), (160, 105, 70), (120, 75, 50), (80, 50, 38),
)  # fmt: skip
HAIRS: tuple[Rgb, ...] = ((25, 20, 18), (60, 40, 25), (110, 70, 35), (170, 120, 60), (220, 190, 120), (150, 150, 150))
IRISES: tuple[Rgb, ...] = ((60, 40, 25), (80, 110, 150), (80, 110, 70), (20, 20, 20))
TURN_DEGREES = 35
ON_PHOTOGRAPH = 0.6  # share of the pictures that have a photograph behind the faces, where there are photographs


@dataclass(frozen=True)
class DrawnFace:
    """box: left, top, right, bottom; landmarks: (5, 2), x and y; both in pixels."""

    box: tuple[float, float, float, float]
    landmarks: np.ndarray


class Pen:
    """Draws in a face's own coordinates: the origin between eyes and mouth, 1 = half the face's height, y down."""

    def __init__(self, picture: Image.Image, centre: tuple[float, float], scale: float, degrees: float) -> None:
        self._pen = ImageDraw.Draw(picture)
        turn = math.radians(degrees)
        self._matrix = scale * np.array([(math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn))])
        self._centre = np.array(centre)

    def place(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) of the face to (N, 2) of the picture."""
        return points @ self._matrix.T + self._centre

    def blob(self, x: float, y: float, rx: float, ry: float, fill: Rgb, span: tuple[float, float] = (0, 360)) -> None:
        """Paint an ellipse, or the part of it between two angles (90 is down)."""
        angles = np.radians(np.linspace(*span, 40))
        outline = np.stack((x + rx * np.cos(angles), y + ry * np.sin(angles)), axis=1)
        self._pen.polygon([tuple(point) for point in self.place(outline)], fill=fill)

    def line(self, points: list[tuple[float, float]], width: float, fill: Rgb) -> None:
        scaled = max(1, round(width * float(np.hypot(*self._matrix[0]))))
        self._pen.line([tuple(p) for p in self.place(np.array(points))], fill=fill, width=scaled, joint="curve")


def drawn_faces(
    width: int,
    height: int,
    rng: random.Random,
    count: int | None = None,
    degrees: float = TURN_DEGREES,
    photographs: Sequence[Image.Image] = (),
) -> tuple[Image.Image, list[DrawnFace]]:
    """Draw a picture with some faces that do not overlap, none in one of six unless `count` says so.

    photographs: without faces, RGB; parts of them stand behind the drawn ones.
    """
    w, h = width * SUPERSAMPLING, height * SUPERSAMPLING
    if photographs and rng.random() < ON_PHOTOGRAPH:
        picture = _part(rng.choice(photographs), w, h, rng)
    else:
        picture = _background(w, h, rng)
    wanted = rng.choice((0, 1, 1, 1, 2, 3)) if count is None else count
    faces: list[DrawnFace] = []
    spots: list[tuple[float, float, float]] = []
    for _ in range(12):
        if len(faces) == wanted:
            break
        radius = math.exp(rng.uniform(math.log(0.09), math.log(0.42))) * min(w, h)
        x, y = rng.uniform(0.9 * radius, w - 0.9 * radius), rng.uniform(radius, h - radius)
        if any(math.hypot(x - a, y - b) < 1.5 * (radius + r) for a, b, r in spots):
            continue
        spots.append((x, y, radius))
        faces.append(_face(picture, (x, y), radius, rng.uniform(-degrees, degrees), rng))
    return _photographed(picture.resize((width, height), Image.Resampling.BOX), rng), faces


def _face(
    picture: Image.Image, centre: tuple[float, float], radius: float, degrees: float, rng: random.Random
) -> DrawnFace:
    pen = Pen(picture, centre, radius, degrees)
    skin, hair = _near(rng.choice(SKINS), rng), _near(rng.choice(HAIRS), rng)
    wide, look = rng.uniform(0.68, 0.82), rng.uniform(-0.12, 0.12)
    dark = _mixed(skin, (40, 10, 5), 0.3)
    if rng.random() < 0.8:  # hair behind the head, to the shoulders or short
        pen.blob(0, rng.uniform(-0.3, 0.2), wide + rng.uniform(0.1, 0.3), rng.uniform(0.95, 1.3), hair)
    if rng.random() < 0.8:
        clothes = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        pen.blob(0, 2.0, 1.7, 0.95, clothes)
        pen.blob(0, 1.1, 0.4, 0.5, dark)
    pen.blob(0, 0, wide, 1.0, skin)
    pen.blob(rng.choice((-1, 1)) * 0.25 * wide, 0.05, wide * 0.72, 0.9, _mixed(skin, dark, rng.uniform(0, 0.35)))
    pen.blob(look / 2, 0.05, wide * 0.75, 0.85, _mixed(skin, (255, 235, 220), rng.uniform(0, 0.25)))
    if rng.random() < 0.85:  # hair over the forehead
        pen.blob(0, -0.45, wide * 1.05, rng.uniform(0.55, 0.7), hair, (180, 360))
    eye_y, eye_x = rng.uniform(-0.16, -0.06), rng.uniform(0.3, 0.36)
    open_, iris = rng.uniform(0.05, 0.1), rng.choice(IRISES)
    for side in (-1, 1):
        x = side * eye_x + look
        pen.blob(x, eye_y - 0.02, 0.19, open_ + 0.06, _mixed(skin, dark, 0.6))
        pen.blob(x, eye_y, 0.15, open_, (245, 245, 240))
        pen.blob(x, eye_y, 0.075, min(0.075, open_ * 1.05), iris)
        pen.blob(x, eye_y, 0.035, 0.035, (5, 5, 5))
        lift = rng.uniform(0.14, 0.2)
        pen.line([(x - 0.17, eye_y - lift), (x, eye_y - lift - 0.05), (x + 0.17, eye_y - lift)], 0.06, hair)
    nose_x, nose_y = 1.5 * look, rng.uniform(0.2, 0.28)
    pen.blob(nose_x, nose_y, 0.13, 0.09, _mixed(skin, dark, 0.45))
    pen.blob(nose_x, nose_y - 0.03, 0.1, 0.07, _mixed(skin, (255, 240, 225), 0.25))
    pen.line([(nose_x - 0.05, eye_y + 0.05), (nose_x - 0.09, nose_y - 0.02)], 0.025, _mixed(skin, dark, 0.5))
    mouth_x, mouth_y, half = 1.2 * look, rng.uniform(0.5, 0.58), rng.uniform(0.2, 0.3)
    lips = _mixed(_near((190, 80, 80), rng), skin, rng.uniform(0, 0.5))
    smile = rng.uniform(-0.02, 0.1)
    pen.blob(mouth_x, mouth_y, half, rng.uniform(0.06, 0.1) + smile / 2, lips)
    if smile > 0.04:
        pen.blob(mouth_x, mouth_y, half * 0.8, 0.04 + smile / 3, (245, 240, 235))
    landmarks = np.array(
        [
            (-eye_x + look, eye_y),
            (eye_x + look, eye_y),
            (nose_x, nose_y),
            (mouth_x - half, mouth_y),
            (mouth_x + half, mouth_y),
        ]
    )
    outline = np.array(
        [(wide * math.cos(a), -0.05 + 0.95 * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 40).tolist()]
    )
    around = pen.place(outline) / SUPERSAMPLING
    left, top = around.min(axis=0).tolist()
    right, bottom = around.max(axis=0).tolist()
    return DrawnFace((left, top, right, bottom), pen.place(landmarks) / SUPERSAMPLING)


def _background(width: int, height: int, rng: random.Random) -> Image.Image:
    """A scene, a gradient or coarse noise."""
    kind = rng.random()
    if kind < 0.3:
        return draw(random_scene(rng), width, height, rng)
    numbers = np.random.default_rng(rng.getrandbits(32))
    cells = 2 if kind < 0.6 else rng.choice((4, 8, 16, 32))
    coarse = Image.fromarray(numbers.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    picture = coarse.resize((width, height), rng.choice((Image.Resampling.BICUBIC, Image.Resampling.NEAREST)))
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.randrange(6)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        size = rng.uniform(0.05, 0.4) * width
        fill = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        (pen.ellipse if rng.random() < 0.6 else pen.rectangle)((x, y, x + size, y + size * rng.uniform(0.3, 2)), fill)
    return picture


def _part(photograph: Image.Image, width: int, height: int, rng: random.Random) -> Image.Image:
    """A part of a photograph, enlarged or reduced, mirrored and turned by quarters."""
    share = rng.uniform(0.3, 1)
    w, h = (round(side * share) for side in photograph.size)
    left, top = rng.randint(0, photograph.width - w), rng.randint(0, photograph.height - h)
    part = photograph.crop((left, top, left + w, top + h)).resize((width, height))
    turn = rng.choice((None, *Image.Transpose))
    return part if turn is None else part.transpose(turn).resize((width, height))


def _photographed(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Blur, light from one side, noise, colour casts: what a camera does."""
    if rng.random() < 0.6:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.6)))
    values = np.asarray(picture, dtype=np.float32)
    width = values.shape[1]
    if rng.random() < 0.6:
        slope = np.linspace(rng.uniform(0.5, 1), rng.uniform(0.9, 1.3), width, dtype=np.float32)
        values = values * (slope if rng.random() < 0.5 else slope[::-1])[None, :, None]
    if rng.random() < 0.4:
        values = values * np.array([rng.uniform(0.8, 1.2) for _ in range(3)], dtype=np.float32)
    if rng.random() < 0.15:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.6:
        values = values + np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 10), values.shape)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _near(colour: Rgb, rng: random.Random) -> Rgb:
    r, g, b = (min(255, max(0, v + rng.randint(-18, 18))) for v in colour)
    return r, g, b


def _mixed(colour: Rgb, other: Rgb, share: float) -> Rgb:
    r, g, b = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return r, g, b
