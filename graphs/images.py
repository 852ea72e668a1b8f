"""One image of a request: its seed and its words (Fooocus behaviour §2.5, §2.6, §3.1)."""

from collections.abc import Sequence
from random import Random

from msgspec import Struct

from graphs.catalog import Catalog
from graphs.expansion import SLOT
from graphs.prompts import expand_arrays
from graphs.resolve import Generation


class ImageText(Struct, frozen=True, kw_only=True):
    """The words of one image. `positive` and `negative` are encoded chunk by chunk; the first `*_top_k` are pooled.

    prompt, negative_prompt: as recorded, lines joined, without styles. styles: random ones settled. expansion: stands
    in records for what a language model will add; "" where none does (`graphs.expansion`).
    """

    index: int
    seed: int
    prompt: str
    negative_prompt: str
    styles: Sequence[str]
    expansion: str
    positive: Sequence[str]
    negative: Sequence[str]
    positive_top_k: int
    negative_top_k: int


def image_text(generation: Generation, catalog: Catalog, index: int) -> ImageText:
    """Settle the words of image `index` of a job. Every draw comes from one generator seeded with the image's seed, in
    order: wildcards of the main prompt, the main negative, extra lines, extra negatives, then random styles.
    """
    place = generation.first_image + index
    seed = generation.seed_of(place)
    rng = Random(seed)

    def fill(text: str) -> str:
        return catalog.wildcards.apply(text, rng, index=place, in_order=generation.wildcards_in_order)

    main = expand_arrays(fill(generation.prompt), place)
    negative = fill(generation.negative)
    extra = [fill(line) for line in generation.extra_prompts]
    extra_negatives = [fill(line) for line in generation.extra_negatives]
    styles = catalog.styles.pick(generation.styles, rng)
    wrapped = catalog.styles.wrap(styles, main, negative, extra, extra_negatives)
    return ImageText(
        index=index,
        seed=seed,
        prompt="\n".join([main, *extra]),
        negative_prompt="\n".join([negative, *extra_negatives]),
        styles=styles,
        expansion=SLOT if generation.expansion and main else "",
        positive=wrapped.positive,
        negative=wrapped.negative,
        positive_top_k=len(wrapped.positive),
        negative_top_k=len(wrapped.negative),
    )
