"""GPT-2 and its tokenizer against transformers, on tiny random weights and a tiny vocabulary."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

from models.errors import BadModelFile
from models.expansion import load_expander
from models.gpt2 import Past
from models.memory import Residency
from models.text.byte_pairs import letters, read_byte_pairs

CLOSE = 1e-4
MERGES = [("Ġ", "a"), ("Ġa", "r"), ("Ġar", "t"), ("i", "c"), ("Ġ", "e"), ("p", "ic"), ("Ġe", "pic"), ("'", "s")]
SIZES = {"n_positions": 24, "n_embd": 96, "n_layer": 3, "n_head": 4, "n_inner": 160}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("gpt2")
    tokens = [*letters(), *dict.fromkeys("".join(pair) for pair in MERGES), "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in MERGES)]
    (path / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    torch.manual_seed(2)
    config = GPT2Config(vocab_size=len(tokens), bos_token_id=0, eos_token_id=len(tokens) - 1, **SIZES)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "ln_" in name and name.endswith("weight") else 0.0
            parameter.copy_(torch.randn(parameter.shape) * 0.2 + centre)
    config.save_pretrained(path)
    return path, model


@pytest.fixture(scope="module")
def tokenizers(folder):
    vocabulary, merges = (folder[0] / name for name in ("vocab.json", "merges.txt"))
    return read_byte_pairs(vocabulary, merges), GPT2Tokenizer(vocab=str(vocabulary), merges=str(merges))


@pytest.mark.parametrize("kind", ["pickled", "safetensors", "bare names"])
def test_logits_equal_those_of_transformers(folder, tmp_path, kind):
    path, model = folder
    for name in ("vocab.json", "merges.txt", "config.json"):
        (tmp_path / name).write_bytes((path / name).read_bytes())
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    if kind == "safetensors":
        state.pop("lm_head.weight")
        save_file(state, weights := tmp_path / "model.safetensors")
    else:
        if kind == "bare names":
            state = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
        # Older files carry the causal mask of each layer as well.
        state |= {f"transformer.h.{n}.attn.bias": torch.ones(1, 1, 24, 24, dtype=torch.uint8) for n in range(3)}
        state |= {f"transformer.h.{n}.attn.masked_bias": torch.tensor(-1e4) for n in range(3)}
        torch.save(state, weights := tmp_path / "pytorch_model.bin")
    ids = torch.randint(0, 250, (2, 11))
    expander = load_expander(weights, Residency("cpu"))
    with torch.no_grad(), expander.module.use() as network:
        wanted = model(ids).logits
        assert (network(ids) - wanted).abs().max() < CLOSE
        past: Past = [None] * 3
        parts = [network(ids[:, :5], past), *(network(ids[:, n : n + 1], past, n) for n in range(5, 11))]
        assert (torch.cat(parts, dim=1) - wanted).abs().max() < CLOSE


@pytest.mark.parametrize(
    "text", ["an epic art, artsy", "  two  spaces\n\nand lines ", "it's 12 o'clock – émigré 中文 🙂", ""]
)
def test_ids_are_those_of_transformers(tokenizers, text):
    ours, theirs = tokenizers
    assert ours.ids(text) == theirs(text)["input_ids"]
    assert ours.text(ours.ids(text)) == text


@given(st.text(st.characters(exclude_categories=["Cs", "Cn"]) | st.sampled_from("epic art,'s")))
def test_any_text_has_the_ids_of_transformers(tokenizers, text):
    ours, theirs = tokenizers
    assert ours.ids(text) == theirs(text)["input_ids"]


def test_a_file_of_another_kind_is_refused(folder, tmp_path):
    path, _ = folder
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((path / name).read_bytes())
    save_file({"conv_first.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(BadModelFile, match="no GPT-2"):
        load_expander(tmp_path / "model.safetensors", Residency("cpu"))
    (tmp_path / "vocab.json").write_text("[1, 2]")
    with pytest.raises(BadModelFile, match="no vocabulary"):
        load_expander(tmp_path / "model.safetensors", Residency("cpu"))
