"""Conditioning made ready for a run: everything that does not change from step to step is computed here, once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from models.control.apply import BOTH_BRANCHES, Control
from models.control.apply import KEY as CONTROL_KEY
from models.errors import ModelError
from models.sampling.areas import Area, Size, area_of, weight_of
from models.sampling.parameterization import Parameterization
from models.text.size import DISLIKED, LIKED, RefinerNumbers, SizeNumbers, size_vector

VAE_FACTOR = 8  # pixels per latent cell

NEGATIVE, POSITIVE = 0, 1


class WrongContextWidth(ModelError):
    """A conditioning that was encoded for another family of models."""

    code = "wrong_context_width"


class MissingPooledText(ModelError):
    """A conditioning without the pooled text that SDXL needs."""

    code = "missing_pooled_text"


@dataclass(frozen=True)
class Entry:
    """One conditioning of one branch, for one picture.

    context: (1, T, C). y_early and y_late: (1, A), the size conditioning before and after its switch. weight: (1, 1,
    h, w) or None for everywhere alike. The entry holds where sigma_last ≤ sigma ≤ sigma_first. control: what steers it;
    control_both: the other branch is steered by it too.
    """

    branch: int
    context: Tensor
    y_early: Tensor
    y_late: Tensor
    area: Area
    weight: Tensor | None
    sigma_first: float
    sigma_last: float
    control: Control | None = None
    control_both: bool = False

    def holds_at(self, sigma: float) -> bool:
        return self.sigma_last <= sigma <= self.sigma_first


@dataclass(frozen=True)
class Frame:
    """What all entries of a run share: the latent's size, the model's kind and widths, where tensors live.

    context_dim: 0 where any will do.
    """

    height: int
    width: int
    adm_channels: int
    parameterization: Parameterization
    device: torch.device
    dtype: torch.dtype
    family: str = "sdxl"
    context_dim: int = 0


def prepare(branch: int, conditioning: Sequence[Sequence[Any]], frame: Frame, size_scale: float | None) -> list[Entry]:
    """Prepare a CONDITIONING list. size_scale: Fooocus's factor on the original size, None for ComfyUI's rule."""
    return [_entry(branch, context, facts, frame, size_scale) for context, facts in conditioning]


def _entry(branch: int, context: Tensor, facts: dict[str, Any], frame: Frame, size_scale: float | None) -> Entry:
    area = area_of(facts, Size(frame.height, frame.width))
    weight = weight_of(facts, area, Size(frame.height, frame.width))
    percent = frame.parameterization.percent_to_sigma
    if frame.context_dim not in (0, context.shape[-1]):
        raise WrongContextWidth(
            f"A conditioning is {context.shape[-1]} wide, the model reads {frame.context_dim}.",
            "Encode the prompt with the CLIP of the same checkpoint.",
        )
    y_early, y_late = _size_vectors(branch, facts, frame, size_scale)
    return Entry(
        branch=branch,
        context=context.to(device=frame.device, dtype=frame.dtype),
        y_early=y_early,
        y_late=y_late,
        area=area,
        weight=None if weight is None else weight.to(frame.device),
        sigma_first=percent(facts["start_percent"]) if "start_percent" in facts else float("inf"),
        sigma_last=percent(facts["end_percent"]) if "end_percent" in facts else 0.0,
        control=facts.get(CONTROL_KEY),
        control_both=bool(facts.get(BOTH_BRANCHES, False)),
    )


def _size_vectors(branch: int, facts: dict[str, Any], frame: Frame, size_scale: float | None) -> tuple[Tensor, Tensor]:
    if frame.family == "sd1":
        none = torch.zeros(1, 0, device=frame.device, dtype=frame.dtype)
        return none, none
    pooled = facts.get("pooled_output")
    if pooled is None:
        raise MissingPooledText(
            "A conditioning has no pooled text, which SDXL needs.", "Encode the prompt with the model's own CLIP."
        )
    height = int(facts.get("height", frame.height * VAE_FACTOR))
    width = int(facts.get("width", frame.width * VAE_FACTOR))

    def vector(numbers: SizeNumbers | RefinerNumbers) -> Tensor:
        return size_vector(pooled.float(), numbers, frame.adm_channels).to(device=frame.device, dtype=frame.dtype)

    if frame.family == "sdxl_refiner":
        score = float(facts.get("aesthetic_score", LIKED if branch == POSITIVE else DISLIKED))
        crop = int(facts.get("crop_h", 0)), int(facts.get("crop_w", 0))
        liked = vector(RefinerNumbers(height, width, *crop, score))
        return liked, liked
    if size_scale is not None:
        return vector(SizeNumbers.emphasised(height, width, size_scale)), vector(SizeNumbers.consistent(height, width))
    plain = vector(
        SizeNumbers(
            height,
            width,
            int(facts.get("crop_h", 0)),
            int(facts.get("crop_w", 0)),
            int(facts.get("target_height", height)),
            int(facts.get("target_width", width)),
        )
    )
    return plain, plain


def match_areas(entries: list[Entry], others: list[Entry]) -> list[Entry]:
    """Give one branch a twin for every partial area of the other, made from its smallest entry around that area."""
    matched = list(entries)
    for other in others:
        around = [entry for entry in matched if entry.area.encloses(other.area)]
        if not around:
            continue
        smallest = min(around, key=lambda entry: entry.area.cells)
        if smallest.area != other.area:
            twin = {"context": smallest.context, "y_early": smallest.y_early, "y_late": smallest.y_late}
            matched.append(replace(other, branch=smallest.branch, **twin))
    return matched


def share_controls(entries: list[Entry], others: list[Entry], whole: Area) -> list[Entry]:
    """Give one branch the controls that the other one shares, entry by entry; none if it has a control of its own.

    Only entries for the whole picture take part, as in ComfyUI.
    """
    shared = [other.control for other in others if other.control_both and other.area == whole]
    free = [index for index, entry in enumerate(entries) if entry.area == whole]
    if not shared or not free or any(entries[index].control for index in free):
        return entries
    steered = list(entries)
    for number, control in enumerate(shared):
        index = free[number % len(free)]
        if number < len(free):
            steered[index] = replace(entries[index], control=control)
        else:
            steered.append(replace(entries[index], control=control))
    return steered
