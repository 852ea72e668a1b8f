"""What a sampler tells while it works: its step, and now and then a small picture. Also where a cancelled run stops."""

import time
from concurrent.futures import Future

import numpy as np
from PIL import Image
from torch import Tensor

from engine.context import Context
from models.files.png import encode_png
from models.files.preview import preview_factors
from models.sampling.preview import Previewer
from models.sdxl import Model
from nodes.runtime import Runtime

PREVIEW_INTERVAL_S = 0.2
PIXELS_PER_CELL = 8
LARGEST_PREVIEW = 256  # pixels of the longer side; a latent of 128 cells is shown at twice its size


class StepReport:
    """A sampler's callback: reports progress, stops a cancelled run, shows previews.

    The picture is made on the device, copied without waiting and encoded in a background thread, so that a run takes as
    long with previews as without.
    """

    def __init__(self, context: Context, model: Model) -> None:
        self._context = context
        self._runtime: Runtime = context.runtime
        self._previewer = Previewer(*preview_factors(model)) if context.wants_preview else None
        self._encoding: Future[None] | None = None
        self._last = 0.0

    def __call__(self, step: int, total: int, x: Tensor, denoised: Tensor) -> None:
        """Take part in a step. Raises Interrupted when the run was cancelled."""
        self._context.progress(step + 1, total)
        if self._previewer is not None:
            self._preview(self._previewer, denoised)

    def _preview(self, previewer: Previewer, denoised: Tensor) -> None:
        idle = self._encoding is None or self._encoding.done()
        now = time.monotonic()
        if idle and now - self._last >= PREVIEW_INTERVAL_S:
            self._last = now
            previewer.submit(denoised)
        if idle and (pixels := previewer.take()) is not None:
            self._encoding = self._runtime.background.submit(self._show, pixels)

    def _show(self, pixels: np.ndarray) -> None:
        shown = enlarge(pixels)
        self._context.preview(encode_png(shown), width=shown.shape[1], height=shown.shape[0])


def enlarge(pixels: np.ndarray) -> np.ndarray:
    """Scale a picture of latent cells (h, w, 3) to the size of the image, or to 256 pixels if that is less."""
    height, width = pixels.shape[:2]
    scale = min(PIXELS_PER_CELL, max(LARGEST_PREVIEW / max(height, width), 1.0))
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
