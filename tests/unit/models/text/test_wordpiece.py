"""BERT's tokenizer against transformers' own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertTokenizer

from models.errors import BadModelFile
from models.text.wordpiece import WordPiece, read_vocabulary

ENTRIES = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh.,!?'-()", "##a", "##b", "##ed", "##s", "cat", "cafe", "un",
    "##want", "red", "circle", "##le", "中", "a1", "##1", "ss", "ß", "i", "##i",
]  # fmt: skip


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("\n".join(ENTRIES) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def reference(vocabulary):
    return BertTokenizer(vocab=str(vocabulary), do_lower_case=True)


def ids_of(reference, text):
    return reference(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    "text",
    [
        "Red cats, unwanted!",
        "café cafés (a-b)",
        "a中b [SEP] cat[SEP]red [MASK]",
        "\tcat\r\nred\u00a0a\u200b1 \x00b",
        "zebra cat" + "a" * 150,
        "a1 $a^b ÜNI İi",
        "",
    ],
)
def test_ids_are_those_of_transformers(vocabulary, reference, text):
    assert read_vocabulary(vocabulary).ids(text) == ids_of(reference, text)


@given(st.text(st.characters(exclude_categories=["Cs", "Cn"]) | st.sampled_from("abcdef ,.'é中")))
def test_any_text_has_the_ids_of_transformers(reference, text):
    assert WordPiece(ENTRIES).ids(text) == ids_of(reference, text)


def test_text_comes_back_without_special_entries():
    words = WordPiece(ENTRIES)
    ids = [words.id_of("[CLS]"), *words.ids("Red cats, a circle."), words.id_of("[SEP]"), 9999]
    assert words.text(ids) == "red cats, a circle."


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path):
    bad = tmp_path / "vocab.txt"
    bad.write_text("cat\ndog\n")
    with pytest.raises(BadModelFile, match=r"\[PAD\]"):
        read_vocabulary(bad)
    with pytest.raises(BadModelFile, match="cannot be read"):
        read_vocabulary(tmp_path / "absent.txt")
