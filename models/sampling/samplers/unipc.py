"""UniPC (Zhao et al. 2023): a predictor of order up to 3 whose next evaluation also corrects the step before."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from models.sampling.protocol import Callback, Denoiser, Noise
from models.sampling.samplers.steps import toward

MAX_ORDER = 3
LAST_SIGMA = 0.001  # stands for 0, whose log does not exist


def uni_pc(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """UniPC with B(h) = h ("bh1")."""
    return _unipc(denoise, x, sigmas, callback, scale=lambda h: -h)


def uni_pc_bh2(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """UniPC with B(h) = e^h − 1 ("bh2")."""
    return _unipc(denoise, x, sigmas, callback, scale=lambda h: math.expm1(-h))


def _unipc(denoise, x, sigmas, callback, scale) -> Tensor:
    """Data prediction in sigma space; orders rise 1, 2, 3 at the start and fall 2, 1 at the end."""
    if sigmas[-1] == 0:
        sigmas = (*sigmas[:-1], LAST_SIGMA)
    total = len(sigmas) - 1
    highest = min(MAX_ORDER, max(total - 1, 1))
    estimates = [denoise(x, sigmas[0])]  # newest last
    callback(0, total, x, estimates[0])
    for step in range(1, total + 1):
        order = min(step, highest, total + 1 - step)
        knots = sigmas[step - order : step + 1]
        h = math.log(sigmas[step - 1] / sigmas[step])
        ratios = [math.log(sigmas[step - 1] / knot) / h for knot in knots[-3::-1]] + [1.0]
        latest = estimates[-1]
        differences = [(old - latest) / r for old, r in zip(estimates[-2::-1], ratios[:-1], strict=False)]
        base = toward(x, latest, sigmas[step] / sigmas[step - 1])
        predictor, corrector = _weights(ratios, h, scale(h))
        predicted = base - _weighted(differences, predictor, scale(h), like=base)
        if step == total:
            return predicted
        estimates = [*estimates[-2:], denoise(predicted, sigmas[step])]
        callback(step, total, predicted, estimates[-1])
        x = base - _weighted([*differences, estimates[-1] - latest], corrector, scale(h), like=base)
    return x


def _weights(ratios: Sequence[float], h: float, scale: float) -> tuple[list[float], list[float]]:
    """Solve eq. 9 for the predictor (without the newest point) and the corrector; small cases as the authors do."""
    order = len(ratios)
    phi, factorial, right = math.expm1(-h) / -h - 1, 1, []
    for k in range(1, order + 1):
        right.append(phi * factorial / scale)
        factorial *= k + 1
        phi = phi / -h - 1 / factorial
    matrix = torch.tensor([[ratio**k for ratio in ratios] for k in range(order)], dtype=torch.float64)
    vector = torch.tensor(right, dtype=torch.float64)
    predictor = [0.5] if order == 2 else torch.linalg.solve(matrix[:-1, :-1], vector[:-1]).tolist()
    corrector = [0.5] if order == 1 else torch.linalg.solve(matrix, vector).tolist()
    return predictor, corrector


def _weighted(differences: Sequence[Tensor], weights: Sequence[float], scale: float, like: Tensor) -> Tensor:
    total = torch.zeros_like(like)
    for difference, weight in zip(differences, weights, strict=True):
        total = total + difference * (weight * scale)
    return total
