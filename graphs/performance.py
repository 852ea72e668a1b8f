"""Performance modes: how many steps, and what the distilled modes force (Fooocus behaviour §1.6)."""

from msgspec import Struct

from graphs.known_files import KNOWN_FILES
from graphs.prompts import stem


class Distilled(Struct, frozen=True):
    """A step-distilled mode: its LoRA, by role, and the sampling it was distilled for. Guidance is 1, sharpness 0."""

    role: str
    weight: float
    sampler: str
    scheduler: str

    def brings(self, lora: str) -> bool:
        """Whether a LoRA is the mode's own, which it adds itself."""
        return stem(lora) in {stem(name) for name in KNOWN_FILES[self.role].names}


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
        Performance("Extreme Speed", 8, 8, Distilled("performance.lcm", 1.0, "lcm", "lcm")),
        Performance("Lightning", 4, 4, Distilled("performance.lightning", 1.0, "euler", "sgm_uniform")),
        Performance("Hyper-SD", 4, 4, Distilled("performance.hyper_sd", 0.8, "dpmpp_sde_gpu", "karras")),
    )
}


def performance(label: str) -> Performance | None:
    """Find a mode by its label, whatever the case; None when there is no such mode."""
    wanted = label.strip().casefold()
    return next((mode for name, mode in PERFORMANCES.items() if name.casefold() == wanted), None)
