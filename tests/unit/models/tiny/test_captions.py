import random

from models.tiny.captions import (
    BACKGROUND_WORDS,
    COLOUR_WORDS,
    PLACE_WORDS,
    RELATION_WORDS,
    SHAPE_WORDS,
    STYLE_WORDS,
    caption,
    plain_caption,
    style_only,
    styled,
)
from models.tiny.scenes import BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES, Scene, Thing, random_scene

RED_CIRCLE = Scene("gray", (Thing("circle", "red", "large", "left"),))
TWO = Scene("pink", (Thing("star", "black"), Thing("ring", "orange")), "beside")


def test_every_attribute_value_has_a_plain_word_first() -> None:
    assert {k: v[0] for k, v in SHAPE_WORDS.items()} == {s: s for s in SHAPES}
    assert {k: v[0] for k, v in COLOUR_WORDS.items()} == {c: c for c in COLOURS}
    assert {k: v[0] for k, v in BACKGROUND_WORDS.items()} == {b: b for b in BACKGROUNDS}
    assert set(PLACE_WORDS) == set(PLACES)


def test_the_plain_caption_says_everything() -> None:
    assert plain_caption(RED_CIRCLE) == "a large red circle on the left on a gray background"
    assert plain_caption(TWO) == "a black star left of an orange ring on a pink background"


def test_the_same_seed_gives_the_same_caption() -> None:
    assert [caption(TWO, random.Random(i)) for i in range(30)] == [caption(TWO, random.Random(i)) for i in range(30)]


def test_captions_say_colour_shape_and_background_nearly_always() -> None:
    rng, captions = random.Random(1), []
    captions = [caption(RED_CIRCLE, rng) for _ in range(1000)]
    for words, least in ((COLOUR_WORDS["red"], 0.9), (SHAPE_WORDS["circle"], 0.9), (BACKGROUND_WORDS["gray"], 0.85)):
        assert sum(any(w in text for w in words) for text in captions) / len(captions) > least
    assert sum("left" in text for text in captions) / len(captions) > 0.95


def test_captions_never_say_an_attribute_value_the_scene_does_not_have() -> None:
    rng = random.Random(4)
    wrong = {w for c in COLOURS if c not in ("red", "white") for w in COLOUR_WORDS[c]} - {"golden"}
    for _ in range(500):
        text = caption(Scene("white", (Thing("circle", "red", "small"),)), rng)
        assert not any(f" {w} " in f" {text} " for w in wrong), text


def test_an_unsaid_size_or_place_is_never_said() -> None:
    rng = random.Random(7)
    for _ in range(500):
        text = caption(Scene("gray", (Thing("circle", "red"),)), rng)
        assert not any(
            f" {w} " in f" {text} " for w in ("left", "right", "top", "bottom", "center", "middle", *SIZES)
        ), text


def test_captions_of_two_things_say_where_they_stand() -> None:
    rng = random.Random(8)
    forward, backward = RELATION_WORDS["beside"]
    captions = [caption(TWO, rng) for _ in range(1000)]
    assert sum("left" in t or "right" in t for t in captions) / len(captions) > 0.85
    for text in captions:
        for word in forward:
            if f" {word} " in text:
                assert any(w in text.split(f" {word} ")[0] for w in (*SHAPE_WORDS["star"], "shape")), text
        for word in backward:
            if f" {word} " in text and "," not in text and " and " not in text:
                assert any(w in text.split(f" {word} ")[0] for w in (*SHAPE_WORDS["ring"], "shape")), text


def test_style_words_surround_a_caption_without_changing_it() -> None:
    rng = random.Random(9)
    for _ in range(200):
        text = caption(random_scene(rng), rng)
        assert text in styled(text, rng)


def test_style_words_say_nothing_about_a_scene() -> None:
    said = {w for table in (SHAPE_WORDS, COLOUR_WORDS, BACKGROUND_WORDS) for words in table.values() for w in words}
    assert not said & set(STYLE_WORDS)
    assert style_only(random.Random(0))
