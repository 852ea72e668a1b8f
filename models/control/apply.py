"""Control in a conditioning, and during a run: which pictures steer which steps, and what they add to the UNet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from models.control.controlnet import reduced, summed
from models.control.model import ControlModel
from models.files.resize import resize
from models.unet import Injections

if TYPE_CHECKING:
    from models.sampling.parameterization import Parameterization
    from models.sdxl import Model

KEY = "control"
BOTH_BRANCHES = "control_apply_to_uncond"
PIXELS_PER_CELL = 8


@dataclass(frozen=True, eq=False)
class Control:
    """One control picture. hint: (B, H, W, 3), 0..1. previous: another control that adds to it.

    start, end: shares of the way from noise to picture between which it acts. softness: see `reduced`.
    """

    model: ControlModel
    hint: Tensor
    strength: float
    start: float = 0.0
    end: float = 1.0
    softness: float = 0.0
    previous: "Control | None" = None

    def chain(self) -> list["Control"]:
        """This control and those before it, oldest first."""
        return [*(self.previous.chain() if self.previous else ()), self]


def controlled(conditioning: Sequence[Sequence[Any]], control: Control, both_branches: bool) -> list[list[Any]]:
    """Return a CONDITIONING with a control added to each entry. both_branches: the negative prompt follows too."""
    return controlled_together([conditioning], control, both_branches)[0]


def controlled_together(
    conditionings: Sequence[Sequence[Sequence[Any]]], control: Control, both_branches: bool = False
) -> list[list[list[Any]]]:
    """Add a control to several CONDITIONINGs; entries with the same control before share the new one, and a batch."""
    made: dict[int | None, Control] = {}

    def added(facts: dict[str, Any]) -> dict[str, Any]:
        before = facts.get(KEY)
        place = None if before is None else id(before)
        if place not in made:
            made[place] = replace(control, previous=before)
        return {**facts, KEY: made[place], BOTH_BRANCHES: both_branches}

    return [[[context, added(facts)] for context, facts in conditioning] for conditioning in conditionings]


def without_controls(conditioning: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return a CONDITIONING that nothing controls."""
    dropped = (KEY, BOTH_BRANCHES)
    return [[context, {k: v for k, v in facts.items() if k not in dropped}] for context, facts in conditioning]


class ActiveControl:
    """A control within a run: its network and range of sigmas, its context and picture prepared once.

    context: (n, T, C) as for the UNet. size: of the latent or its area, in cells. batch: latents per entry.
    """

    def __init__(
        self,
        control: Control,
        model: "Model",
        parameterization: "Parameterization",
        context: Tensor,
        size: tuple[int, int],
        batch: int,
    ) -> None:
        self._control = control
        self._first = parameterization.percent_to_sigma(control.start)
        self._last = parameterization.percent_to_sigma(control.end)
        self._resident = control.model.network(model)
        hint = fitted_hint(control.hint, *size)
        with self._resident.use() as network:
            types = control.model.types
            features = network.read_hint(hint.to(context.device), types)
            self._shift = network.type_shift(types)
            self._features = _repeated(features, batch, len(context))
            self._context = network.prepare(context)

    def holds_at(self, sigma: float) -> bool:
        return self._last <= sigma <= self._first

    def __call__(self, x: Tensor, timesteps: Tensor, y: Tensor) -> Injections:
        with self._resident.use() as network:
            outputs, middle = network(x, timesteps, self._context, y, self._features, self._shift)
        return reduced(outputs, middle, self._control.strength, self._control.softness)


def injections_at(controls: Sequence[ActiveControl], sigma: float, x: Tensor, timesteps: Tensor, y: Tensor) -> Any:
    """Return the sum of what holds at this sigma, None when nothing does. x: scaled as for the UNet."""
    parts = [control(x, timesteps, y) for control in controls if control.holds_at(sigma)]
    return summed(parts) if parts else None


def fitted_hint(hint: Tensor, height: int, width: int) -> Tensor:
    """Return control pictures (B, H, W, 3) as (B, 3, 8·height, 8·width), cropped around the centre, no new values."""
    size = width * PIXELS_PER_CELL, height * PIXELS_PER_CELL
    return resize(hint[..., :3].movedim(-1, 1), *size, "nearest-exact", "center")


def _repeated(features: Tensor, batch: int, rows: int) -> Tensor:
    """Give every row of a forward its picture: one serves all, several go along the latents of each entry."""
    if len(features) == 1:
        return features
    per_entry = features.repeat(-(-batch // len(features)), 1, 1, 1)[:batch]
    return per_entry.repeat(rows // batch, 1, 1, 1)
