"""Prompt expansion with a tiny random GPT-2: what may be added, how much, and when it ends."""

import json
import re

import pytest
import torch

from models.errors import BadModelFile
from models.expansion import load_expander, room, tidied
from models.gpt2 import Gpt2, Gpt2Sizes
from models.memory import Residency
from models.text.byte_pairs import END, letters
from models.text.tokenizer import token_ids

WORDS = ["epic", "art", "artistic", "sharp", "moody", "calm", "bright", "fine", "soft", "vast"] + [
    f"{a}{b}"
    for a in ("glow", "dream", "star", "moon", "sun", "wind", "rain", "snow")
    for b in ("ing", "y", "ish", "lit", "born")
]


def folder_with(tmp_path, words=WORDS):
    tokens = [*letters(), "Ġa", "ar", "Ġar", "Ġart", END]
    (tmp_path / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\nĠ a\na r\nĠa r\nĠar t\n", encoding="utf-8")
    torch.manual_seed(1)
    network = Gpt2(Gpt2Sizes(len(tokens), 700, 64, 1, 1, 64))
    state = {name: torch.randn(p.shape) * 0.3 for name, p in network.named_parameters()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    if words is not None:
        (tmp_path / "positive.txt").write_text("\n".join(words), encoding="utf-8")
    return load_expander(tmp_path / "pytorch_model.bin", Residency("cpu"))


def added_to(prompt, text):
    assert text.startswith(prompt)
    return re.findall(r"\w+", text[len(prompt) :])


def test_listed_words_are_added_once_each_until_the_chunk_is_full(tmp_path):
    expander = folder_with(tmp_path)
    prompt = "an epic castle"
    text = expander.expand(prompt, 7)
    added = added_to(prompt, text)
    assert added
    assert set(added) <= set(WORDS) - {"epic"}
    assert len(added) == len(set(added))
    assert len(token_ids(text)) <= 75
    assert ",," not in text.replace(" ", "")


def test_the_seed_decides_and_only_the_seed(tmp_path):
    expander = folder_with(tmp_path)
    texts = [expander.expand("a castle", seed) for seed in (1, 1, 2, 2**64 - 1)]
    assert texts[0] == texts[1] != texts[2]
    torch.manual_seed(99)
    assert expander.expand("a castle", 1) == texts[0]


def test_all_words_used_up_ends_the_text(tmp_path):
    text = folder_with(tmp_path, ["epic", "art", "artistic"]).expand("a castle", 3)
    assert sorted(added_to("a castle", text)) == ["art", "artistic", "epic"]


def test_without_a_list_any_word_may_come_but_no_new_line(tmp_path):
    text = folder_with(tmp_path, None).expand("a castle", 3)
    assert text.startswith("a castle")
    assert "\n" not in text
    assert len(token_ids(text)) <= 75


def test_a_full_chunk_stays_as_it_is(tmp_path):
    prompt = " ".join(["cat"] * 75)
    assert room(prompt) == 75
    assert folder_with(tmp_path).expand(prompt, 1) == prompt
    assert room(prompt + " cat") == 150


def test_an_empty_prompt_stays_empty(tmp_path):
    assert folder_with(tmp_path).expand(" ,. ", 1) == ""
    assert tidied(" a,\n  b ,") == "a, b"


def test_a_folder_that_lacks_its_vocabulary_is_refused(tmp_path):
    folder_with(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(BadModelFile, match="merges"):
        load_expander(tmp_path / "pytorch_model.bin", Residency("cpu"))
