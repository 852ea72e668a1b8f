"""Choosing the next word from logits: nucleus sampling, and a penalty on what was said already.

Holtzman et al. 2019, https://arxiv.org/abs/1904.09751 (nucleus); Keskar et al. 2019, https://arxiv.org/abs/1909.05858
(penalty, equation in section 4.1).
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def penalised(logits: Tensor, said: Sequence[int], penalty: float) -> Tensor:
    """Make words that were said less likely: their positive logits are divided, their negative ones multiplied."""
    index = torch.tensor(sorted(set(said)), dtype=torch.long, device=logits.device)
    values = logits[index]
    return logits.scatter(0, index, torch.where(values > 0, values / penalty, values * penalty))


def nucleus(logits: Tensor, share: float) -> Tensor:
    """Keep the fewest words whose probabilities add up to at least `share`; all others become impossible (-inf)."""
    ordered, index = logits.sort(descending=True)
    before = ordered.softmax(0).cumsum(0).roll(1)
    before[0] = 0.0
    return torch.full_like(logits, -torch.inf).scatter(0, index, ordered.masked_fill(before >= share, -torch.inf))


def draw(logits: Tensor, generator: torch.Generator) -> int:
    """Draw one word by its probability."""
    return int(torch.multinomial(logits.softmax(0), 1, generator=generator))
