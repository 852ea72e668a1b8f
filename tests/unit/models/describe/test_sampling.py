"""Choosing words from logits, against transformers' own processors."""

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor, TopPLogitsWarper

from models.describe.sampling import draw, nucleus, penalised


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_the_nucleus_is_that_of_transformers(share):
    torch.manual_seed(1)
    for spread in (0.1, 1.0, 5.0):
        logits = torch.randn(200) * spread
        wanted = TopPLogitsWarper(share)(torch.zeros(1, 1).long(), logits[None])[0]
        assert torch.equal(nucleus(logits, share), wanted)


def test_the_penalty_is_that_of_transformers():
    torch.manual_seed(2)
    logits, said = torch.randn(50), [3, 7, 7, 20]
    wanted = RepetitionPenaltyLogitsProcessor(1.1)(torch.tensor([said]), logits[None].clone())[0]
    assert torch.allclose(penalised(logits, said, 1.1), wanted)


def test_impossible_words_are_never_drawn():
    logits = torch.full((10,), -torch.inf)
    logits[4] = 0.0
    logits[6] = 1.0
    generator = torch.Generator().manual_seed(1)
    assert {draw(logits, generator) for _ in range(50)} == {4, 6}
