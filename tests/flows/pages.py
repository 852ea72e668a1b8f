"""The pictures of docs/flows: `python -m tests.flows.pages`, or only some: `python -m tests.flows.pages control masks`.

Every row starts with what was given and goes on with what was made of it, by the tiny models. Seeds are fixed; where a
page shows what a parameter does, all of its pictures have one seed.
"""

import argparse
import json
import random
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from graphs.request import Inpaint, Lora
from graphs.request_parts import Enhance, ImagePrompt, ImagePromptType, Masking, Preprocessing
from models.tiny.faces import drawn_faces
from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom
from tests.flows.measure_describe import words_of
from tests.flows.measure_enhance import stage
from tests.flows.measure_inpaint import mask_picture
from tests.flows.measure_lora import STYLE, WEIGHTS
from tests.flows.measure_masks import mask
from tests.flows.measure_performance import MODES, asked_without
from tests.flows.measure_refiner import WAYS
from tests.flows.measuring import darkroom

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIDE, GAP, LETTERS_PX, COLOURS = 128, 8, 11, 256
RING = Scene("cyan", (Thing("ring", "black", "small", "left"),))
SQUARE = Scene("cyan", (Thing("square", "black", "small", "center"),))
STAR = Scene("pink", (Thing("star", "green", "large", "center"),))
CROSS = Scene("white", (Thing("cross", "purple", "large", "left"),))
TRIANGLE = "a large yellow triangle in the center on a blue background"

Page = Callable[[Darkroom], Image.Image]


def row(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures side by side, each at its own size."""
    width = sum(picture.width + GAP for picture in pictures) - GAP
    page = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        page.paste(picture, (left, 0))
        left += picture.width + GAP
    return page


def column(rows: Sequence[Image.Image]) -> Image.Image:
    """Put rows below each other."""
    height = sum(one.height + GAP for one in rows) - GAP
    page = Image.new("RGB", (max(one.width for one in rows), height), "white")
    top = 0
    for one in rows:
        page.paste(one, (0, top))
        top += one.height + GAP
    return page


def worded(picture: Image.Image, words: str, width_px: int = 3 * SIDE) -> Image.Image:
    """A picture with words beside it, one paragraph a line."""
    note = Image.new("RGB", (width_px, picture.height), "white")
    font = ImageFont.load_default(LETTERS_PX)
    lines = [line for paragraph in words.splitlines() for line in textwrap.wrap(paragraph, width_px * 2 // LETTERS_PX)]
    ImageDraw.Draw(note).multiline_text((0, 4), "\n".join(lines), fill="black", font=font)
    return row([picture, note])


def drawn(scene: Scene) -> Image.Image:
    return draw(scene, SIDE, SIDE, random.Random(4))


def vary(room: Darkroom) -> Image.Image:
    asked = {"input_image": room.put(drawn(RING)), "seed": 5, "prompt": "a white ring on a cyan background"}
    methods = ("Vary (Subtle)", "Vary (Strong)")
    return row([drawn(RING), *(room.make(uov_method=method, **asked)[0] for method in methods)])


def upscale(room: Darkroom) -> Image.Image:
    asked = {"input_image": room.put(drawn(RING)), "seed": 5, "prompt": "a black ring on a cyan background"}
    methods = ("Upscale (2x)", "Upscale (Fast 2x)")
    return row([drawn(RING), *(room.make(uov_method=method, **asked)[0] for method in methods)])


def inpaint(room: Darkroom) -> Image.Image:
    asked = {"input_image": room.put(drawn(SQUARE)), "seed": 3}
    words = "a small {} in the center on a cyan background"
    hole = room.put(mask_picture(), "mask.png").name
    (painted,) = room.make(prompt=words.format("red star"), inpaint=Inpaint(mask=hole), **asked)
    sides = Inpaint(outpaint=["left", "right"])
    (extended,) = room.make(prompt=words.format("black square"), inpaint=sides, **asked)
    return row([drawn(SQUARE), mask_picture(), painted, extended])


def control(room: Darkroom) -> Image.Image:
    sent = room.put(drawn(CROSS))
    words = {"PyraCanny": "a blue shape on a gray background", "CPDS": "a yellow shape on a black background"}

    def steered(kind: ImagePromptType, weight: float = 1.0, *, shown: bool = False) -> Image.Image:
        asked = ImagePrompt(sent, kind, stop=1.0, weight=weight)
        debug = Preprocessing(debug=shown)
        return room.make(prompt=words[kind], seed=7, image_prompts=[asked], preprocessing=debug)[0]

    kinds: tuple[ImagePromptType, ...] = ("PyraCanny", "CPDS")
    return column([row([drawn(CROSS), steered(k, shown=True), steered(k), steered(k, 0.0)]) for k in kinds])


def image_prompt(room: Darkroom) -> Image.Image:
    def like(scene: Scene, weight: float | None = None) -> Image.Image:
        return room.make(prompt="", seed=7, image_prompts=[ImagePrompt(room.put(drawn(scene)), weight=weight)])[0]

    return column([row([drawn(scene), like(scene), like(scene, 0.0)]) for scene in (STAR, CROSS)])


def face_swap(room: Darkroom) -> Image.Image:
    picture, _ = drawn_faces(192, 192, random.Random(21), count=1, degrees=25)
    found = [ImagePrompt(room.put(picture, "face.png"), "FaceSwap")]
    (crop,) = room.make(image_prompts=found, preprocessing=Preprocessing(debug=True))
    star = drawn(STAR).crop((24, 24, 104, 104)).resize((SIDE, SIDE))
    asked = [ImagePrompt(room.put(star, "star.png"), "FaceSwap")]
    words = "a large shape in the center on a white background"
    made = room.make(prompt=words, seed=7, image_prompts=asked, preprocessing=Preprocessing(skip=True))[0]
    return row([picture.resize((SIDE, SIDE)), crop.resize((SIDE, SIDE)), star, made])


def refiner(room: Darkroom) -> Image.Image:
    return row([room.make(prompt=TRIANGLE, seed=7, **asked)[0] for asked in WAYS.values()])


def performance(room: Darkroom) -> Image.Image:
    asked = {"prompt": TRIANGLE, "seed": 7}
    full = room.make(performance="Speed", **asked)[0]
    given = [room.make(performance=mode, **asked)[0] for mode in MODES]
    without = [room.make(**asked, **asked_without(mode))[0] for mode in MODES]
    return column([row([full, *given]), row([Image.new("RGB", full.size, "white"), *without])])


def loras(room: Darkroom) -> Image.Image:
    return row([room.make(prompt=TRIANGLE, seed=7, loras=[Lora(STYLE, weight)])[0] for weight in WEIGHTS])


def enhance(room: Darkroom) -> Image.Image:
    stages = [stage("star", "red", "pink"), stage("circle", "white", "pink")]
    sent = Scene("pink", (Thing("star", "green", "small", "center"),))
    found = Enhance(image=room.put(drawn(sent)), stages=stages)
    return row([drawn(sent), *room.make(seed=3, enhance=found)])


def masks(room: Darkroom) -> Image.Image:
    scenes = (STAR, RING)
    names = [f"mask-{number}.png" for number in range(len(scenes))]
    pairs = [
        (drawn(scene), mask(room, drawn(scene), Masking("u2net"), name))
        for scene, name in zip(scenes, names, strict=True)
    ]
    return row([picture for pair in pairs for picture in pair])


def describe(room: Darkroom) -> Image.Image:
    kinds = ("Photo", "Anime")
    said = [
        (drawn(scene), "\n".join(f"{kind}: {words_of(room, drawn(scene), [kind])}" for kind in kinds))
        for scene in (STAR, CROSS)
    ]
    return column([worded(picture, words) for picture, words in said])


def black_out(room: Darkroom) -> Image.Image:
    words = ("a large purple star on a white background", "a large purple circle on a white background")
    return row(
        [room.make(prompt=text, seed=0, black_out_nsfw=checked)[0] for text in words for checked in (False, True)]
    )


def expansion(room: Darkroom) -> Image.Image:
    asked = {"prompt": "a red circle on a white background", "seed": 7}
    (plain,), (longer,) = room.make(**asked, styles=[]), room.make(**asked, styles=["Fooocus V2"])
    said = json.loads(longer.info["parameters"])["prompt_expansion"]
    return column([worded(plain, asked["prompt"]), worded(longer, said)])


PAGES: dict[str, Page] = {
    "vary": vary,
    "upscale": upscale,
    "inpaint": inpaint,
    "control": control,
    "image-prompt": image_prompt,
    "face-swap": face_swap,
    "refiner": refiner,
    "performance": performance,
    "loras": loras,
    "enhance": enhance,
    "masks": masks,
    "describe": describe,
    "black-out": black_out,
    "expansion": expansion,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"pages, of {', '.join(PAGES)}; all when none is named")
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where the pictures go")
    asked = parser.parse_args()
    with darkroom() as room:
        for name in asked.names or PAGES:
            path = asked.folder / f"{name}.png"
            page = PAGES[name](room).quantize(COLOURS, dither=Image.Dither.NONE)  # a third of the bytes
            page.save(path, optimize=True)
            sys.stdout.write(f"{path}: {path.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    main()
