"""One contact sheet with every flow, for eyes: `python -m models.tiny.gallery docs/images/gallery.png`.

Starts a server of its own and asks it over REST, as any client would. A flow that fails leaves an empty frame with the
reason in it, and the exit status 1.
"""

import argparse
import base64
import io
import random
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from api.client import Client, ClientError
from api.demo import server
from models.tiny.scenes import Scene, Thing, draw

SIDE_PX, GAP_PX, TITLE_PX, COLUMNS = 160, 10, 46, 8
RED_CIRCLE = "a red circle on a blue background"
TEXT = "/v1/generation/text-to-image"
WITH_PROMPTS = "/v2/generation/text-to-image-with-ip"
VARY = "/v2/generation/image-upscale-vary"
INPAINT = "/v2/generation/image-inpaint-outpaint"
ENHANCE = "/v2/generation/image-enhance"

Body = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """One frame. route None: the picture itself. note: what the eye should find."""

    title: str
    route: str | None = None
    body: Body = field(default_factory=dict)
    picture: Image.Image | None = None


def scene(
    background: str, shape: Any, colour: str, size: Any = "large", place: Any = "center", seed: int = 4
) -> Image.Image:
    """Draw one thing on a ground."""
    return draw(Scene(background, (Thing(shape, colour, size, place),)), 128, 128, random.Random(seed))


def as_uri(picture: Image.Image) -> str:
    """A picture as a data URI."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def half_mask(side: str = "left") -> Image.Image:
    """White where to repaint: one half."""
    mask = Image.new("L", (128, 128), 0)
    box = {"left": (0, 0, 63, 127), "middle": (34, 34, 93, 93)}[side]
    ImageDraw.Draw(mask).rectangle(box, fill=255)
    return mask.convert("RGB")


def rows() -> Iterator[tuple[str, list[Panel]]]:
    """Every flow, each with the pictures it starts from in front."""
    ring = scene("cyan", "ring", "black", "small", "left")
    star = scene("pink", "star", "green")
    cross = scene("white", "cross", "purple")
    uri, star_uri, cross_uri = as_uri(ring), as_uri(star), as_uri(cross)

    def text(title: str, prompt: str = RED_CIRCLE, **body: Any) -> Panel:
        return Panel(title, TEXT, {"prompt": prompt, "image_seed": 7, **body})

    def steered(title: str, *prompts: Body, prompt: str = "", **body: Any) -> Panel:
        return Panel(title, WITH_PROMPTS, {"prompt": prompt, "image_seed": 7, "image_prompts": list(prompts), **body})

    def prompt_of(picture: str, kind: str = "ImagePrompt", stop: float = 0.9, weight: float = 1.0) -> Body:
        return {"cn_img": picture, "cn_type": kind, "cn_stop": stop, "cn_weight": weight}

    yield (
        "text to image",
        [
            text(RED_CIRCLE),
            text("small white star, left, on black", "a small white star on the left on a black background"),
            text("two things", "a yellow square beside a green triangle on a brown background"),
            text("Fooocus Enhance, Sharp", style_selections=["Fooocus Enhance", "Fooocus Sharp"]),
            text("192×128", aspect_ratios_selection="192*128"),
            text("guidance 1", guidance_scale=1.0),
            text(
                "FreeU b 1.3 1.4, s 0.9 0.2",
                advanced_params={
                    "freeu_enabled": True,
                    "freeu_b1": 1.3,
                    "freeu_b2": 1.4,
                    "freeu_s1": 0.9,
                    "freeu_s2": 0.2,
                },
            ),
            text("clip skip 4", advanced_params={"clip_skip": 4}),
        ],
    )
    yield (
        "fast modes",
        [
            *(
                text(mode, performance_selection=mode)
                for mode in ("Speed", "Quality", "Extreme Speed", "Lightning", "Hyper-SD")
            ),
            text(
                "8 steps lcm, no LoRA",
                guidance_scale=1,
                advanced_params={"overwrite_step": 8, "sampler_name": "lcm", "scheduler_name": "lcm"},
            ),
        ],
    )
    yield (
        "LoRA and refiner",
        [
            *(
                text(
                    f"style LoRA at {weight}", loras=[{"model_name": "focal-tiny-style.safetensors", "weight": weight}]
                )
                for weight in (0.0, 0.5, 1.0)
            ),
            *(
                text(
                    f"refiner, {method}",
                    refiner_model_name=model,
                    refiner_switch=0.5,
                    advanced_params={"refiner_swap_method": method},
                )
                for method, model in (
                    ("joint", "focal-tiny-refiner"),
                    ("separate", "focal-tiny-refiner"),
                    ("vae", "focal-tiny-sd15"),
                )
            ),
        ],
    )

    def changed(title: str, method: str, prompt: str = "a white ring on a cyan background", **body: Any) -> Panel:
        return Panel(title, VARY, {"input_image": uri, "uov_method": method, "prompt": prompt, "image_seed": 5, **body})

    yield (
        "vary and upscale",
        [
            Panel("input", picture=ring),
            changed("Vary (Subtle): white ring", "Vary (Subtle)"),
            changed("Vary (Strong): white ring", "Vary (Strong)"),
            changed("Upscale (1.5x)", "Upscale (1.5x)", "a black ring on a cyan background"),
            changed("Upscale (2x)", "Upscale (2x)", "a black ring on a cyan background"),
            changed("Upscale (Fast 2x)", "Upscale (Fast 2x)"),
            changed("Custom 3x", "Upscale (Custom)", "a black ring on a cyan background", upscale_value=3),
        ],
    )

    def repainted(title: str, **body: Any) -> Panel:
        return Panel(title, INPAINT, {"input_image": star_uri, "image_seed": 3, **body})

    mask = half_mask("middle")
    yield (
        "inpaint and outpaint",
        [
            Panel("input", picture=star),
            Panel("mask", picture=mask),
            repainted("inpaint: red square", prompt="a red square on a pink background", input_mask=as_uri(mask)),
            repainted(
                "engine None",
                prompt="a red square on a pink background",
                input_mask=as_uri(mask),
                advanced_params={"inpaint_engine": "None"},
            ),
            repainted("outpaint Right", prompt="a green star on a pink background", outpaint_selections=["Right"]),
            repainted(
                "outpaint all, 32 px",
                prompt="a green star on a pink background",
                outpaint_selections=["Left", "Right", "Top", "Bottom"],
                **{f"outpaint_distance_{side}": 32 for side in ("left", "right", "top", "bottom")},
            ),
            repainted(
                "what the model saw",
                prompt="a red square",
                input_mask=as_uri(mask),
                advanced_params={"debugging_inpaint_preprocessor": True},
            ),
        ],
    )
    yield (
        "image prompts",
        [
            Panel("first", picture=star),
            Panel("second", picture=cross),
            steered("first at 1.0", prompt_of(star_uri)),
            steered("first at 0.4", prompt_of(star_uri, weight=0.4)),
            steered("second at 1.0", prompt_of(cross_uri)),
            steered("both", prompt_of(star_uri, weight=0.7), prompt_of(cross_uri, weight=0.7)),
            steered("first, 'a red circle'", prompt_of(star_uri, weight=0.6), prompt="a red circle"),
            steered("FaceSwap on gray", prompt_of(star_uri, "FaceSwap"), prompt="a large shape on a gray background"),
        ],
    )
    yield (
        "control",
        [
            Panel("control picture", picture=cross),
            steered(
                "PyraCanny: blue on gray",
                prompt_of(cross_uri, "PyraCanny", 1.0),
                prompt="a blue shape on a gray background",
            ),
            steered(
                "PyraCanny at 0.5",
                prompt_of(cross_uri, "PyraCanny", 1.0, 0.5),
                prompt="a blue circle on a gray background",
            ),
            steered(
                "CPDS: yellow on black",
                prompt_of(cross_uri, "CPDS", 1.0),
                prompt="a yellow shape on a black background",
            ),
            steered(
                "what PyraCanny sees",
                prompt_of(cross_uri, "PyraCanny"),
                advanced_params={"debugging_cn_preprocessor": True},
            ),
            steered(
                "what CPDS sees", prompt_of(cross_uri, "CPDS"), advanced_params={"debugging_cn_preprocessor": True}
            ),
            changed("vary + image prompt", "Vary (Strong)", "", image_prompts=[prompt_of(star_uri)]),
            repainted(
                "inpaint + image prompt", prompt="", input_mask=as_uri(mask), image_prompts=[prompt_of(cross_uri)]
            ),
        ],
    )

    def stage(model: str = "u2net", **fields: Any) -> Body:
        return {"enhance_enabled": True, "enhance_mask_model": model, "enhance_mask_dino_prompt": "shape", **fields}

    def enhanced(title: str, *stages: Body, method: str = "Disabled") -> Panel:
        body = {"enhance_input_image": star_uri, "enhance_uov_method": method, "enhance_ctrlnets": list(stages)}
        return Panel(title, ENHANCE, {"prompt": "a green star on a pink background", "image_seed": 3, **body})

    yield (
        "enhance, masks, words",
        [
            Panel("input", picture=star),
            Panel("mask (u2net)", "mask", {"image": star_uri, "mask_model": "u2net"}),
            enhanced("stage: white star", stage(enhance_prompt="a white star on a pink background")),
            enhanced(
                "inverted: on brown",
                stage(enhance_prompt="a green star on a brown background", enhance_mask_invert=True),
            ),
            enhanced(
                "stage, then upscale", stage(enhance_prompt="a white star on a pink background"), method="Upscale (2x)"
            ),
            Panel("describe (Photo)", "describe", {"image": star_uri, "image_type": "Photo"}),
            Panel("describe (Anime)", "describe", {"image": star_uri, "image_type": "Anime"}),
            text("black_out_nsfw, harmless", advanced_params={"black_out_nsfw": True}),
        ],
    )


def show(panel: Panel, client: Client) -> Image.Image:
    """Ask the server for the picture of one panel."""
    if panel.picture is not None or panel.route is None:
        return panel.picture or Image.new("RGB", (SIDE_PX, SIDE_PX))
    if panel.route == "describe":
        return note(client.call("POST", "/v1/tools/describe-image", panel.body)["describe"], "black")
    if panel.route == "mask":
        return Image.open(io.BytesIO(base64.b64decode(client.call("POST", "/v1/tools/generate_mask", panel.body))))
    (first, *_) = client.call("POST", panel.route, panel.body | {"require_base64": True})
    if first["base64"] is None:
        raise ClientError(f"no picture: {first['finish_reason']}")
    return Image.open(io.BytesIO(base64.b64decode(first["base64"].rpartition(",")[2])))


def note(text: str, colour: str) -> Image.Image:
    """Words in a frame."""
    frame = Image.new("RGB", (SIDE_PX, SIDE_PX), "white")
    wrapped = "\n".join(textwrap.wrap(text, 25)[:10])
    ImageDraw.Draw(frame).multiline_text((6, 6), wrapped, fill=colour, font=ImageFont.load_default(11))
    return frame


def sheet(shown: Sequence[tuple[str, Sequence[tuple[str, Image.Image]]]]) -> Image.Image:
    """Lay the rows below each other, every picture under its title, none enlarged beyond its own pixels."""
    width = COLUMNS * (SIDE_PX + GAP_PX) + GAP_PX
    height = len(shown) * (SIDE_PX + TITLE_PX + GAP_PX) + GAP_PX
    page = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    bold = ImageFont.load_default(13)
    for row, (name, panels) in enumerate(shown):
        top = GAP_PX + row * (SIDE_PX + TITLE_PX + GAP_PX)
        pen.text((GAP_PX, top), name, fill="black", font=bold)
        for column, (title, picture) in enumerate(panels):
            left = GAP_PX + column * (SIDE_PX + GAP_PX)
            pen.multiline_text((left, top + 17), "\n".join(textwrap.wrap(title, 28)[:2]), fill="#555", font=font)
            fitted = picture.convert("RGB")
            fitted.thumbnail((SIDE_PX, SIDE_PX))
            page.paste(fitted, (left, top + TITLE_PX))
    return page


def main() -> int:
    """Render the sheet. Exit status 1 when a flow failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, nargs="?", default=Path("docs/images/gallery.png"))
    parser.add_argument("--row", help="only rows whose name contains this")
    asked = parser.parse_args()
    failures = 0
    shown: list[tuple[str, list[tuple[str, Image.Image]]]] = []
    with tempfile.TemporaryDirectory() as data, server(Path(data)) as address, Client(address, timeout_s=300) as client:
        for name, panels in rows():
            if asked.row and asked.row not in name:
                continue
            done: list[tuple[str, Image.Image]] = []
            for panel in panels:
                began = time.monotonic()
                try:
                    picture = show(panel, client)
                    print(f"{name}: {panel.title}: {time.monotonic() - began:.1f} s", flush=True)
                except ClientError as error:
                    failures += 1
                    print(f"{name}: {panel.title}: FAILED: {error}", flush=True)
                    picture = note(str(error), "red")
                done.append((panel.title, picture))
            shown.append((name, done))
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    sheet(shown).save(asked.output)
    print(f"{asked.output}: {failures} flows failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
