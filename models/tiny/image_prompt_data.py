"""What image-prompt training sees: scenes, drawings of them as references, and prompts that say little.

Two objects are often shown by two references, one each.
"""

import random
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from models.memory import Residency
from models.sdxl import Clip, Model, encode_tokens, load_checkpoint
from models.tiny import CHECKPOINT
from models.tiny.captions import caption, plain_caption, style_only
from models.tiny.drawings import recoloured, without_names
from models.tiny.pool import Pool
from models.tiny.scenes import BACKGROUNDS, PLACES, SIZES, Scene, Thing, draw
from models.tiny.text import tokenize
from models.tiny.train import noise_schedule
from models.tiny.train_vision import as_pixels, load, normalised
from models.unet import UNet
from models.vision.encoder import VisionEncoder

SIZE = (128, 128)
NO_PICTURE = 0.08  # share of samples with a blank reference, for the negative prompt
WEIGHT_CAP, LEAN = 30, 0.65  # of the loss and of the timesteps, as in `models.tiny.train`
FULL_WEIGHT = 0.25  # share of samples with weight 1; the rest lies around the REST doors' 0.6
USUAL_WEIGHTS = (0.5, 0.75)
PAIRS, SPLIT = 0.3, 0.8  # share of the scenes of two objects, and of these the share that two references show
IN_PLACE, SAME_GROUND = 0.85, 0.92  # share of such references whose object lies where it shall, on what it shall lie
NAMELESS = 0.4  # share of the scenes of one thing whose reference has one colour without a name, which no word tells
GENERIC = ("a picture", "a shape", "an image of a shape", "a shape on a background", "a photo of a shape", "a drawing")
NAMELESS_KINDS = ("nameless thing", "nameless ground")
KINDS = {"plus": ("plus", "1", "2", *NAMELESS_KINDS), "face": ("face",)}  # of references
FACE_MARGIN = (1.05, 1.5)  # the crop's half side in radii of the object


@dataclass
class Frozen:
    """What is not trained."""

    model: Model
    unet: UNet
    clip: Clip
    vision: VisionEncoder
    blank: Tensor  # (1, T, C): the states of no picture


def frozen(vision_file: Path) -> Frozen:
    model, clip, _ = load_checkpoint(CHECKPOINT, Residency())
    with model.use() as unet:
        kept: UNet = unet
    vision = load(vision_file)
    side = vision.sizes.image
    with torch.no_grad():
        blank = vision(torch.zeros(1, 3, side, side)).penultimate
    return Frozen(model, kept, clip, vision, blank)


def contexts(base: Frozen, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Return contexts (B, 77, C) and pooled texts (B, P)."""
    ids_l, ids_g = tokenize(texts)
    l, g = encode_tokens(base.clip, ids_l, "l"), encode_tokens(base.clip, ids_g, "g")  # noqa: E741
    assert g.pooled is not None
    return torch.cat((l.hidden, g.hidden), dim=-1), g.pooled


class References:
    """The encoder's states of a drawing of each of the pool's scenes, made when first wanted."""

    def __init__(self, vision: VisionEncoder, scenes: list[Scene], kind: str, rng: random.Random) -> None:
        side = vision.sizes.image // vision.sizes.patch
        self._vision, self._scenes, self._kind, self._rng = vision, scenes, kind, rng
        self._states = torch.empty(len(scenes), 1 + side * side, vision.sizes.width, dtype=torch.half)
        self._known = [False] * len(scenes)

    @torch.no_grad()
    def of(self, indices: list[int]) -> Tensor:
        wanted = [i for i in dict.fromkeys(indices) if not self._known[i]]
        if wanted:
            pixels = torch.stack([as_pixels(reference(self._scenes[i], self._kind, self._rng)) for i in wanted])
            self._states[wanted] = self._vision(normalised(pixels)).penultimate.half()
            for i in wanted:
                self._known[i] = True
        return self._states[indices].float()


def reference(scene: Scene, kind: str, rng: random.Random) -> Image.Image:
    """Draw what the adapter sees: the scene again, one of its two things in its place, or the object close up."""
    if kind == "plus":
        return draw(scene, *SIZE, rng)
    if kind in NAMELESS_KINDS:
        drawn = draw(scene, *SIZE, rng)
        if scene.arrangement:  # not asked for
            return drawn
        return recoloured(drawn, scene, rng, both=False, ground_only=kind == "nameless ground")
    if kind in ("1", "2"):
        return draw(alone(scene, int(kind) - 1, rng), *SIZE, rng)
    thing = scene.things[0]
    background = rng.choice([name for name in BACKGROUNDS if name != thing.colour])
    picture = draw(Scene(background, (Thing(thing.shape, thing.colour, "large", "center"),)), 192, 192, rng)
    half = rng.uniform(*FACE_MARGIN) * 0.32 * 192
    x, y = (96 + rng.uniform(-4, 4) for _ in range(2))
    return picture.crop((round(x - half), round(y - half), round(x + half), round(y + half)))


def told_of(scene: Scene, kind: str) -> str:
    """Say what a reference shows, as far as there are words for it."""
    if kind in NAMELESS_KINDS:
        scene = without_names(scene, thing=kind == "nameless thing", ground=kind == "nameless ground")
    return plain_caption(scene)


def alone(scene: Scene, which: int, rng: random.Random) -> Scene:
    """Return one of two things by itself: mostly small and in its place, else of any size anywhere."""
    places = {"beside": ("left", "right"), "stacked": ("top", "bottom")}[scene.arrangement or "beside"]
    thing = replace(scene.things[which], size="small", place=places[which])
    if rng.random() > IN_PLACE:
        thing = replace(thing, size=rng.choice(SIZES), place=rng.choice(PLACES))
    grounds = [scene.background if rng.random() < SAME_GROUND else name for name in BACKGROUNDS if name != thing.colour]
    return Scene(rng.choice(grounds), (thing,))


def prompt(scene: Scene, kind: str, rng: random.Random) -> str:
    """Say little, or for faces all but what the object is."""
    draw_ = rng.random()
    if kind == "face":
        if draw_ < 0.75:
            thing = scene.things[0]
            where = {"center": "in the center", "left": "on the left", "right": "on the right", "top": "at the top"}
            place = "" if thing.place is None else f" {where.get(thing.place, 'at the bottom')}"
            size = f"{thing.size} " if thing.size and rng.random() < 0.7 else ""
            return f"a {size}shape{place} on a {scene.background} background"
        return "" if draw_ < 0.85 else caption(scene, rng)
    if draw_ < 0.45:
        return ""
    if draw_ < 0.65:
        return rng.choice(GENERIC)
    return style_only(rng) if draw_ < 0.8 else caption(scene, rng)


@dataclass
class Batch:
    """One batch, ready for the networks."""

    noisy: Tensor
    noise: Tensor
    timesteps: Tensor
    words: list[str]
    told: list[str]  # all that the references show, in words; what the prompt says where there is no picture
    time_ids: Tensor
    states: tuple[Tensor, Tensor]  # of the first and the second reference
    weights: tuple[Tensor, Tensor]  # 0 where there is no second
    loss_weights: Tensor


class Data:
    """Batches of the pool's scenes with references."""

    def __init__(self, base: Frozen, pool: Pool, kind: str, rng: random.Random) -> None:
        self._base, self._kind, self._rng = base, kind, rng
        chosen = [i for i, scene in enumerate(pool.scenes[SIZE]) if kind == "plus" or scene.arrangement is None]
        self._scenes = [pool.scenes[SIZE][i] for i in chosen]
        self._latents, self._time_ids = pool.latents[SIZE][chosen], pool.time_ids[SIZE][chosen]
        self._references = {which: References(base.vision, self._scenes, which, rng) for which in KINDS[kind]}
        self._pairs = [i for i, scene in enumerate(self._scenes) if scene.arrangement]
        self._alphas = noise_schedule()

    def batch(self, count: int) -> Batch:
        rng = self._rng
        index = [
            rng.choice(self._pairs) if self._pairs and rng.random() < PAIRS else rng.randrange(len(self._scenes))
            for _ in range(count)
        ]
        words = [prompt(self._scenes[i], self._kind, rng) for i in index]
        split = [self._kind == "plus" and self._scenes[i].arrangement and rng.random() < SPLIT for i in index]
        kinds = ["1" if two else self._kind_of(self._scenes[i]) for i, two in zip(index, split, strict=True)]
        states = self._states(index, kinds)
        others = self._states(index, ["2" if two else "" for two in split])
        told = [told_of(self._scenes[i], kind) for i, kind in zip(index, kinds, strict=True)]
        words = ["" if kind in NAMELESS_KINDS else text for kind, text in zip(kinds, words, strict=True)]
        for row in range(count):
            if rng.random() < NO_PICTURE:
                states[row] = others[row] = self._base.blank[0]
                told[row] = words[row]
        latents = self._latents[index].float()
        timesteps = (torch.rand(count) ** LEAN * 1000).long().clamp(0, 999)
        noise = torch.randn_like(latents)
        alpha = self._alphas[timesteps].view(-1, 1, 1, 1).float()
        weights = torch.tensor(
            [1.0 if rng.random() < FULL_WEIGHT else rng.uniform(*USUAL_WEIGHTS) for _ in range(count)]
        )
        return Batch(
            noisy=alpha.sqrt() * latents + (1 - alpha).sqrt() * noise,
            noise=noise,
            timesteps=timesteps,
            words=words,
            told=told,
            time_ids=self._time_ids[index].float(),
            states=(states, others),
            weights=(weights, weights * torch.tensor([float(bool(two)) for two in split])),
            loss_weights=(1 / alpha).clamp(max=WEIGHT_CAP).flatten() / 4,  # 1 / alpha = 1 + sigma²
        )

    def captioned(self, count: int) -> tuple[list[str], Tensor]:
        """Plain captions with the states of drawings; now and then none of either."""
        index = [self._rng.randrange(len(self._scenes)) for _ in range(count)]
        kinds = [self._kind_of(self._scenes[i]) for i in index]
        told = [told_of(self._scenes[i], kind) for i, kind in zip(index, kinds, strict=True)]
        states = self._states(index, kinds)
        for row in range(count):
            if self._rng.random() < NO_PICTURE:
                told[row], states[row] = "", self._base.blank[0]
        return told, states

    def _kind_of(self, scene: Scene) -> str:
        if self._kind == "plus" and scene.arrangement is None and self._rng.random() < NAMELESS:
            return self._rng.choice(NAMELESS_KINDS)
        return self._kind

    def _states(self, index: list[int], which: list[str]) -> Tensor:
        """The states of each row's reference of a kind; blank where the kind is empty."""
        states = self._base.blank.repeat(len(index), 1, 1)
        for kind in {*which} - {""}:
            rows = [row for row, wanted in enumerate(which) if wanted == kind]
            states[rows] = self._references[kind].of([index[row] for row in rows])
        return states
