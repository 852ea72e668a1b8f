"""Performance modes: how many steps, and what the distilled modes force (Fooocus behaviour §1.6)."""

from msgspec import Struct


class Distilled(Struct, frozen=True):
    """A step-distilled mode: its LoRA and the sampling it was distilled for. Guidance is 1, sharpness 0."""

    lora: str
    weight: float
    sampler: str
    scheduler: str


class Performance(Struct, frozen=True):
    label: str
    steps: int
    upscale_steps: int
    distilled: Distilled | None = None


PERFORMANCES: dict[str, Performance] = {
    mode.label: mode
    for mode in (
        Performance("Quality", 60, 36),
        Performance("Speed", 30, 18),
        Performance("Extreme Speed", 8, 8, Distilled("sdxl_lcm_lora.safetensors", 1.0, "lcm", "lcm")),
        Performance("Lightning", 4, 4, Distilled("sdxl_lightning_4step_lora.safetensors", 1.0, "euler", "sgm_uniform")),
        Performance(
            "Hyper-SD", 4, 4, Distilled("sdxl_hyper_sd_4step_lora.safetensors", 0.8, "dpmpp_sde_gpu", "karras")
        ),
    )
}


def performance(label: str) -> Performance | None:
    """Find a mode by its label, whatever the case; None when there is no such mode."""
    wanted = label.strip().casefold()
    return next((mode for name, mode in PERFORMANCES.items() if name.casefold() == wanted), None)
