"""A model with its conditioning as one denoiser: (noisy latent, sigma) → clean latent, guidance included."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from models.control.apply import ActiveControl, injections_at
from models.freeu import FreeU
from models.sampling.areas import Area
from models.sampling.conditions import NEGATIVE, POSITIVE, Entry
from models.sampling.guidance import guide, guide_adaptively, is_unguided, progress_at
from models.sampling.parameterization import Parameterization
from models.text.size import emphasis_applies
from models.vision.apply import with_pictures
from models.vision.image_prompt import ImagePrompt

if TYPE_CHECKING:
    from models.sdxl import Model

MAX_REPEATS = 4  # a context is repeated at most this often to share a batch with a longer one
NO_WEIGHT = 1e-37  # keeps 0/0 out of places that no entry covers


class Network(Protocol):
    """What is asked of a UNet."""

    def prepare(self, context: Tensor) -> Any: ...

    def __call__(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Any,
        y: Tensor,
        *,
        freeu: FreeU | None = None,
        injections: Any = None,
    ) -> Tensor: ...


@dataclass(frozen=True)
class Guidance:
    """How both branches are combined. adaptive_cfg None: plain classifier-free guidance.

    size_scale_end: the share of the timesteps during which the emphasised size conditioning holds; None: no switch.
    """

    cfg: float
    adaptive_cfg: float | None = None
    sharpness: float = 0.0
    size_scale_end: float | None = None


@dataclass
class Forward:
    """One call of the network: entries of the same area and control whose contexts fit one length, stacked."""

    entries: list[Entry]
    context: Any
    y_early: Tensor
    y_late: Tensor
    controls: list[ActiveControl]
    pictured: dict[tuple[ImagePrompt, ...], Any] = field(default_factory=dict)  # the context with these image prompts

    @property
    def area(self) -> Area:
        return self.entries[0].area


class GuidedDenoiser:
    """Classifier-free guidance around a network.

    batch: pictures per latent. Entries of the negative branch come first in every forward. What a forward needs is
    prepared when a set of entries first becomes active and kept for the rest of the run. model: whose UNet it is; asked
    for only by controls. image_prompts: what steers all entries, each until its stop.
    """

    def __init__(
        self,
        network: Network,
        parameterization: Parameterization,
        entries: Sequence[Entry],
        guidance: Guidance,
        *,
        batch: int = 1,
        freeu: FreeU | None = None,
        model: "Model | None" = None,
        image_prompts: Sequence[ImagePrompt] = (),
    ) -> None:
        self.parameterization = parameterization
        self.guidance = guidance
        self._network = network
        self._entries = tuple(entries)
        self._batch = batch
        self._options: dict[str, Any] = {"freeu": freeu}
        self._model = model
        self._image_prompts = image_prompts
        self._forwards: dict[tuple[int, ...], list[Forward]] = {}

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        timestep = self.parameterization.timestep(sigma)
        if is_unguided(self.guidance.cfg):
            return self._estimate(x, sigma, timestep, (POSITIVE,))[POSITIVE]
        return self._combine(x, timestep, self._estimate(x, sigma, timestep, (NEGATIVE, POSITIVE)))

    def with_negative(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        timestep = self.parameterization.timestep(sigma)
        estimates = self._estimate(x, sigma, timestep, (NEGATIVE, POSITIVE))
        if is_unguided(self.guidance.cfg):
            return estimates[POSITIVE], estimates[NEGATIVE]
        return self._combine(x, timestep, estimates), estimates[NEGATIVE]

    def _combine(self, x: Tensor, timestep: float, estimates: dict[int, Tensor]) -> Tensor:
        positive, negative, guidance = estimates[POSITIVE], estimates[NEGATIVE], self.guidance
        if guidance.adaptive_cfg is None:
            return guide(positive, negative, guidance.cfg)
        return guide_adaptively(
            x,
            positive,
            negative,
            guidance.cfg,
            adaptive_cfg=guidance.adaptive_cfg,
            sharpness=guidance.sharpness,
            progress=progress_at(timestep),
        )

    def _estimate(self, x: Tensor, sigma: float, timestep: float, branches: tuple[int, ...]) -> dict[int, Tensor]:
        """Run the network for these branches; returns each one's estimate of the clean latent."""
        scaled = x * self.parameterization.input_scale(sigma)
        early = self._size_scale_applies(timestep)
        outputs: list[tuple[Entry, Tensor]] = []
        for forward in self._active(sigma, branches):
            part = forward.area.of(scaled)
            rows = torch.cat([part] * len(forward.entries)) if len(forward.entries) > 1 else part
            timesteps = torch.full((len(rows),), timestep, device=x.device, dtype=torch.float32)
            y = forward.y_early if early else forward.y_late
            injections = injections_at(forward.controls, sigma, rows, timesteps, y)
            options = self._options if injections is None else {**self._options, "injections": injections}
            output = self._network(rows, timesteps, self._context(forward, timestep), y, **options)
            outputs += zip(forward.entries, output.split(self._batch), strict=True)
        return {branch: self.parameterization.denoised(x, _merge(x, branch, outputs), sigma) for branch in branches}

    def _active(self, sigma: float, branches: tuple[int, ...]) -> list[Forward]:
        active = tuple(i for i, e in enumerate(self._entries) if e.branch in branches and e.holds_at(sigma))
        if active not in self._forwards:
            self._forwards[active] = [self._forward(entries) for entries in group([self._entries[i] for i in active])]
        return self._forwards[active]

    def _size_scale_applies(self, timestep: float) -> bool:
        end = self.guidance.size_scale_end
        return end is not None and emphasis_applies(timestep, end)

    def _forward(self, entries: list[Entry]) -> Forward:
        tokens = math.lcm(*(entry.context.shape[1] for entry in entries))
        context = self._stack([entry.context.repeat(1, tokens // entry.context.shape[1], 1) for entry in entries])
        y_early, y_late = self._stack([e.y_early for e in entries]), self._stack([e.y_late for e in entries])
        controls = self._controls(entries[0], context)
        return Forward(entries, self._network.prepare(context), y_early, y_late, controls)

    def _context(self, forward: Forward, timestep: float) -> Any:
        """The words' keys and values, and those of the image prompts that still hold."""
        active = tuple(prompt for prompt in self._image_prompts if prompt.holds_at(progress_at(timestep)))
        if not active:
            return forward.context
        if active not in forward.pictured:
            positive = [entry.branch == POSITIVE for entry in forward.entries]
            forward.pictured[active] = with_pictures(forward.context, active, positive, self._stack)
        return forward.pictured[active]

    def _controls(self, entry: Entry, context: Tensor) -> list[ActiveControl]:
        if entry.control is None or self._model is None:
            return []
        model, size = self._model, (entry.area.height, entry.area.width)
        return [
            ActiveControl(control, model, self.parameterization, context, size, self._batch)
            for control in entry.control.chain()
        ]

    def _stack(self, rows: list[Tensor]) -> Tensor:
        return torch.cat([fit_batch(row, self._batch) for row in rows])


def group(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Sort entries into forwards, negative before positive; a group shares area, control and a length."""
    groups: list[list[Entry]] = []
    for entry in sorted(entries, key=lambda entry: entry.branch):
        home = next((members for members in groups if _fits(entry, members[0])), None)
        if home is None:
            groups.append([entry])
        else:
            home.append(entry)
    return groups


def _fits(entry: Entry, other: Entry) -> bool:
    if entry.area != other.area or entry.control is not other.control:
        return False
    lengths = entry.context.shape[1], other.context.shape[1]
    return math.lcm(*lengths) // min(lengths) <= MAX_REPEATS


def fit_batch(tensor: Tensor, batch: int) -> Tensor:
    """Repeat or cut the first dimension to `batch`."""
    if len(tensor) == batch:
        return tensor
    repeats = -(-batch // len(tensor))
    return tensor.repeat(repeats, *[1] * (tensor.dim() - 1))[:batch]


def _merge(x: Tensor, branch: int, outputs: list[tuple[Entry, Tensor]]) -> Tensor:
    """Average a branch's outputs by their weights, each on its area."""
    own = [(entry, output) for entry, output in outputs if entry.branch == branch]
    if len(own) == 1 and own[0][0].weight is None:
        return own[0][1]
    total, weights = torch.zeros_like(x), torch.full_like(x, NO_WEIGHT)
    for entry, output in own:
        weight = 1.0 if entry.weight is None else fit_batch(entry.weight, len(x))
        entry.area.of(total).add_(output.to(x.dtype) * weight)
        entry.area.of(weights).add_(weight)
    return total / weights
