"""Every sampler by the name users know it under."""

from models.sampling.protocol import Sampler
from models.sampling.samplers import dpmpp, dpmpp_sde, euler, heun

_ALL = (
    Sampler("euler", euler.euler),
    Sampler("euler_ancestral", euler.euler_ancestral, noise="independent"),
    Sampler("heun", heun.heun),
    Sampler("heunpp2", heun.heunpp2),
    Sampler("dpm_2", heun.dpm_2, drop_penultimate=True),
    Sampler("dpm_2_ancestral", heun.dpm_2_ancestral, noise="independent", drop_penultimate=True),
    Sampler("dpmpp_2s_ancestral", dpmpp.dpmpp_2s_ancestral, noise="independent"),
    Sampler("dpmpp_sde", dpmpp_sde.dpmpp_sde, noise="brownian"),
    Sampler("dpmpp_sde_gpu", dpmpp_sde.dpmpp_sde, noise="brownian", noise_on_device=True),
    Sampler("dpmpp_2m", dpmpp.dpmpp_2m),
    Sampler("dpmpp_2m_sde", dpmpp_sde.dpmpp_2m_sde, noise="brownian"),
    Sampler("dpmpp_2m_sde_gpu", dpmpp_sde.dpmpp_2m_sde, noise="brownian", noise_on_device=True),
    Sampler("dpmpp_2m_sde_heun", dpmpp_sde.dpmpp_2m_sde_heun, noise="brownian"),
    Sampler("dpmpp_2m_sde_heun_gpu", dpmpp_sde.dpmpp_2m_sde_heun, noise="brownian", noise_on_device=True),
    Sampler("dpmpp_3m_sde", dpmpp_sde.dpmpp_3m_sde, noise="brownian"),
    Sampler("dpmpp_3m_sde_gpu", dpmpp_sde.dpmpp_3m_sde, noise="brownian", noise_on_device=True),
    Sampler("ddim", euler.euler, second_masking_noise=True),
)

SAMPLERS: dict[str, Sampler] = {sampler.name: sampler for sampler in _ALL}


def find_sampler(name: str) -> Sampler:
    """The sampler of this name. Raises ValueError for a name that does not exist."""
    if name not in SAMPLERS:
        raise ValueError(f"unknown sampler {name!r}; choose one of {', '.join(SAMPLERS)}")
    return SAMPLERS[name]
