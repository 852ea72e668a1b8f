"""Noise schedules by name: which sigmas a model walks through, largest first, 0 last."""

from collections.abc import Callable

from models.errors import ModelError
from models.sampling import sigma_curves as curves
from models.sampling.parameterization import Parameterization, float32
from models.sampling.sigma_curves import Sigmas, linspace


class UnknownScheduler(ModelError):
    """A scheduler name that does not exist."""

    code = "unknown_scheduler"


Schedule = Callable[[Parameterization, int], Sigmas]

FULL_DENOISE = 0.9999  # a denoise strength above this runs the whole schedule
TURBO_TIMESTEPS = tuple(range(999, 0, -100))  # SDXL-Turbo was distilled on these ten


def normal(parameterization: Parameterization, steps: int) -> Sigmas:
    """Evenly spaced timesteps, both ends included."""
    first, last = _ends(parameterization)
    return (*(parameterization.sigma(t) for t in linspace(first, last, steps)), 0.0)


def sgm_uniform(parameterization: Parameterization, steps: int) -> Sigmas:
    """Evenly spaced timesteps without the last one (what distilled models expect)."""
    first, last = _ends(parameterization)
    return (*(parameterization.sigma(t) for t in linspace(first, last, steps + 1)[:-1]), 0.0)


def _ends(parameterization: Parameterization) -> tuple[float, float]:
    return parameterization.timestep(parameterization.sigma_max), parameterization.timestep(parameterization.sigma_min)


def simple(parameterization: Parameterization, steps: int) -> Sigmas:
    """Every (table length / steps)-th entry of the model's table, from the noisy end."""
    table = parameterization.sigmas
    stride = len(table) / steps
    return (*(table[-(1 + int(k * stride))] for k in range(steps)), 0.0)


def ddim_uniform(parameterization: Parameterization, steps: int) -> Sigmas:
    """DDIM's stride through the table; gives more than steps+1 values where steps does not divide its length."""
    table = parameterization.sigmas
    return (*reversed(table[1 :: max(len(table) // steps, 1)]), 0.0)


def karras(parameterization: Parameterization, steps: int) -> Sigmas:
    """Karras et al. 2022, eq. 5 with rho 7: evenly spaced in sigma^(1/7)."""
    return curves.karras(steps, parameterization.sigma_min, parameterization.sigma_max)


def exponential(parameterization: Parameterization, steps: int) -> Sigmas:
    """Evenly spaced in log sigma."""
    return curves.exponential(steps, parameterization.sigma_min, parameterization.sigma_max)


def kl_optimal(parameterization: Parameterization, steps: int) -> Sigmas:
    """Sabour et al. 2024, eq. 9: evenly spaced in arctan sigma."""
    return curves.kl_optimal(steps, parameterization.sigma_min, parameterization.sigma_max)


def linear_quadratic(parameterization: Parameterization, steps: int) -> Sigmas:
    """Mochi's: half the steps cover the first 2.5 % linearly, the rest follows a parabola."""
    return curves.linear_quadratic(steps, parameterization.sigma_max)


def beta(parameterization: Parameterization, steps: int, alpha: float = 0.6, beta: float = 0.6) -> Sigmas:
    """Lee et al. 2024: table positions at quantiles of a Beta distribution; repeated positions are dropped."""
    from scipy.special import betaincinv  # slow to import and needed by this schedule alone

    table = parameterization.sigmas
    quantiles = betaincinv(alpha, beta, [1 - k / steps for k in range(steps)])
    indices = [round(float(quantile) * (len(table) - 1)) for quantile in quantiles]
    kept = [index for k, index in enumerate(indices) if k == 0 or index != indices[k - 1]]
    return (*(table[index] for index in kept), 0.0)


def turbo(parameterization: Parameterization, steps: int, denoise: float = 1.0) -> Sigmas:
    """SDXL-Turbo's timesteps 999, 899 … 99: at most ten, from 10 − int(10·denoise) on."""
    timesteps = TURBO_TIMESTEPS[len(TURBO_TIMESTEPS) - int(10 * denoise) :][:steps]
    return (*(parameterization.sigma(t) for t in timesteps), 0.0)


def align_your_steps(parameterization: Parameterization, steps: int) -> Sigmas:
    """Sabour et al. 2024: NVIDIA's ten-step table for SDXL, resampled in log sigma for other step counts."""
    return curves.align_your_steps(steps)


SCHEDULES: dict[str, Schedule] = {
    "simple": simple,
    "sgm_uniform": sgm_uniform,
    "karras": karras,
    "exponential": exponential,
    "ddim_uniform": ddim_uniform,
    "beta": beta,
    "normal": normal,
    "linear_quadratic": linear_quadratic,
    "kl_optimal": kl_optimal,
    "turbo": turbo,
    "align_your_steps": align_your_steps,
    "lcm": sgm_uniform,  # these three also change the model's parameterization (see MODEL_SCHEDULES)
    "tcd": sgm_uniform,
    "edm_playground_v2.5": karras,
}

COMFY_SCHEDULERS = (  # the order of ComfyUI's list; its first entry is the default
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
    "kl_optimal",
)  # fmt: skip
FOOOCUS_SCHEDULERS = (
    "normal", "karras", "exponential", "sgm_uniform", "simple", "ddim_uniform", "lcm", "turbo", "align_your_steps",
    "tcd", "edm_playground_v2.5",
)  # fmt: skip
MODEL_SCHEDULES = ("lcm", "tcd", "edm_playground_v2.5")  # scheduler names that swap the model's parameterization
FALL_BACK_TO_NORMAL = ("turbo", "align_your_steps")  # what Fooocus really runs under these names


def schedule(name: str, parameterization: Parameterization, steps: int) -> Sigmas:
    """The sigmas of a named schedule, each exactly a float32. Raises UnknownScheduler."""
    if name not in SCHEDULES:
        raise UnknownScheduler(f"There is no scheduler {name!r}.", f"Choose one of {', '.join(SCHEDULES)}.")
    return round_to_float32(SCHEDULES[name](parameterization, steps))


def round_to_float32(sigmas: Sigmas) -> Sigmas:
    """Make every value one that a float32 SIGMAS tensor holds exactly, so nodes and samplers see the same numbers."""
    return tuple(float32(sigma) for sigma in sigmas)


def without_repeats(sigmas: Sigmas) -> Sigmas:
    """Leave out steps of no length, which thousands of steps can bring; multistep methods divide by their length."""
    return tuple(sigma for i, sigma in enumerate(sigmas) if i == 0 or sigma != sigmas[i - 1])


def denoise_schedule(
    name: str,
    parameterization: Parameterization,
    steps: int,
    denoise: float = 1.0,
    *,
    drop_penultimate: bool = False,
    full_denoise: float = FULL_DENOISE,
) -> Sigmas:
    """The part of a schedule that a denoise strength leaves: always `steps` steps, from a lower sigma.

    drop_penultimate: for samplers that overshoot the last small step, schedule one more and leave out the last
    but one. full_denoise: strengths above it take the whole schedule. Returns () for a strength of 0 or less.
    """
    if denoise <= 0:
        return ()
    if denoise > full_denoise:
        return _complete(name, parameterization, steps, drop_penultimate)
    return _complete(name, parameterization, int(steps / denoise), drop_penultimate)[-(steps + 1) :]


def _complete(name: str, parameterization: Parameterization, steps: int, drop_penultimate: bool) -> Sigmas:
    if not drop_penultimate:
        return schedule(name, parameterization, steps)
    sigmas = schedule(name, parameterization, steps + 1)
    return sigmas[:-2] + sigmas[-1:]


def cut(sigmas: Sigmas, start_step: int | None, end_step: int | None, force_full_denoise: bool) -> Sigmas:
    """Keep the steps from start_step up to end_step; () when start_step lies behind the end.

    force_full_denoise: a schedule cut short at the end goes to 0 in its last step instead of leaving noise.
    """
    if end_step is not None and end_step < len(sigmas) - 1:
        sigmas = sigmas[: end_step + 1]
        if force_full_denoise and sigmas:
            sigmas = (*sigmas[:-1], 0.0)
    if start_step:
        return sigmas[start_step:] if start_step < len(sigmas) - 1 else ()
    return sigmas
