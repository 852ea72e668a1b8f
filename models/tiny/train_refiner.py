"""Train a tiny refiner: `python -m models.tiny.train_refiner --kind refiner --minutes 11`.

One thread, bf16 autocast, from what fits of the released tiny checkpoint, whose text encoders stay as they are. Mostly
low noise, which is what refiners see. SIGTERM ends a run early with its state saved; `--minutes 0 --resume` only writes
the file from a saved state.
"""

import argparse
import logging
import math
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.tiny import CHECKPOINT, WORK
from models.tiny.architecture import L_WIDTH
from models.tiny.export import load_modules
from models.tiny.pool import Pool
from models.tiny.refiners import FILES, Kind, new_unet, turned, write, write_interposer
from models.tiny.scenes import Scene
from models.tiny.text import encode, tokenize
from models.tiny.train import STAGES, Modules, chunked_prompt, fresh_modules, noise_schedule, prompt

log = logging.getLogger("tiny.train_refiner")

SIZE = (128, 128)
MIX = STAGES["all"]
LOW_NOISE: dict[Kind, int] = {"refiner": 450, "sd15": 650}  # timesteps below this are drawn most of the time
LOW_SHARE: dict[Kind, float] = {"refiner": 0.8, "sd15": 0.65}
LAST_LAYER_SHARE = 0.3  # SD 1.5's graphs read CLIP's last layer, Fooocus' swap the one before it
LIKED, DISLIKED = (5.0, 7.0), (1.5, 4.0)  # aesthetic scores of clear drawings and of blurred ones
ANY_SCORE_SHARE = 0.15
# The plain kernel is the faster one for 64 tokens, flash attention for the 256 that SD 1.5 has on its first level.
BACKENDS: dict[Kind, SDPBackend] = {"refiner": SDPBackend.MATH, "sd15": SDPBackend.FLASH_ATTENTION}
WEIGHT_CAP = 10  # of the loss weight 1 + sigma²
EMA_EVERY = 4
SAVE_MINUTES = 2


@dataclass
class Batch:
    """What one step sees. latents: of the tiny checkpoint, scaled. base: the checkpoint's own context and numbers."""

    latents: Tensor
    noise: Tensor
    timestep: Tensor
    context: Tensor
    conditions: dict[str, Tensor] | None
    base_context: Tensor
    base_conditions: dict[str, Tensor]


@dataclass
class Run:
    """One training run. end: seconds since the epoch; SIGTERM brings it forward."""

    kind: Kind
    base: Modules
    unet: UNet2DConditionModel
    pool: Pool
    state: Path
    start: float
    end: float
    peak_lr: float
    batch: int
    ema: float
    rng: random.Random = field(default_factory=lambda: random.Random(3))
    alphas: Tensor = field(default_factory=noise_schedule)

    def lr(self, step: int) -> float:
        """Warm up, stay for 30 % of the time, fall as a cosine."""
        done = min(1.0, (time.time() - self.start) / max(self.end - self.start, 1e-9))
        decay = 1.0 if done < 0.3 else 0.5 * (1 + math.cos(math.pi * (done - 0.3) / 0.7))
        return self.peak_lr * min(1, (step + 1) / 100) * (0.01 + 0.99 * decay)


@torch.no_grad()
def draw_batch(run: Run, count: int) -> Batch:
    latents, sizes, scenes = run.pool.batch(SIZE, count, MIX.two, MIX.blunt, run.rng)
    chunks = 1 if run.rng.random() >= MIX.long else run.rng.choice((2, 2, 3, 4))
    ids_l, ids_g = tokenize(_texts(scenes, chunks, run.rng), MIX.noise, run.rng)
    with torch.autocast("cpu", torch.bfloat16):
        context, pooled = encode(run.base.text_l, run.base.text_g, ids_l, ids_g, chunks, run.rng.randint(1, chunks))
        own = _sd15_context(run, ids_l, chunks) if run.kind == "sd15" else context[..., L_WIDTH:]
    conditions = {"text_embeds": pooled, "time_ids": _scored(sizes, run.rng)} if run.kind == "refiner" else None
    return Batch(
        latents,
        torch.randn_like(latents),
        _timesteps(run, count),
        own,
        conditions,
        context,
        {"text_embeds": pooled, "time_ids": sizes},
    )


def _texts(scenes: list[Scene], chunks: int, rng: random.Random) -> list[str]:
    if chunks == 1:
        return [prompt(scene, MIX, rng) for scene in scenes]
    return [text for scene in scenes for text in chunked_prompt(scene, chunks, rng)]


def _sd15_context(run: Run, ids_l: Tensor, chunks: int) -> Tensor:
    """CLIP-L's state behind its final norm: of the last layer or of the one before."""
    states = run.base.text_l(ids_l, output_hidden_states=True).hidden_states
    hidden = states[-1] if run.rng.random() < LAST_LAYER_SHARE else states[-2]
    norm = next(module for name, module in run.base.text_l.named_modules() if name.endswith("final_layer_norm"))
    return norm(hidden.float()).reshape(len(ids_l) // chunks, -1, L_WIDTH)


def _scored(sizes: Tensor, rng: random.Random) -> Tensor:
    """Height, width, crop and an aesthetic score: low where a picture was enlarged from a small one. (B, 5)."""
    rows = []
    for height, width, top, left, target_height, _ in sizes.tolist():
        low, high = DISLIKED if height < target_height else LIKED
        score = rng.uniform(0, 10) if rng.random() < ANY_SCORE_SHARE else rng.uniform(low, high)
        rows.append([height, width, top, left, score])
    return torch.tensor(rows, dtype=torch.float32)


def _timesteps(run: Run, count: int) -> Tensor:
    low = torch.rand(count) < LOW_SHARE[run.kind]
    return (torch.rand(count) * torch.where(low, LOW_NOISE[run.kind], 1000)).long()


def errors(run: Run, batch: Batch, unet: UNet2DConditionModel, *, as_base: bool = False) -> Tensor:
    """Return the squared error of the predicted noise per picture: of a refiner, or of the checkpoint itself."""
    sd15 = run.kind == "sd15" and not as_base
    latents = turned(batch.latents) if sd15 else batch.latents
    alpha = run.alphas[batch.timestep].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * batch.noise
    context, conditions = (batch.base_context, batch.base_conditions) if as_base else (batch.context, batch.conditions)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = unet(
            noisy, batch.timestep, encoder_hidden_states=context, added_cond_kwargs=conditions, return_dict=False
        )[0]
    return ((predicted.float() - batch.noise) ** 2).mean((1, 2, 3))


def train(run: Run, step: int = 0, average: list[Tensor] | None = None) -> list[Tensor]:
    """Train until the end; returns the averaged parameters."""
    parameters = list(run.unet.parameters())
    average = average or [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=run.peak_lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    first, saved, recent = step, time.time(), []
    while time.time() < run.end:
        for group in optimizer.param_groups:
            group["lr"] = run.lr(step - first)
        batch = draw_batch(run, run.batch)
        weight = (1 / run.alphas[batch.timestep]).clamp(max=WEIGHT_CAP)  # 1 / alpha = 1 + sigma²
        with sdpa_kernel(BACKENDS[run.kind]):
            error = errors(run, batch, run.unet)
            optimizer.zero_grad()
            (weight * error).mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        step += 1
        recent.append(error.mean().item())
        if step % EMA_EVERY == 0:
            share = 1 - min(run.ema, step / (step + 30)) ** EMA_EVERY
            torch._foreach_lerp_(average, [p.detach() for p in parameters], share)
        if step % 100 == 0:
            speed = (step - first) * run.batch / (time.time() - run.start)
            log.info("step %d: eps %.4f, of the checkpoint's own error: %s, lr %.1e, %.1f samples/s", step,
                     sum(recent[-100:]) / 100, compared(run), run.lr(step - first), speed)  # fmt: skip
        if time.time() - saved > 60 * SAVE_MINUTES:
            save(run, average, step)
            saved = time.time()
    save(run, average, step)
    return average


@torch.no_grad()
def compared(run: Run) -> str:
    """The raw weights' error as a share of the checkpoint's, in three bands of noise."""
    shares = []
    for low, high in ((0, 150), (150, 400), (400, 1000)):
        batch = draw_batch(run, 64)
        batch.timestep = torch.randint(low, high, (64,))
        own, base = errors(run, batch, run.unet), errors(run, batch, run.base.unet, as_base=True)  # pyright: ignore[reportArgumentType]
        shares.append(f"{own.mean() / base.mean():.2f} (t {low}-{high})")
    return ", ".join(shares)


def save(run: Run, average: list[Tensor], step: int) -> None:
    """Write raw and averaged weights, atomically."""
    names = [name for name, _ in run.unet.named_parameters()]
    state = {"raw": run.unet.state_dict(), "ema": dict(zip(names, average, strict=True)), "step": step}
    torch.save(state, run.state.with_suffix(".part"))
    run.state.with_suffix(".part").rename(run.state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=FILES, required=True)
    parser.add_argument("--minutes", type=float, default=11)
    parser.add_argument("--pool", type=Path, default=WORK / "pool")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--out", type=Path, help="default: beside the checkpoint, where flows find it")
    parser.add_argument("--resume", action="store_true", help="go on from the state in --work")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--ema", type=float, default=0.998)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(4)
    base = fresh_modules()
    load_modules(CHECKPOINT, base)
    for module in base.named().values():
        module.eval().requires_grad_(False)
    unet, step, average = new_unet(args.kind, base), 0, None
    args.work.mkdir(parents=True, exist_ok=True)
    state = args.work / f"{args.kind}.pt"
    if args.resume:
        found = torch.load(state, weights_only=True)
        unet.load_state_dict(found["raw"])
        step, average = found["step"], list(found["ema"].values())
    if args.minutes:
        pool = Pool(args.pool)
        while not pool.refresh():
            time.sleep(2)
        begun = time.time()
        end = begun + 60 * args.minutes
        run = Run(args.kind, base, unet, pool, state, begun, end, args.lr, args.batch, args.ema)
        signal.signal(signal.SIGTERM, lambda *_: setattr(run, "end", time.time()))
        average = train(run, step, average)
    assert average is not None, "nothing was trained: give --minutes, or --resume"
    if args.kind == "sd15" and args.out is None:
        write_interposer()
    write(args.kind, args.out or FILES[args.kind], dict(zip(dict(unet.named_parameters()), average, strict=True)), base)


if __name__ == "__main__":
    main()
