"""Train a tiny Control-LoRA: `python -m models.tiny.train_control --kind canny --minutes 20`.

One thread, bf16 autocast, the released tiny checkpoint frozen. Draws from the pool of `control_pool`. SIGTERM ends a
run early with its weights written.
"""

import argparse
import logging
import math
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.tiny import CHECKPOINT, DEFAULT_SIZE, WORK
from models.tiny.captions import caption, plain_caption, style_only, styled
from models.tiny.control_lora import ControlLora, load, write
from models.tiny.control_pool import ControlPool
from models.tiny.export import load_modules
from models.tiny.scenes import PLACES, SHAPES, SIZES, Scene, Thing
from models.tiny.text import encode, tokenize
from models.tiny.train import Modules, fresh_modules, noise_schedule

log = logging.getLogger("tiny.train_control")
TRUE, CONTRADICTING, EMPTY = 0.5, 0.38, 0.12  # shares of the prompts
STYLED = 0.15  # of the prompts with a caption
EMPHASISED = 0.3  # share of the size numbers scaled as sampling scales them for the first steps
LEAN, WEIGHT_CAP = 0.7, 30  # as in `train`
SOFTEST = 0.4  # outputs are softened at random up to this, and by 0.25 where the models are used
EMA_EVERY = 4
SAVE_MINUTES = 2


def contradicting(scene: Scene, rng: random.Random) -> Scene:
    """Change what the control picture shows and keep colours: other places and sizes, often other shapes."""
    shapes_too = rng.random() < 0.5

    def changed(thing: Thing) -> Thing:
        shape = rng.choice(SHAPES) if shapes_too else thing.shape
        alone = scene.arrangement is None
        size, place = (rng.choice((*SIZES, None)), rng.choice((*PLACES, None))) if alone else (None, None)
        return Thing(shape, thing.colour, size, place)

    things = tuple(changed(thing) for thing in scene.things)
    if scene.arrangement and rng.random() < 0.4:
        return replace(scene, things=things[::-1])
    return replace(scene, things=things)


def prompt(scene: Scene, rng: random.Random) -> str:
    """Write a prompt for a picture: its own, one that contradicts the control picture, or nothing."""
    kind = rng.random()
    if kind < EMPTY:
        return "" if rng.random() < 0.7 else style_only(rng)
    said = scene if kind < EMPTY + TRUE else contradicting(scene, rng)
    text = plain_caption(said) if rng.random() < 0.6 else caption(said, rng)
    return styled(text, rng) if rng.random() < STYLED else text


@dataclass
class Batch:
    """What one step sees. noisy: (B, 4, 16, 16). weight: of each picture in the loss."""

    noisy: Tensor
    noise: Tensor
    timestep: Tensor
    hint: Tensor
    context: Tensor
    conditions: dict[str, Tensor]
    weight: Tensor


@torch.no_grad()
def draw_batch(pool: ControlPool, base: Modules, count: int, alphas: Tensor, rng: random.Random) -> Batch:
    latents, hint, scenes = pool.batch(count, rng)
    ids_l, ids_g = tokenize([prompt(scene, rng) for scene in scenes])
    with torch.autocast("cpu", torch.bfloat16):
        context, pooled = encode(base.text_l, base.text_g, ids_l, ids_g)
    timestep = (torch.rand(count) ** LEAN * 1000).long().clamp(0, 999)
    noise = torch.randn_like(latents)
    alpha = alphas[timestep].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    conditions = {"text_embeds": pooled, "time_ids": size_numbers(count, rng)}
    weight = (1 / alphas[timestep]).clamp(max=WEIGHT_CAP) / 4
    return Batch(noisy, noise, timestep, hint, context, conditions, weight)


def size_numbers(count: int, rng: random.Random) -> Tensor:
    """Original size, crop, target size of each picture, (B, 6)."""
    width, height = DEFAULT_SIZE
    rows = []
    for _ in range(count):
        factor = rng.choice((1.5, 0.8)) if rng.random() < EMPHASISED else 1
        rows.append([int(height * factor), int(width * factor), 0, 0, height, width])
    return torch.tensor(rows, dtype=torch.float32)


def error_of(base: Modules, batch: Batch, lora: ControlLora | None, softness: float = 0) -> Tensor:
    """Return the squared error of the predicted noise per picture, with or without control."""
    added = {}
    with torch.autocast("cpu", torch.bfloat16):
        if lora is not None:
            skips, middle = lora(batch.noisy, batch.timestep, batch.context, batch.hint, batch.conditions)
            count = len(skips)
            added["down_block_additional_residuals"] = [
                skip * (1 - softness * (1 - index / count)) for index, skip in enumerate(skips)
            ]
            added["mid_block_additional_residual"] = middle
        predicted = base.unet(
            batch.noisy,
            batch.timestep,
            encoder_hidden_states=batch.context,
            added_cond_kwargs=batch.conditions,
            return_dict=False,
            **added,
        )[0]
    return ((predicted.float() - batch.noise) ** 2).mean((1, 2, 3))


@dataclass
class Run:
    """One training run. end: seconds since the epoch; SIGTERM brings it forward."""

    base: Modules
    lora: ControlLora
    pool: ControlPool
    out: Path
    start: float
    end: float
    peak_lr: float
    batch: int
    ema: float

    def lr(self, step: int) -> float:
        """Warm up, stay for 40 % of the time, fall as a cosine."""
        done = min(1.0, (time.time() - self.start) / (self.end - self.start))
        decay = 1.0 if done < 0.4 else 0.5 * (1 + math.cos(math.pi * (done - 0.4) / 0.6))
        return self.peak_lr * min(1, (step + 1) / 50) * (0.02 + 0.98 * decay)


def train(run: Run) -> None:
    rng, alphas = random.Random(time.time_ns()), noise_schedule()
    parameters = run.lora.parameters()
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=run.peak_lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    step, saved, recent = 0, time.time(), []
    while time.time() < run.end:
        for group in optimizer.param_groups:
            group["lr"] = run.lr(step)
        batch = draw_batch(run.pool, run.base, run.batch, alphas, rng)
        with sdpa_kernel(SDPBackend.MATH):  # see the README on flash attention
            error = error_of(run.base, batch, run.lora, rng.uniform(0, SOFTEST))
            optimizer.zero_grad()
            (batch.weight * error).mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        step += 1
        recent.append((batch.weight * error.detach()).mean().item())
        if step % EMA_EVERY == 0:
            share = 1 - min(run.ema, step / (step + 30)) ** EMA_EVERY
            torch._foreach_lerp_(average, [p.detach() for p in parameters], share)
        if step % 50 == 0:
            speed = step * run.batch / (time.time() - run.start)
            log.info("step %d: loss %.4f, without control / with %.3f, lr %.1e, %.1f samples/s, pool %d", step,
                     sum(recent[-50:]) / 50, gain(run, batch), run.lr(step), speed, run.pool.refresh())  # fmt: skip
        if time.time() - saved > 60 * SAVE_MINUTES:
            write_average(run, average)
            saved = time.time()
    write_average(run, average)
    log.info("done at step %d, %.1f MB", step, run.out.stat().st_size / 1e6)


@torch.no_grad()
def gain(run: Run, batch: Batch) -> float:
    """How much larger the loss is without control."""
    without, controlled = ((batch.weight * error_of(run.base, batch, lora)).mean() for lora in (None, run.lora))
    return (without / controlled).item()


def write_average(run: Run, average: Sequence[Tensor]) -> None:
    """Write the averaged weights."""
    write(run.out, dict(zip(run.lora.tensors, average, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=("canny", "cpds"), required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--pool", type=Path, default=WORK / "control-pool")
    parser.add_argument("--out", type=Path, help="default: beside the checkpoint, where flows find it")
    parser.add_argument("--warm-start", type=Path, help="begin from a Control-LoRA of the same sizes")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--ema", type=float, default=0.998)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(2)
    base = fresh_modules()
    load_modules(CHECKPOINT, base)
    for module in base.named().values():
        module.eval().requires_grad_(False)
    lora = ControlLora(base.unet)  # pyright: ignore[reportArgumentType] (declared as Module)
    if args.warm_start:
        load(args.warm_start, lora)
    pool = ControlPool(args.pool, args.kind)
    while not pool.refresh():
        time.sleep(2)
    out = args.out or CHECKPOINT.parent / "controlnet" / f"focal-tiny-control-{args.kind}.safetensors"
    begun = time.time()
    run = Run(base, lora, pool, out, begun, begun + 60 * args.minutes, args.lr, args.batch, args.ema)
    signal.signal(signal.SIGTERM, lambda *_: setattr(run, "end", time.time()))
    train(run)


if __name__ == "__main__":
    main()
