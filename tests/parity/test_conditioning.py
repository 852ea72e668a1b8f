"""Conditioning against an independent implementation: transformers' tokenizer and encoders on the same tensors, and the
weighting written again in numpy from its description, one chunk at a time."""

import gzip

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from safetensors.torch import save_file

from models.errors import BadModelFile
from models.memory import Residency
from models.sdxl import load_checkpoint
from models.text.encode import PromptTooLong, encode_comfy, encode_comfy_pair, encode_fooocus
from models.text.size import SizeNumbers, emphasis_applies, size_embedding, size_vector
from models.text.tokenizer import MERGES_FILE
from tests.parity.diffusers_sdxl import transformers_clip_g, transformers_clip_l
from tests.parity.random_sdxl import Plan, write_checkpoint

TOLERANCE = 1e-4
PLAN = Plan(vocabulary=49408, text_l=(32, 3), text_g=(48, 4))
START, END = 49406, 49407

Weighted = list[tuple[str, float]]


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import CLIPTokenizer

    merges = [tuple(line.split()) for line in gzip.decompress(MERGES_FILE.read_bytes()).decode().split("\n")[1:48895]]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    words = characters + [c + "</w>" for c in characters] + ["".join(m) for m in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=merges)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "a.safetensors"
    state = write_checkpoint(path, PLAN)
    clip = load_checkpoint(path, Residency())[1]
    peers = {"l": transformers_clip_l(state, clip.l.sizes), "g": transformers_clip_g(state, clip.g.sizes)}
    return clip, peers


def reference_chunk(peer, pad: int, tokens: list[int], skip: int) -> tuple[np.ndarray, np.ndarray | None]:
    ids = [START, *tokens, END]
    ids += [pad] * (77 - len(ids))
    with torch.inference_mode():
        out = peer(torch.tensor([ids]), output_hidden_states=True)
    pooled = getattr(out, "text_embeds", None)
    return out.hidden_states[-skip][0].double().numpy(), None if pooled is None else pooled[0].double().numpy()


def reference_text(
    peers, tokenizer, chunks: list[Weighted], keep_mean: bool, skip: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Encode one text whose chunks are given as (words, weight) pairs; returns context (T, C) and pooled (P,)."""
    sides, pooled = [], None
    any_weight = any(weight != 1 for chunk in chunks for _, weight in chunk)
    for name, pad in (("l", END), ("g", 0)):
        empty, _ = reference_chunk(peers[name], pad, [], skip)
        rows = []
        for number, chunk in enumerate(chunks):
            ids = [tokenizer(words, add_special_tokens=False)["input_ids"] for words, _ in chunk]
            weights = [1.0, *(w for part, (_, w) in zip(ids, chunk, strict=True) for _ in part)]
            hidden, own_pooled = reference_chunk(peers[name], pad, [token for part in ids for token in part], skip)
            if name == "g" and number == 0:
                pooled = own_pooled
            changed = hidden.copy()
            for position, weight in enumerate(weights):
                if weight != 1:
                    changed[position] = empty[position] + weight * (hidden[position] - empty[position])
            if keep_mean and any_weight:
                changed *= hidden.mean() / changed.mean()
            rows.append(changed)
        sides.append(np.concatenate(rows))
    assert pooled is not None
    return np.concatenate(sides, axis=1), pooled


def assert_same(conditioning, context: np.ndarray, pooled: np.ndarray) -> None:
    ((own, facts),) = conditioning
    assert own.shape == (1, *context.shape)
    np.testing.assert_allclose(own[0].numpy(), context, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(facts["pooled_output"][0].numpy(), pooled, atol=TOLERANCE, rtol=0)


PROMPTS = [
    ("a photo of a cat", [[("a photo of a cat", 1)]]),
    ("", [[("", 1)]]),
    ("a (red) cat", [[("a", 1), ("red", 1.1), ("cat", 1)]]),
    ("(a (b:0.5) c:1.3), x", [[("a", 1.3), ("b", 0.5), ("c", 1.3), (", x", 1)]]),
    ("(foo:-0.5) bar", [[("foo", -0.5), ("bar", 1)]]),
    ("cat " * 75 + "(dog:1.4)", [[("cat " * 75, 1)], [("dog", 1.4)]]),
    ("naïve 日本 🐱 go!!!", [[("naïve 日本 🐱 go!!!", 1)]]),
]


@pytest.mark.parametrize(("text", "chunks"), PROMPTS)
def test_one_text_as_fooocus_encodes_it(loaded, tokenizer, text, chunks):
    clip, peers = loaded
    assert_same(encode_fooocus(clip, [text]), *reference_text(peers, tokenizer, chunks, keep_mean=True))


@pytest.mark.parametrize(("text", "chunks"), PROMPTS)
def test_one_text_as_comfyui_encodes_it(loaded, tokenizer, text, chunks):
    clip, peers = loaded
    assert_same(encode_comfy(clip, text), *reference_text(peers, tokenizer, chunks, keep_mean=False))


@pytest.mark.parametrize("skip", [1, 2, 3])
def test_clip_skip_counts_the_hidden_states_of_both_encoders(loaded, tokenizer, skip):
    clip, peers = loaded
    expected = reference_text(peers, tokenizer, [[("a", 1), ("red", 1.1)]], keep_mean=True, skip=skip)
    assert_same(encode_fooocus(clip.patched(clip_skip=skip), ["a (red)"]), *expected)


@pytest.mark.parametrize("top_k", [1, 2, 3, 9])
def test_texts_lie_end_to_end_and_pooled_is_the_sum_of_the_first(loaded, tokenizer, top_k):
    clip, peers = loaded
    parts = [reference_text(peers, tokenizer, chunks, keep_mean=True) for _, chunks in PROMPTS[:4]]
    context = np.concatenate([context for context, _ in parts])
    pooled = np.sum([pooled for _, pooled in parts[:top_k]], axis=0)
    assert_same(encode_fooocus(clip, [text for text, _ in PROMPTS[:4]], top_k), context, pooled)


def test_a_weight_in_the_second_chunk_leaves_the_first_untouched(loaded):
    clip, _ = loaded
    plain = encode_fooocus(clip, ["cat " * 75 + "dog"])[0][0]
    weighted = encode_fooocus(clip, ["cat " * 75 + "(dog:1.4)"])[0][0]
    torch.testing.assert_close(plain[:, :77], weighted[:, :77], rtol=0, atol=1e-6)
    assert not torch.allclose(plain[:, 77:], weighted[:, 77:], atol=1e-3)


def test_a_pair_of_texts_fills_the_shorter_with_empty_chunks(loaded, tokenizer):
    clip, peers = loaded
    long, short = "cat " * 80, "dog"
    (context, facts), *_ = encode_comfy_pair(clip, short, long, width=512, crop_h=8)
    expected_g, pooled = reference_text(peers, tokenizer, [[("cat " * 75, 1)], [("cat " * 5, 1)]], keep_mean=False)
    expected_l, _ = reference_text(peers, tokenizer, [[("dog", 1)], [("", 1)]], keep_mean=False)
    np.testing.assert_allclose(context[0, :, 32:].numpy(), expected_g[:, 32:], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(context[0, :, :32].numpy(), expected_l[:, :32], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(facts["pooled_output"][0].numpy(), pooled, atol=TOLERANCE, rtol=0)
    assert facts["width"] == 512
    assert facts["crop_h"] == 8


def test_a_prompt_longer_than_one_batch_is_encoded_like_its_parts(loaded):
    clip, _ = loaded
    texts = [f"word {number}" for number in range(70)]
    together = encode_fooocus(clip, texts, 70)
    context = torch.cat([encode_fooocus(clip, [text])[0][0] for text in texts], dim=1)
    torch.testing.assert_close(together[0][0], context, rtol=0, atol=TOLERANCE)


def test_a_prompt_without_end_is_refused(loaded):
    clip, _ = loaded
    with pytest.raises(PromptTooLong, match="1025 chunks of 77 tokens"):
        encode_comfy(clip, "cat " * 75 * 1024 + "cat")


@pytest.fixture
def embeddings(tmp_path, loaded):
    """Write files whose vectors are token rows, so that the expected picture is that of the words themselves."""
    _, peers = loaded
    ids = {"cat": 2368, "dog": 1929}
    tables = {name: peer.get_input_embeddings().weight.detach() for name, peer in peers.items()}
    rows = {name: torch.stack([table[ids["cat"]], table[ids["dog"]]]).clone() for name, table in tables.items()}
    (tmp_path / "sub").mkdir()
    save_file({"clip_l": rows["l"], "clip_g": rows["g"]}, tmp_path / "sub" / "both.safetensors")
    save_file({"string_to_param.*": rows["l"], "other": torch.ones(3)}, tmp_path / "old.safetensors")
    (tmp_path / "pickled.pt").write_bytes(b"\x80\x02}q\x00.")
    return tmp_path


@pytest.mark.parametrize(
    ("prompt", "plain"),
    [
        ("a embedding:both photo", "a cat dog photo"),
        ("a (embedding:both:1.2) photo", "a (cat dog:1.2) photo"),
        ("embedding:sub/both.safetensors, x", "cat dog , x"),
        ("embedding:both,", "cat dog ,"),
        ("embedding:unknown a", "a"),
        ("embedding:../secret a", "a"),
    ],
)
@pytest.mark.parametrize("encode", [lambda clip, text: encode_fooocus(clip, [text]), encode_comfy])
def test_an_embedding_stands_in_the_place_of_its_vectors(loaded, embeddings, prompt, plain, encode):
    clip, _ = loaded
    (context, facts), *_ = encode(clip.patched(embeddings_dirs=(embeddings,)), prompt)
    (expected, expected_facts), *_ = encode(clip, plain)
    torch.testing.assert_close(context, expected, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(facts["pooled_output"], expected_facts["pooled_output"], rtol=0, atol=TOLERANCE)


def test_an_embedding_for_one_encoder_is_left_out_of_the_other(loaded, embeddings):
    clip, _ = loaded
    context = encode_comfy(clip.patched(embeddings_dirs=(embeddings,)), "a embedding:old")[0][0]
    torch.testing.assert_close(context[..., :32], encode_comfy(clip, "a cat dog")[0][0][..., :32], rtol=0, atol=1e-4)
    torch.testing.assert_close(context[..., 32:], encode_comfy(clip, "a")[0][0][..., 32:], rtol=0, atol=1e-4)


def test_a_pickled_embedding_is_refused_by_name_and_never_opened(loaded, embeddings):
    clip, _ = loaded
    with pytest.raises(BadModelFile, match=r"pickled\.pt.*Convert it to safetensors"):
        encode_comfy(clip.patched(embeddings_dirs=(embeddings,)), "embedding:pickled")


@pytest.mark.parametrize(
    ("numbers", "first", "mean"),
    [
        (SizeNumbers.emphasised(896, 1152, 1.5), [0.8244, 0.944421, 0.103933, -0.698437], 0.2750662),
        (SizeNumbers.emphasised(896, 1152, 0.8), [0.960187, 0.96326, -0.420587, 0.480057], 0.2878181),
        (SizeNumbers.consistent(896, 1152), [-0.798442, -0.295814, -0.997593, 0.861914], 0.284985),
        (SizeNumbers.emphasised(1000, 1000, 1.5), [-0.110267, 0.547942, -0.101974, -0.731697], None),
        (SizeNumbers.consistent(1000, 1000), [0.987354, -0.537617, 0.683457, -0.491927], None),
    ],
)
def test_size_numbers_give_the_values_executed_by_the_original(numbers, first, mean):
    vector = size_embedding(numbers, 256)
    assert vector.shape == (1536,)
    np.testing.assert_allclose(vector[:4].numpy(), first, atol=1e-4)
    if mean is not None:
        assert abs(float(vector.mean()) - mean) < 1e-5


def test_size_numbers_are_scaled_and_rounded_as_specified():
    assert SizeNumbers.emphasised(896, 1152, 1.5) == (1344, 1728, 0, 0, 896, 1152)
    assert SizeNumbers.emphasised(896, 1152, 0.8) == (716, 921, 0, 0, 896, 1152)
    assert SizeNumbers.consistent(1000, 1056) == (1024, 1024, 0, 0, 1024, 1024)  # 16.5 rounds to even


def test_emphasis_ends_at_its_share_of_the_timesteps():
    assert [emphasis_applies(t, 0.3) for t in (999, 700, 699.3, 699)] == [True, True, False, False]
    assert not emphasis_applies(999, 0.0)


@pytest.mark.parametrize("embed_dim", [32, 256])
def test_the_size_vector_equals_diffusers_time_ids(embed_dim):
    numbers = SizeNumbers(768, 1344, 16, 8, 832, 1216)
    pooled = torch.randn(2, 48)
    expected = get_timestep_embedding(torch.tensor(numbers), embed_dim, flip_sin_to_cos=True, downscale_freq_shift=0)
    own = size_vector(pooled, numbers, 48 + 6 * embed_dim)
    torch.testing.assert_close(own, torch.cat([pooled, expected.flatten().expand(2, -1)], dim=1), rtol=0, atol=1e-5)


def test_a_unet_that_does_not_fit_the_text_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        size_vector(torch.zeros(1, 1280), SizeNumbers.plain(64, 64), 1280)
