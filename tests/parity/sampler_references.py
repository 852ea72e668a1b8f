"""The samplers' published formulas in float64 numpy, written for reading against the papers, not for speed.

Everything stands in the papers' own variables where they differ from sigma space: variance-preserving
α = 1/√(1+σ²), σ̂ = σ·α, λ = ln(α/σ̂), and the VP latent z = α·x.
`d(x, σ)` is the clean estimate, `n(σ, σ')` a replayable unit noise.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.integrate import quad

Array = np.ndarray
Estimate = Callable[[Array, float], Array]
NoiseAt = Callable[[float, float], Array]


def alpha(s: float) -> float:
    return 1 / math.sqrt(1 + s * s)


def lam(s: float) -> float:
    return -math.log(s)


def phi(k: int, h: float) -> float:
    """φ_k of exponential integrators, φ_k(h) = ∫₀¹ e^{(1−τ)h} τ^{k−1}/(k−1)! dτ, by quadrature."""
    return quad(lambda tau: math.exp((1 - tau) * h) * tau ** (k - 1) / math.factorial(k - 1), 0, 1, epsabs=1e-13)[0]


def split(s: float, s_next: float) -> tuple[float, float]:
    """DDIM's (σ_down, σ_up) at eta 1 for variance-exploding noise: up² = s'²(s² − s'²)/s²."""
    up = math.sqrt(s_next**2 * (s**2 - s_next**2)) / s
    return s_next**2 / s, up


def euler(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    for a, b in itertools.pairwise(s):
        x = d(x, a) + (b / a) * (x - d(x, a))
    return x


def euler_ancestral(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    for a, b in itertools.pairwise(s):
        down, up = split(a, b)
        x = d(x, a) + (down / a) * (x - d(x, a)) + up * n(a, b) if b else d(x, a)
    return x


def heun(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    def f(x: Array, t: float) -> Array:
        return (x - d(x, t)) / t

    for a, b in itertools.pairwise(s):
        predicted = x + (b - a) * f(x, a)
        x = x + (b - a) * 0.5 * (f(x, a) + f(predicted, b)) if b else predicted
    return x


def heunpp2(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    def f(x: Array, t: float) -> Array:
        return (x - d(x, t)) / t

    steps = len(s) - 1
    for i in range(steps):
        left = steps - i
        points, y = [f(x, s[i])], x
        for k in range(1, min(left, 3)):  # Euler points at σ_{i+1}, σ_{i+2}
            y = y + (s[i + k] - s[i + k - 1]) * points[-1]
            points.append(f(y, s[i + k]))
        weights = [s[i + k] / (len(points) * s[0]) for k in range(1, len(points))]
        weights = [1 - sum(weights), *weights]
        x = x + (s[i + 1] - s[i]) * sum(w * p for w, p in zip(weights, points, strict=False))
    return x


def dpm_2(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    for a, b in itertools.pairwise(s):
        x = _geometric_midpoint(d, x, a, b)
    return x


def dpm_2_ancestral(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    for a, b in itertools.pairwise(s):
        down, up = split(a, b)
        x = _geometric_midpoint(d, x, a, down) + (up * n(a, b) if b else 0)
    return x


def _geometric_midpoint(d: Estimate, x: Array, a: float, b: float) -> Array:
    if b == 0:
        return d(x, a)
    m = math.exp(0.5 * (math.log(a) + math.log(b)))
    y = x + (m - a) * (x - d(x, a)) / a
    return x + (b - a) * (y - d(y, m)) / m


def lms(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    slopes: list[Array] = []
    for i in range(len(s) - 1):
        slopes.append((x - d(x, s[i])) / s[i])
        knots = list(s[max(0, i - 3) : i + 1])
        for j, knot in enumerate(knots):
            others = [k for k in knots if k != knot]
            basis = np.poly1d(np.poly(others)) / np.prod([knot - k for k in others])
            integral = basis.integ()
            x = x + (integral(s[i + 1]) - integral(s[i])) * slopes[i - len(knots) + 1 + j]
    return x


def dpm_fast(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    """DPM-Solver, algorithms 1-3 with noise prediction, in VP scale, λ evenly spaced."""
    count = len(s) - 1
    k = count // 3 + 1
    orders = [3] * (k - 2) + [2, 1] if count % 3 == 0 else [3] * (k - 1) + [count % 3]
    knots = np.linspace(lam(s[0]), lam(s[-2]), k + 1)
    z = alpha(s[0]) * x
    for order, first, last in zip(orders, knots, knots[1:], strict=False):
        z = _dpm_solver_step(d, z, first, last, order)
    return z / alpha(s[-2])


def _dpm_solver_step(d: Estimate, z: Array, first: float, last: float, order: int, r_1: float | None = None) -> Array:
    h = last - first

    def scales(point: float) -> tuple[float, float]:
        sigma = math.exp(-point)
        return alpha(sigma), sigma * alpha(sigma)

    def eps(z: Array, point: float) -> Array:
        a, sigma_hat = scales(point)
        return (z - a * d(z / a, math.exp(-point))) / sigma_hat

    a_0, _ = scales(first)
    a_t, sigma_t = scales(last)
    e_0 = eps(z, first)
    if order == 1:
        return a_t / a_0 * z - sigma_t * (math.exp(h) - 1) * e_0
    r_1 = r_1 or (1 / 2 if order == 2 else 1 / 3)
    a_1, sigma_1 = scales(first + r_1 * h)
    u = a_1 / a_0 * z - sigma_1 * (math.exp(r_1 * h) - 1) * e_0
    d_1 = eps(u, first + r_1 * h) - e_0
    if order == 2:
        return a_t / a_0 * z - sigma_t * (math.exp(h) - 1) * e_0 - sigma_t / (2 * r_1) * (math.exp(h) - 1) * d_1
    r_2 = 2 / 3
    a_2, sigma_2 = scales(first + r_2 * h)
    u = a_2 / a_0 * z - sigma_2 * (math.exp(r_2 * h) - 1) * e_0
    u = u - sigma_2 * r_2 / r_1 * ((math.exp(r_2 * h) - 1) / (r_2 * h) - 1) * d_1
    d_2 = eps(u, first + r_2 * h) - e_0
    return a_t / a_0 * z - sigma_t * (math.exp(h) - 1) * e_0 - sigma_t / r_2 * ((math.exp(h) - 1) / h - 1) * d_2


def dpm_adaptive(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    """DPM-Solver-23 with an I controller (h ← h·E^(−1/3)) under the limiter 1 + arctan(f − 1)."""
    t, end, h = lam(s[0]), lam(s[-2]), 0.05
    before = x
    while t < end - 1e-5:
        t_next = min(end, t + h)
        a_t, a_next = alpha(math.exp(-t)), alpha(math.exp(-t_next))
        low = _dpm_solver_step(d, a_t * x, t, t_next, 2, r_1=1 / 3) / a_next
        high = _dpm_solver_step(d, a_t * x, t, t_next, 3) / a_next
        tolerance = np.maximum(0.0078, 0.05 * np.maximum(np.abs(low), np.abs(before)))
        error = math.sqrt(np.mean(((low - high) / tolerance) ** 2))
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / 3) - 1)
        if factor >= 0.81:
            before, x, t = low, high, t_next
        h *= factor
    return x


def dpmpp_2s_ancestral(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    for a, b in itertools.pairwise(s):
        if b == 0:
            x = d(x, a)
            continue
        down, up = split(a, b)
        h = lam(down) - lam(a)
        m = math.exp(-(lam(a) + 0.5 * h))
        z = alpha(a) * x
        u = (m * alpha(m)) / (a * alpha(a)) * z - alpha(m) * (math.exp(-0.5 * h) - 1) * d(x, a)
        z = (down * alpha(down)) / (a * alpha(a)) * z - alpha(down) * (math.exp(-h) - 1) * d(u / alpha(m), m)
        x = z / alpha(down) + up * n(a, b)
    return x


def dpmpp_2m(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    """DPM-Solver++, algorithm 2, in VP scale."""
    estimates: list[Array] = []
    for i, (a, b) in enumerate(itertools.pairwise(s)):
        estimates.append(d(x, a))
        if b == 0:
            return estimates[-1]
        h = lam(b) - lam(a)
        target = estimates[-1]
        if i:
            r = (lam(a) - lam(s[i - 1])) / h
            target = (1 + 1 / (2 * r)) * estimates[-1] - 1 / (2 * r) * estimates[-2]
        z = (b * alpha(b)) / (a * alpha(a)) * alpha(a) * x - alpha(b) * (math.exp(-h) - 1) * target
        x = z / alpha(b)
    return x


def dpmpp_sde(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    """First-order SDE-DPM-Solver++ to the middle, then the full step with the middle's estimate."""
    for a, b in itertools.pairwise(s):
        if b == 0:
            return d(x, a)
        m = math.sqrt(a * b)
        y = _sde_first_order(d(x, a), x, a, m) + _sde_noise(a, m) * n(a, m)
        x = _sde_first_order(d(y, m), x, a, b) + _sde_noise(a, b) * n(a, b)
    return x


def _sde_first_order(estimate: Array, x: Array, a: float, b: float) -> Array:
    """SDE-DPM-Solver++-1: x' = (σ'/σ)e^{−h} x + (1 − e^{−2h}) D."""
    h = lam(b) - lam(a)
    return b / a * math.exp(-h) * x + (1 - math.exp(-2 * h)) * estimate


def _sde_noise(a: float, b: float) -> float:
    return b * math.sqrt(1 - math.exp(-2 * (lam(b) - lam(a))))


def dpmpp_2m_sde(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    def correction(h: float) -> float:
        return 0.5 * (1 - math.exp(-2 * h))

    return _two_step_sde(d, n, x, s, correction)


def dpmpp_2m_sde_heun(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    def correction(h: float) -> float:  # 2h·φ₂(−2h): the linear part under the integral, exactly
        return 2 * h * phi(2, -2 * h)

    return _two_step_sde(d, n, x, s, correction)


def _two_step_sde(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float], correction: Callable[[float], float]) -> Array:
    estimates: list[Array] = []
    for i, (a, b) in enumerate(itertools.pairwise(s)):
        estimates.append(d(x, a))
        if b == 0:
            return estimates[-1]
        h = lam(b) - lam(a)
        x = _sde_first_order(estimates[-1], x, a, b) + _sde_noise(a, b) * n(a, b)
        if i:
            x = x + correction(h) * (estimates[-1] - estimates[-2]) / ((lam(a) - lam(s[i - 1])) / h)
    return x


def dpmpp_3m_sde(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    """Newton's divided differences in λ under the SDE's exponential weights 2h·φ_k(−2h)."""
    estimates: list[Array] = []
    for i, (a, b) in enumerate(itertools.pairwise(s)):
        estimates.append(d(x, a))
        if b == 0:
            return estimates[-1]
        h = lam(b) - lam(a)
        x = _sde_first_order(estimates[-1], x, a, b) + _sde_noise(a, b) * n(a, b)
        linear = 2 * h * phi(2, -2 * h)
        if i == 1:
            x = x + linear * h * (estimates[1] - estimates[0]) / (lam(a) - lam(s[0]))
        if i >= 2:
            first = (estimates[i] - estimates[i - 1]) / (lam(a) - lam(s[i - 1]))
            second = (estimates[i - 1] - estimates[i - 2]) / (lam(s[i - 1]) - lam(s[i - 2]))
            bend = (first - second) / (lam(a) - lam(s[i - 2]))
            x = x + linear * h * (first + bend * (lam(a) - lam(s[i - 1])))
            x = x - (linear / (2 * h) - 0.5) * h * h * bend
    return x


def ddpm(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    """Ho et al., posterior mean (eq. 7, in x₀ and x_t) and variance β̃ (eq. 7), in VP scale."""
    z = alpha(s[0]) * x
    for a, b in itertools.pairwise(s):
        bar, bar_next = alpha(a) ** 2, alpha(b) ** 2
        beta = 1 - bar / bar_next
        x_0 = d(z / alpha(a), a)
        mean = math.sqrt(bar_next) * beta / (1 - bar) * x_0 + math.sqrt(1 - beta) * (1 - bar_next) / (1 - bar) * z
        z = mean + (math.sqrt((1 - bar_next) / (1 - bar) * beta) * n(a, b) if b else 0)
    return z


def lcm(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    for a, b in itertools.pairwise(s):
        x = d(x, a) + (b * n(a, b) if b else 0)
    return x


def ipndm(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    table = [[1], [1.5, -0.5], [23 / 12, -4 / 3, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -3 / 8]]
    slopes: list[Array] = []
    for a, b in itertools.pairwise(s):
        if b == 0:
            return d(x, a)
        slopes.insert(0, (x - d(x, a)) / a)
        weights = table[min(len(slopes), 4) - 1]
        x = x + (b - a) * sum(w * slope for w, slope in zip(weights, slopes, strict=False))
    return x


def gradient_estimation(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    last = None
    for a, b in itertools.pairwise(s):
        if b == 0:
            return d(x, a)
        eps = (x - d(x, a)) / a
        bar = eps if last is None else 2 * eps - last
        x, last = x + (b - a) * bar, eps
    return x


def res_multistep(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    """x' = e^{−h} x + h(b₁ D + b₂ D₋) with b₁ + b₂ = φ₁(−h) and c₂ b₂ = φ₂(−h)."""
    estimates: list[Array] = []
    for i, (a, b) in enumerate(itertools.pairwise(s)):
        estimates.append(d(x, a))
        if b == 0:
            return estimates[-1]
        h = lam(b) - lam(a)
        b_2 = phi(2, -h) / ((lam(s[i - 1]) - lam(a)) / h) if i else 0
        x = math.exp(-h) * x + h * ((phi(1, -h) - b_2) * estimates[-1] + (b_2 * estimates[-2] if i else 0))
    return x


def uni_pc(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float], bh2: bool = False) -> Array:
    """UniPC, algorithms 1-2 with data prediction in VP scale; b_k = h^k·k!·φ_{k+1}(−h) up to sign, R of r's powers."""
    s = [*s[:-1], 0.001]
    steps = len(s) - 1
    highest = min(3, steps - 1)
    z, estimates = alpha(s[0]) * x, [d(x, s[0])]
    for i in range(1, steps + 1):
        p = min(i, highest, steps + 1 - i)
        a, b = s[i - 1], s[i]
        h = lam(b) - lam(a)
        scale = math.expm1(-h) if bh2 else -h
        r = [(lam(s[i - 1 - m]) - lam(a)) / h for m in range(1, p)] + [1.0]
        change = [(estimates[i - 1 - m] - estimates[i - 1]) / r[m - 1] for m in range(1, p)]
        matrix = np.array([[value**k for value in r] for k in range(p)])
        right = np.array([(-h) * math.factorial(k) * phi(k + 1, -h) / scale for k in range(1, p + 1)])
        base = b * alpha(b) / (a * alpha(a)) * z - alpha(b) * math.expm1(-h) * estimates[i - 1]
        weights = [0.5] if p == 2 else np.linalg.solve(matrix[:-1, :-1], right[:-1]) if p > 1 else []
        predicted = base - alpha(b) * scale * sum(
            (w * c for w, c in zip(weights, change, strict=False)), np.zeros_like(x)
        )
        if i == steps:
            return predicted / alpha(b)
        estimates.append(d(predicted / alpha(b), b))
        weights = [0.5] if p == 1 else np.linalg.solve(matrix, right)
        change.append(estimates[i] - estimates[i - 1])
        z = base - alpha(b) * scale * sum(w * c for w, c in zip(weights, change, strict=False))
    return z


def uni_pc_bh2(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float]) -> Array:
    return uni_pc(d, n, x, s, bh2=True)


def er_sde(d: Estimate, n: NoiseAt, x: Array, s: Sequence[float], points: int = 200) -> Array:
    """ER-SDE-Solver-3 (VE), its algorithm 3, with the authors' Riemann sums."""

    def scale(v: Array | float) -> Array:
        return v * (np.exp(np.power(v, 0.3)) + 10)

    estimates: list[Array] = []
    slopes: dict[int, Array] = {}
    for i, (a, b) in enumerate(itertools.pairwise(s)):
        estimates.append(d(x, a))
        if b == 0:
            return estimates[-1]
        r = scale(b) / scale(a)
        x = r * x + (1 - r) * estimates[-1]
        grid = b + (a - b) / points * np.arange(points)
        if i >= 1:
            slopes[i] = (estimates[i] - estimates[i - 1]) / (a - s[i - 1])
            x = x + (b - a + scale(b) * np.sum(1 / scale(grid)) * (a - b) / points) * slopes[i]
        if i >= 2:
            bend = 2 * (slopes[i] - slopes[i - 1]) / (a - s[i - 2])
            x = x + ((b - a) ** 2 / 2 + scale(b) * np.sum((grid - a) / scale(grid)) * (a - b) / points) * bend
        x = x + math.sqrt(b * b - a * a * r * r) * n(a, b)
    return x
