"""A whole guided run on a random SDXL UNet against the same loop written with diffusers' UNet and scheduler."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from models.memory import Residency
from models.sampling.run import sample
from models.sdxl import load_checkpoint
from tests.parity.diffusers_sdxl import diffusers_unet
from tests.parity.random_sdxl import TINY, write_checkpoint

STEPS = 4  # linspace(999, 0, 4) are whole timesteps; for others diffusers would tell the UNet fractions
CFG = 5.0
BATCH = 2
SEED = 11


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


CONTEXTS = [drawn(seed, 1, 77, TINY.text_l[0] + TINY.text_g[0]) for seed in (1, 2)]  # negative, positive
POOLED = [drawn(seed, 1, TINY.text_g[0]) for seed in (3, 4)]
LATENT = torch.zeros(BATCH, 4, 16, 12)


@torch.inference_mode()
def diffusers_loop(unet: Any) -> Tensor:
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace"
    )
    scheduler.set_timesteps(STEPS)
    x = drawn(SEED, *LATENT.shape) * (1 + float(scheduler.sigmas[0]) ** 2) ** 0.5
    context = torch.cat([part.repeat(BATCH, 1, 1) for part in CONTEXTS])
    pooled = torch.cat([part.repeat(BATCH, 1) for part in POOLED])
    numbers = torch.tensor([[128.0, 96.0, 0.0, 0.0, 128.0, 96.0]]).repeat(2 * BATCH, 1)
    added = {"text_embeds": pooled, "time_ids": numbers}
    for timestep in scheduler.timesteps:
        rows = scheduler.scale_model_input(torch.cat([x, x]), timestep)
        noise = unet(rows, timestep, encoder_hidden_states=context, added_cond_kwargs=added, return_dict=False)[0]
        negative, positive = noise.chunk(2)
        x = scheduler.step(negative + CFG * (positive - negative), timestep, x, return_dict=False)[0]
    return x / 0.13025


@pytest.mark.filterwarnings("ignore")
def test_guided_run_equals_the_loop_of_diffusers(tmp_path: Path) -> None:
    path = tmp_path / "random.safetensors"
    state = write_checkpoint(path, TINY)
    model, _, _ = load_checkpoint(path, Residency("cpu"))
    negative, positive = ([[c, {"pooled_output": p}]] for c, p in zip(CONTEXTS, POOLED, strict=True))
    ours = sample(
        model, positive, negative, {"samples": LATENT}, seed=SEED, steps=STEPS, cfg=CFG, sampler_name="euler",
        scheduler="normal", policy="comfy",
    )  # fmt: skip
    theirs = diffusers_loop(diffusers_unet(state, model.unet.sizes, TINY.text_g[0]))
    torch.testing.assert_close(ours["samples"], theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
