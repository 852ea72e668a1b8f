"""Going on with another model in the middle of a run (Fooocus behaviour §4.6, "joint")."""

from collections.abc import Callable

from torch import Tensor

from models.sampling.protocol import Denoiser


class Handover:
    """A denoiser that becomes another one after the first evaluation of a step.

    step: from 0. then: makes the second denoiser, when it is needed. A sampler's memory of earlier steps stays.
    """

    def __init__(self, first: Denoiser, step: int, then: Callable[[], Denoiser]) -> None:
        self.parameterization = first.parameterization
        self._current, self._step, self._then = first, step, then
        self._done = False

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        return self._current(x, sigma)

    def with_negative(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        return self._current.with_negative(x, sigma)

    def after_first_evaluation(self, step: int) -> None:
        """Take notice of a step; hand over when it is the one."""
        if step >= self._step and not self._done:
            self._done = True
            self._current = self._then()
