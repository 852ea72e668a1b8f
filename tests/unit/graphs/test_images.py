"""One image's words: the order of draws and chunks (Fooocus behaviour §2.5, §2.6)."""

from random import Random

from graphs.catalog import Catalog
from graphs.images import image_text
from graphs.request import GenerationRequest
from graphs.resolve import resolve
from graphs.styles import Style, StyleBook
from graphs.wildcards import Wildcards

STYLES = StyleBook({name: Style(name, f"{{prompt}} {name}", f"no {name}") for name in ("One", "Two", "Three")})


def catalog_with(tmp_path, **more):
    (tmp_path / "n.txt").write_text("\n".join(str(n) for n in range(100)), encoding="utf-8")
    return Catalog(checkpoints=("a.safetensors",), styles=STYLES, wildcards=Wildcards([tmp_path]), **more)


def text_of(request, catalog, index=0):
    return image_text(resolve(request, catalog)[0], catalog, index)


def test_draws_come_from_one_generator_in_the_documented_order(tmp_path):
    request = GenerationRequest(
        prompt="__n__\n__n__\n__n__", negative_prompt="__n__\n__n__", styles=["Random Style", "One"], seed=5
    )
    rng = Random(5)
    main, negative, extra, second, extra_negative = [str(rng.choice(range(100))) for _ in range(5)]
    style = rng.choice(["One", "Two", "Three"])
    text = text_of(request, catalog_with(tmp_path))
    assert text.prompt == f"{main}\n{extra}\n{second}"
    assert text.negative_prompt == f"{negative}\n{extra_negative}"
    assert text.styles == [style, "One"]
    assert text.positive == [f"{main} {style}", f"{main} One", extra, second]
    assert text.negative == [f"no {style}", "no One", negative, extra_negative]
    assert (text.positive_top_k, text.negative_top_k) == (4, 4)


def test_the_words_depend_on_the_seed_and_not_on_the_batch(tmp_path):
    catalog = catalog_with(tmp_path)
    batch = text_of(GenerationRequest(prompt="__n__ __n__", seed=5, image_number=2), catalog, 1)
    single = text_of(GenerationRequest(prompt="__n__ __n__", seed=6), catalog, 0)
    assert (batch.prompt, batch.seed) == (single.prompt, 6)


def test_in_order_the_image_number_counts_and_arrays_turn(tmp_path):
    request = GenerationRequest(prompt="__n__ [[a,b]]", seed=5, image_number=3, read_wildcards_in_order=True, styles=[])
    catalog = catalog_with(tmp_path)
    assert [text_of(request, catalog, index).prompt for index in range(3)] == ["0 a", "1  b", "2 a"]


def test_expansion_adds_a_chunk_that_is_not_pooled(tmp_path):
    catalog = catalog_with(tmp_path, expansion=lambda prompt, seed: f"{prompt}, grand {seed}")
    text = text_of(GenerationRequest(prompt="a cat\nextra", styles=["Fooocus V2", "One"], seed=5), catalog)
    assert text.positive == ["a cat One", "extra", "a cat, grand 5"]
    assert (text.positive_top_k, text.expansion) == (2, "a cat, grand 5")
