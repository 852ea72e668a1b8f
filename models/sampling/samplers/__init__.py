"""Every sampler by the name users know it under."""

from models.errors import ModelError
from models.sampling.protocol import Sampler
from models.sampling.samplers import (
    cfg_pp,
    dpm_solver,
    dpmpp,
    dpmpp_sde,
    er_sde,
    euler,
    heun,
    markov,
    multistep,
    restart,
    unipc,
)

_ALL = (
    Sampler("euler", euler.euler),
    Sampler("euler_cfg_pp", cfg_pp.euler_cfg_pp),
    Sampler("euler_ancestral", euler.euler_ancestral, noise="independent"),
    Sampler("euler_ancestral_cfg_pp", cfg_pp.euler_ancestral_cfg_pp, noise="independent"),
    Sampler("heun", heun.heun),
    Sampler("heunpp2", heun.heunpp2),
    Sampler("dpm_2", heun.dpm_2, drop_penultimate=True),
    Sampler("dpm_2_ancestral", heun.dpm_2_ancestral, noise="independent", drop_penultimate=True),
    Sampler("lms", multistep.lms),
    Sampler("dpm_fast", dpm_solver.dpm_fast),
    Sampler("dpm_adaptive", dpm_solver.dpm_adaptive),
    Sampler("dpmpp_2s_ancestral", dpmpp.dpmpp_2s_ancestral, noise="independent"),
    Sampler("dpmpp_2s_ancestral_cfg_pp", cfg_pp.dpmpp_2s_ancestral_cfg_pp, noise="independent"),
    Sampler("dpmpp_sde", dpmpp_sde.dpmpp_sde, noise="brownian"),
    Sampler("dpmpp_sde_gpu", dpmpp_sde.dpmpp_sde, noise="brownian", noise_on_device=True),
    Sampler("dpmpp_2m", dpmpp.dpmpp_2m),
    Sampler("dpmpp_2m_cfg_pp", cfg_pp.dpmpp_2m_cfg_pp),
    Sampler("dpmpp_2m_sde", dpmpp_sde.dpmpp_2m_sde, noise="brownian"),
    Sampler("dpmpp_2m_sde_gpu", dpmpp_sde.dpmpp_2m_sde, noise="brownian", noise_on_device=True),
    Sampler("dpmpp_2m_sde_heun", dpmpp_sde.dpmpp_2m_sde_heun, noise="brownian"),
    Sampler("dpmpp_2m_sde_heun_gpu", dpmpp_sde.dpmpp_2m_sde_heun, noise="brownian", noise_on_device=True),
    Sampler("dpmpp_3m_sde", dpmpp_sde.dpmpp_3m_sde, noise="brownian"),
    Sampler("dpmpp_3m_sde_gpu", dpmpp_sde.dpmpp_3m_sde, noise="brownian", noise_on_device=True),
    Sampler("ddpm", markov.ddpm, noise="independent"),
    Sampler("lcm", markov.lcm, noise="independent"),
    Sampler("tcd", markov.tcd, noise="independent"),
    Sampler("restart", restart.restart, noise="independent"),
    Sampler("ipndm", multistep.ipndm),
    Sampler("res_multistep", multistep.res_multistep),
    Sampler("gradient_estimation", multistep.gradient_estimation),
    Sampler("er_sde", er_sde.er_sde, noise="independent"),
    Sampler("ddim", euler.euler, second_masking_noise=True),
    Sampler("uni_pc", unipc.uni_pc, drop_penultimate=True),
    Sampler("uni_pc_bh2", unipc.uni_pc_bh2, drop_penultimate=True),
)

SAMPLERS: dict[str, Sampler] = {sampler.name: sampler for sampler in _ALL}

FOOOCUS_SAMPLERS = (
    "euler", "euler_ancestral", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive",
    "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu",
    "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "tcd", "restart", "ddim", "uni_pc", "uni_pc_bh2",
)  # fmt: skip

COMFY_SAMPLERS = (  # ComfyUI's list in its order, the refused ones included
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "dpm_2",
    "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp",
    "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu",
    "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "ipndm",
    "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde", "seeds_2",
    "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2",
)  # fmt: skip

REFUSED = {  # names of ComfyUI's list whose exact steps are not published → the nearest sampler that is here
    "ipndm_v": "lms",
    "deis": "ipndm",
    "res_multistep_cfg_pp": "dpmpp_2m_cfg_pp",
    "res_multistep_ancestral": "dpmpp_2s_ancestral",
    "res_multistep_ancestral_cfg_pp": "dpmpp_2s_ancestral_cfg_pp",
    "gradient_estimation_cfg_pp": "euler_cfg_pp",
    "seeds_2": "dpmpp_sde",
    "seeds_3": "dpmpp_3m_sde",
    "sa_solver": "dpmpp_3m_sde",
    "sa_solver_pece": "dpmpp_3m_sde",
}


class UnknownSampler(ModelError):
    """A sampler name that does not exist or is refused."""

    code = "unknown_sampler"


def find_sampler(name: str) -> Sampler:
    """The sampler of this name. Raises UnknownSampler for a name that does not exist or is refused."""
    if name in SAMPLERS:
        return SAMPLERS[name]
    if name in REFUSED:
        raise UnknownSampler(f"The sampler {name} is not available in Focal.", f"Choose {REFUSED[name]} instead.")
    raise UnknownSampler(f"There is no sampler {name!r}.", f"Choose one of {', '.join(SAMPLERS)}.")
