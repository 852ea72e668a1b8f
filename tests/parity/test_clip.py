"""Both text encoders against transformers' on the same random tensors."""

import pytest
import torch
from torch import Tensor

from models.clip import Replacement
from models.memory import Residency
from models.sdxl import Clip, encode_tokens, load_checkpoint
from tests.parity.diffusers_sdxl import transformers_clip_g, transformers_clip_l
from tests.parity.random_sdxl import TINY, write_checkpoint

TOLERANCE = 1e-4
END = TINY.vocabulary - 1


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, dict[str, Tensor]]:
    path = tmp_path_factory.mktemp("clip") / "a.safetensors"
    state = write_checkpoint(path)
    return load_checkpoint(path, Residency())[1], state


def tokens(pad: int) -> Tensor:
    ids = torch.randint(1, END - 1, (3, 77), generator=torch.Generator().manual_seed(0))
    for row, end in enumerate((4, 40, 76)):
        ids[row, end] = END
        ids[row, end + 1 :] = pad
    return ids


@pytest.mark.parametrize("skip", [1, 2, 3])
def test_hidden_states_of_l_equal_transformers(loaded: tuple[Clip, dict[str, Tensor]], skip: int) -> None:
    clip, state = loaded
    with torch.inference_mode():
        expected = transformers_clip_l(state, clip.l.sizes)(tokens(END), output_hidden_states=True)
    out = encode_tokens(clip.patched(clip_skip=skip), tokens(END), "l")
    assert out.pooled is None
    torch.testing.assert_close(out.hidden, expected.hidden_states[-skip], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("skip", [1, 2, 4])
def test_hidden_states_and_pooled_of_g_equal_transformers(loaded: tuple[Clip, dict[str, Tensor]], skip: int) -> None:
    clip, state = loaded
    with torch.inference_mode():
        expected = transformers_clip_g(state, clip.g.sizes)(tokens(0), output_hidden_states=True)
    out = encode_tokens(clip.patched(clip_skip=skip), tokens(0), "g")
    assert out.pooled is not None
    torch.testing.assert_close(out.hidden, expected.hidden_states[-skip], rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(out.pooled, expected.text_embeds, rtol=0, atol=TOLERANCE)


def test_skipping_more_layers_than_there_are_gives_the_normed_last_state(
    loaded: tuple[Clip, dict[str, Tensor]],
) -> None:
    clip, state = loaded
    with torch.inference_mode():
        expected = transformers_clip_l(state, clip.l.sizes)(tokens(END)).last_hidden_state
    out = encode_tokens(clip.patched(clip_skip=9), tokens(END), "l")
    torch.testing.assert_close(out.hidden, expected, rtol=0, atol=TOLERANCE)


def test_replacing_a_token_by_its_own_embedding_changes_nothing_and_by_another_does(
    loaded: tuple[Clip, dict[str, Tensor]],
) -> None:
    clip, state = loaded
    table = state["conditioner.embedders.1.model.token_embedding.weight"]
    ids = tokens(0)
    plain = encode_tokens(clip, ids, "g").hidden
    own = encode_tokens(clip, ids, "g", [Replacement(1, 5, table[ids[1, 5]])]).hidden
    other = encode_tokens(clip, ids, "g", [Replacement(1, 5, torch.ones(48))]).hidden
    assert torch.equal(own, plain)
    assert torch.equal(other[0], plain[0])
    assert torch.equal(other[1, :5], plain[1, :5])  # causal: nothing before the token changes
    assert not torch.equal(other[1, 5:], plain[1, 5:])
