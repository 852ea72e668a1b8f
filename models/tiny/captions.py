"""Say a scene in words: many wordings of every attribute, words left out, style words around it.

Pure and seeded like `scenes`. `plain_caption` is the one wording that evaluations and demos use.
"""

import random

from models.tiny.scenes import Arrangement, Place, Scene, Size, Thing

# The first word of each row is the plain one; it is said about half of the time.
SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "disc", "ball", "disk"),
    "square": ("square", "box", "block"),
    "triangle": ("triangle", "pyramid"),
    "star": ("star", "five-pointed star"),
    "cross": ("cross", "plus sign"),
    "ring": ("ring", "hoop", "donut"),
}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "bright red"),
    "green": ("green", "emerald"),
    "blue": ("blue", "royal blue"),
    "yellow": ("yellow", "golden"),
    "purple": ("purple", "violet"),
    "orange": ("orange", "tangerine"),
    "white": ("white", "snow white"),
    "black": ("black", "jet black"),
}
BACKGROUND_WORDS: dict[str, tuple[str, ...]] = {
    "white": ("white", "plain white"),
    "black": ("black", "plain black"),
    "gray": ("gray", "grey"),
    "pink": ("pink", "rose"),
    "cyan": ("cyan", "turquoise"),
    "brown": ("brown", "chocolate"),
    "blue": ("blue", "dark blue", "navy"),
    "green": ("green", "dark green"),
}
SIZE_WORDS: dict[Size, tuple[str, ...]] = {"small": ("small", "tiny", "little"), "large": ("large", "big", "huge")}
PLACE_WORDS: dict[Place, tuple[str, ...]] = {
    "left": ("on the left", "on the left side", "at the left", "left"),
    "right": ("on the right", "on the right side", "at the right", "right"),
    "top": ("at the top", "near the top", "in the upper part", "top"),
    "bottom": ("at the bottom", "near the bottom", "in the lower part", "bottom"),
    "center": ("in the center", "in the middle", "in the centre", "center"),
}
RELATION_WORDS: dict[Arrangement, tuple[tuple[str, ...], tuple[str, ...]]] = {  # first → second, second → first
    "beside": (("left of", "to the left of", "on the left of"), ("right of", "to the right of", "on the right of")),
    "stacked": (("above", "over", "on top of"), ("below", "under", "beneath")),
}
BACKGROUND_PHRASES = (
    "on a {} background",
    "on a {} background",
    "on a {} background",
    "against a {} background",
    "against a {} backdrop",
    "with a {} background",
    "in front of a {} wall",
    "on {}",
)
_STYLES = """cinematic still|emotional|harmonious|vignette|highly detailed|high budget|bokeh|cinemascope|moody|epic
|gorgeous|film grain|grainy|sharp focus|sharp|clear|crisp|masterpiece|best quality|high quality|photograph
|photo|photography|35mm photograph|film|professional|4k|8k|uhd|hdr|raw photo|detailed|intricate|elegant
|beautiful|stunning|dramatic|dynamic|vibrant|colorful|ambient|soft light|natural light|studio lighting
|volumetric|rim light|shallow depth of field|render|octane render|concept art|digital artwork|illustrative
|painterly|matte painting|illustration|anime artwork|anime style|key visual|studio anime|comic|vector art
|flat|minimalist|simple|pixel-art|low-res|blocky|oil painting|watercolor|sketch|pencil drawing|line art
|origami style|paper art|isometric style|low-poly style|neonpunk style|fantasy|ethereal|magical|majestic
|trending on artstation|very coherent|symmetry|great composition|perfect|fine|confident|creative|positive
|attractive|inspired|sublime|surreal|complex|deep colors|worst quality|low quality|blurry|bad|ugly|deformed
|noisy|unrealistic|saturated|high contrast|big nose|painting|drawing|cgi|3d|bad eyes|watermark|signature|text
|jpeg artifacts|lowres|cropped|out of frame|monochrome|grayscale|disfigured|glitch|soft|overexposed
|underexposed|wallpaper|poster|picture|image|art|style|modern|vintage|retro|realistic|hyperrealistic|abstract
|a woman|a man|portrait|face|city|street|forest|mountain|sky|sea|flower|cat|dog|house|car|table|night|day
|sunset|winter"""
STYLE_WORDS: tuple[str, ...] = tuple(_STYLES.replace("\n", "").split("|"))
OPENINGS = (
    "a photo of",
    "an image of",
    "a picture of",
    "a drawing of",
    "a painting of",
    "masterpiece,",
    "cinematic still",
)


def plain_caption(scene: Scene) -> str:
    """Say everything about the scene in the plainest words; a colour or background "" has no name and is left out."""
    nouns = [with_article(_join(t.size, t.colour, t.shape)) for t in scene.things]
    if scene.arrangement:
        text = f"{nouns[0]} {RELATION_WORDS[scene.arrangement][0][0]} {nouns[1]}"
    else:
        place = scene.things[0].place
        text = _join(nouns[0], PLACE_WORDS[place][0] if place else None)
    return f"{text} on {with_article(scene.background)} background" if scene.background else text


def caption(scene: Scene, rng: random.Random) -> str:
    """Say the scene in one of many ways, now and then leaving attributes out. A scene's places are always said."""
    if rng.random() < 0.03:
        return _fragment(scene, rng)
    background = word(BACKGROUND_WORDS[scene.background], rng) if rng.random() < 0.9 else None
    nouns = [_noun(t, rng) for t in scene.things]
    order = _two(scene.arrangement, nouns, rng) if scene.arrangement else _one(scene.things[0], nouns[0], rng)
    if background is None:
        return order
    if rng.random() < 0.15:
        return f"{background} background, {order}"
    if rng.random() < 0.15:
        return f"{order}, {background} background"
    return f"{order} {rng.choice(BACKGROUND_PHRASES).format(background)}".replace(" a orange", " an orange")


def styled(text: str, rng: random.Random) -> str:
    """Surround a caption with style words that mean nothing to the picture."""
    before = rng.sample(STYLE_WORDS, rng.choice((0, 0, 1, 2, 3)))
    after = rng.sample(STYLE_WORDS, rng.choice((1, 2, 3, 5, 8)))
    opening = rng.choice(OPENINGS) if rng.random() < 0.3 else None
    joint = rng.choice((", ", ", ", " . "))
    return _join(*(f"{w}," for w in before), opening, text) + joint + ", ".join(after)


def style_only(rng: random.Random) -> str:
    """Only words that say nothing about the scene, as a style's or a negative prompt's chunk."""
    return ", ".join(rng.sample(STYLE_WORDS, rng.randint(1, 12)))


def word(choices: tuple[str, ...], rng: random.Random) -> str:
    """Choose a wording, the plain one half of the time."""
    return choices[0] if rng.random() < 0.5 else rng.choice(choices)


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun phrase."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _noun(thing: Thing, rng: random.Random) -> str:
    size = word(SIZE_WORDS[thing.size], rng) if thing.size and rng.random() < 0.6 else None
    colour = word(COLOUR_WORDS[thing.colour], rng) if rng.random() < 0.95 else None
    shape = word(SHAPE_WORDS[thing.shape], rng) if rng.random() < 0.96 else "shape"
    if colour and rng.random() < 0.05:
        return f"{with_article(_join(size, shape))} that is {colour}"
    return with_article(_join(size, colour, shape))


def _one(thing: Thing, noun: str, rng: random.Random) -> str:
    if thing.place is None:
        return noun if rng.random() < 0.85 else noun.split(" ", 1)[1]
    place = word(PLACE_WORDS[thing.place], rng)
    if rng.random() < 0.2:
        return f"{place}, {noun}"
    return f"{noun}{rng.choice((' ', ' ', ', '))}{place}"


def _two(arrangement: Arrangement, nouns: list[str], rng: random.Random) -> str:
    forward, backward = RELATION_WORDS[arrangement]
    kind = rng.random()
    if kind < 0.45:
        return f"{nouns[0]} {word(forward, rng)} {nouns[1]}"
    if kind < 0.7:
        return f"{nouns[1]} {word(backward, rng)} {nouns[0]}"
    places: tuple[Place, Place] = ("left", "right") if arrangement == "beside" else ("top", "bottom")
    said = [f"{noun} {word(PLACE_WORDS[place], rng)}" for noun, place in zip(nouns, places, strict=True)]
    if kind < 0.92:
        return rng.choice((" and ", ", ")).join(said if rng.random() < 0.75 else said[::-1])
    return f"{nouns[0]} and {nouns[1]}"


def _fragment(scene: Scene, rng: random.Random) -> str:
    """One or two bare words, as people put them into a negative prompt."""
    thing = rng.choice(scene.things)
    return rng.choice(
        (
            thing.colour,
            thing.shape,
            f"{thing.colour} {thing.shape}",
            f"{scene.background} background",
            thing.shape + "s",
        )
    )


def _join(*words: str | None) -> str:
    return " ".join(w for w in words if w)
