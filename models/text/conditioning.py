"""Arithmetic on conditioning: lists of pairs of a context (1, T, C) and a dict of facts (graph-protocol g.5).

Nothing is changed in place: the engine keeps values and hands the same one to several nodes.
"""

import torch
from torch import Tensor

from models.text.encode import Conditioning

POOLED = "pooled_output"


def concatenated(to: Conditioning, other: Conditioning) -> Conditioning:
    """Append the tokens of the other's first entry to each entry."""
    return [[torch.cat([context, other[0][0].to(context)], dim=1), dict(facts)] for context, facts in to]


def averaged(to: Conditioning, other: Conditioning, strength: float) -> Conditioning:
    """Blend each entry, at `strength`, with the other's first one, cut or filled with zeros to the same length."""
    other_context, other_facts = other[0]
    blended: Conditioning = []
    for context, facts in to:
        tokens = context.shape[1]
        fitted = torch.zeros_like(context)
        fitted[:, : other_context.shape[1]] = other_context[:, :tokens]
        changed = dict(facts)
        own, others = facts.get(POOLED), other_facts.get(POOLED)
        if others is not None:
            changed[POOLED] = others if own is None else _blend(own, others.to(own), strength)
        blended.append([_blend(context, fitted, strength), changed])
    return blended


def zeroed(conditioning: Conditioning) -> Conditioning:
    """Replace contexts and pooled vectors by zeros."""
    empty: Conditioning = []
    for context, facts in conditioning:
        changed = dict(facts)
        if changed.get(POOLED) is not None:
            changed[POOLED] = torch.zeros_like(changed[POOLED])
        empty.append([torch.zeros_like(context), changed])
    return empty


def _blend(first: Tensor, second: Tensor, strength: float) -> Tensor:
    return first * strength + second * (1.0 - strength)
