"""One image's words: the order of draws and chunks (Fooocus behaviour §2.5, §2.6)."""

import json
from random import Random

from graphs.catalog import Catalog
from graphs.expansion import SLOT
from graphs.images import image_text
from graphs.request import GenerationRequest
from graphs.resolve import resolve
from graphs.styles import Style, StyleBook
from graphs.text_to_image import text_to_image
from graphs.wildcards import Wildcards

EXPANSION_FILES = tuple(f"fooocus_expansion/{name}" for name in ("pytorch_model.bin", "vocab.json", "merges.txt"))
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
    catalog = catalog_with(tmp_path, files={"prompt_expansion": EXPANSION_FILES})
    text = text_of(GenerationRequest(prompt="a cat\nextra", styles=["Fooocus V2", "One"], seed=5), catalog)
    assert text.positive == ["a cat One", "extra"]
    assert (text.positive_top_k, text.expansion) == (2, SLOT)


def test_the_expanded_prompt_is_a_chunk_of_its_own_and_stands_in_the_record(tmp_path):
    """The model runs with the graph: once for both, on the main line, with the image's seed."""
    catalog = catalog_with(tmp_path, files={"prompt_expansion": EXPANSION_FILES})
    request = GenerationRequest(prompt="a cat\nextra", styles=["Fooocus V2", "One"], seed=5, image_number=2)
    graph = text_to_image(request, catalog).graph
    nodes = graph.nodes.values()
    expanding = [node for node in nodes if node.class_type == "ExpandPrompt"]
    assert [(node.inputs["text"], node.inputs["seed"]) for node in expanding] == [("a cat", 5), ("a cat", 6)]
    for number, saved in enumerate(node for node in nodes if node.class_type == "SaveGeneration"):
        inserted = graph.nodes[saved.inputs["metadata"].source]
        assert graph.nodes[inserted.inputs["text"].source] is expanding[number]
        record = json.loads(inserted.inputs["template"])
        assert record["prompt_expansion"] == inserted.inputs["slot"] == SLOT
        assert record["full_prompt"] == ["a cat One", "extra", SLOT]
        assert record["styles"] == "['Fooocus V2', 'One']"
    (joined, _) = [node for node in nodes if node.class_type == "ConditioningConcat"]
    assert graph.nodes[joined.inputs["conditioning_from"].source].inputs["text"].source in graph.nodes
