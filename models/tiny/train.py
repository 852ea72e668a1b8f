"""Train UNet and text encoders together: `python -m models.tiny.train --until 13:25`.

One thread, bf16 autocast. `--resume` goes on from the last saved state; `--warm-start` begins from a released
checkpoint. SIGTERM ends a run early with its state saved.
"""

import argparse
import copy
import logging
import math
import os
import random
import signal
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.tiny import WORK
from models.tiny.architecture import new_text_encoders, new_unet
from models.tiny.captions import caption, plain_caption, style_only, styled
from models.tiny.pool import Pool, Size
from models.tiny.scenes import Scene, random_scene
from models.tiny.text import encode, tokenize, tokenizer

log = logging.getLogger("tiny.train")

EMPTY_SHARE = 0.10
EMA_EVERY = 4  # steps; the average is as good and the memory traffic a quarter
PIXELS_PER_SAMPLE = 128 * 128


@dataclass(frozen=True)
class Mix:
    """What a stage trains on: shares of the prompts, and how much the noisy timesteps count."""

    default_size: float  # of the batches are 128 x 128, before the others are shared out by `pool.SIZE_SHARES`
    two: float  # of the pictures have two objects
    blunt: float  # of the pictures are chosen for a circle or a square
    plain: float  # the one plain wording
    styled: float  # style words around the caption
    style_only: float
    noise: float  # random vocabulary tokens around the text
    long: float  # contexts of two to four 77-token chunks
    weight_cap: float  # of the loss weight 1 + sigma²
    lean: float  # timesteps are 1000 · u^lean: below 1 leans to the noisy ones


# Words matter most where the picture is nearly all noise. The first stage is about words alone, so it stays there.
STAGES = {
    "words": Mix(
        0.7, two=0.15, blunt=0.0, plain=0.6, styled=0.03, style_only=0.0, noise=0.0, long=0.0, weight_cap=30, lean=0.65
    ),
    "all": Mix(
        0.0,
        two=0.3,
        blunt=0.3,
        plain=0.15,
        styled=0.17,
        style_only=0.03,
        noise=0.06,
        long=0.08,
        weight_cap=30,
        lean=0.7,
    ),
}


@dataclass
class Modules:
    """What is trained."""

    unet: nn.Module
    text_l: nn.Module
    text_g: nn.Module

    def parameters(self) -> list[nn.Parameter]:
        return [p for module in self.named().values() for p in module.parameters()]

    def named(self) -> dict[str, nn.Module]:
        return {"unet": self.unet, "text_l": self.text_l, "text_g": self.text_g}


@torch.no_grad()
def fresh_modules() -> Modules:
    """Build untrained modules: residual branches start at zero, and only the scene's words have loud embeddings."""
    text_l, text_g = new_text_encoders()
    unet = new_unet()
    for module in unet.modules():
        name = type(module).__name__
        if name == "ResnetBlock2D":
            _zero(module.conv2)
        elif name == "Transformer2DModel":
            _zero(module.proj_out)
    _zero(unet.conv_out)
    known = torch.tensor(scene_tokens())
    for encoder in (text_l, text_g):
        tokens = encoder.get_input_embeddings().weight
        tokens.normal_(std=0.02)  # a word never met in training stays quiet
        tokens[known] = torch.randn(len(known), tokens.shape[1]) * 0.3
        dict(encoder.named_modules())[_position_name(encoder)].weight.normal_(std=0.1)
    return Modules(unet, text_l, text_g)


def _position_name(encoder: nn.Module) -> str:
    return next(name for name, _ in encoder.named_modules() if name.endswith("position_embedding"))


def _zero(layer: nn.Module) -> None:
    layer.weight.zero_()
    layer.bias.zero_()


def scene_tokens() -> list[int]:
    """List the ids of all tokens that scene captions use."""
    rng = random.Random(0)
    texts = [caption(random_scene(rng), rng) for _ in range(4000)]
    return sorted(
        {i for row in tokenizer()(texts, add_special_tokens=False)["input_ids"] for i in row} | {49406, 49407, 0}
    )


# ------------------------------------------------------------------------------------------------ one batch


def prompt(scene: Scene, mix: Mix, rng: random.Random) -> str:
    """Write what one picture's prompt says: its caption, often styled, sometimes nothing at all."""
    kind = rng.random()
    if kind < EMPTY_SHARE:
        return ""
    if kind < EMPTY_SHARE + mix.style_only:
        return style_only(rng)
    text = plain_caption(scene) if rng.random() < mix.plain else caption(scene, rng)
    return styled(text, rng) if kind < EMPTY_SHARE + mix.style_only + mix.styled else text


def chunked_prompt(scene: Scene, chunks: int, rng: random.Random) -> list[str]:
    """Write `chunks` texts for one picture, as a server that encodes every style on its own does."""
    if rng.random() < EMPTY_SHARE:
        return ["" if rng.random() < 0.5 else style_only(rng) for _ in range(chunks)]
    others = (styled(caption(scene, rng), rng) if rng.random() < 0.6 else style_only(rng) for _ in range(chunks - 1))
    texts = [caption(scene, rng), *others]
    if rng.random() < 0.4:
        rng.shuffle(texts)
    return texts


def noise_schedule() -> torch.Tensor:
    """Return the cumulative alphas of the scaled-linear schedule, (1000,)."""
    return (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2).cumprod(0)


def loss_of_batch(
    modules: Modules, pool: Pool, size: Size, count: int, mix: Mix, alphas: torch.Tensor, rng: random.Random
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (weighted loss, plain eps error) of one random batch of one picture size."""
    latents, time_ids, scenes = pool.batch(size, count, mix.two, mix.blunt, rng)
    chunks = 1 if rng.random() >= mix.long else rng.choice((2, 2, 3, 4))
    texts = (
        [prompt(s, mix, rng) for s in scenes]
        if chunks == 1
        else [t for s in scenes for t in chunked_prompt(s, chunks, rng)]
    )
    ids_l, ids_g = tokenize(texts, mix.noise, rng)
    timestep = (torch.rand(count) ** mix.lean * 1000).long().clamp(0, 999)
    noise = torch.randn_like(latents)
    alpha = alphas[timestep].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    with torch.autocast("cpu", torch.bfloat16):
        context, pooled = encode(modules.text_l, modules.text_g, ids_l, ids_g, chunks, rng.randint(1, chunks))
        conditions = {"text_embeds": pooled, "time_ids": time_ids}
        predicted = modules.unet(
            noisy, timestep, encoder_hidden_states=context, added_cond_kwargs=conditions, return_dict=False
        )[0]
    error = ((predicted.float() - noise) ** 2).mean((1, 2, 3))
    weight = (1 / alphas[timestep]).clamp(max=mix.weight_cap) / 4  # 1 / alpha = 1 + sigma²
    return (weight * error).mean(), error.mean().detach()


# ------------------------------------------------------------------------------------------------ the run


@dataclass
class Plan:
    """When the run began and ends (seconds since the epoch), and its learning rate in between."""

    start: float
    end: float
    peak_lr: float
    flat: float  # share of the time at the peak, before the cosine

    def progress(self) -> float:
        return (time.time() - self.start) / (self.end - self.start)

    def lr(self, step: int) -> float:
        done = min(1.0, self.progress())
        decay = 1.0 if done < self.flat else 0.5 * (1 + math.cos(math.pi * (done - self.flat) / (1 - self.flat)))
        return self.peak_lr * min(1, (step + 1) / 100) * (0.02 + 0.98 * decay)


def optimizer_of(modules: Modules, lr: float) -> torch.optim.AdamW:
    embeddings = [encoder.get_input_embeddings().weight for encoder in (modules.text_l, modules.text_g)]
    others = [p for p in modules.parameters() if not any(p is e for e in embeddings)]
    groups = [{"params": others, "weight_decay": 0.01}, {"params": embeddings, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), fused=True)


def train(modules: Modules, pool: Pool, plan: Plan, args: argparse.Namespace, state: dict | None) -> None:
    rng = random.Random(time.time_ns() if state else 1)
    alphas, parameters, optimizer = noise_schedule(), modules.parameters(), optimizer_of(modules, plan.peak_lr)
    average = [p.detach().clone() for p in parameters]
    mix, step = STAGES[args.stage], 0
    if state:
        step = state["step"]
        if "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
        _load_average(modules, average, state["ema"])
    begun, saved, seen, recent = time.time(), time.time(), 0, []
    while plan.progress() < 1 and not (args.steps and len(recent) >= args.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.lr(step)
        size = (128, 128) if rng.random() < mix.default_size else pool.choose_size(rng)
        count = max(8, args.batch * PIXELS_PER_SAMPLE // (size[0] * size[1])) if size != (128, 128) else args.batch
        with sdpa_kernel(
            SDPBackend.MATH
        ):  # the CPU flash kernel's backward is slow at 64 tokens: 0.25 s of a 0.9 s step
            loss, error = loss_of_batch(modules, pool, size, count, mix, alphas, rng)
            optimizer.zero_grad()
            loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        step, seen = step + 1, seen + count
        recent.append((error.item(), loss.item()))
        if step % EMA_EVERY == 0:
            _average(average, parameters, min(args.ema, step / (step + 30)) ** EMA_EVERY)
        if step % 50 == 0:
            errors, losses = zip(*recent[-50:], strict=True)
            speed = seen / (time.time() - begun)
            log.info("step %d, %.0f %%: eps %.4f, loss %.4f, norm %.2f", step, 100 * plan.progress(),
                     sum(errors) / len(errors), sum(losses) / len(losses), norm)  # fmt: skip
            log.info("lr %.1e, %.1f samples/s, pool %d", plan.lr(step), speed, pool.refresh())
        if time.time() - saved > 60 * args.save_minutes:
            save(args.work / "state.pt", modules, average, optimizer, step, plan)
            saved = time.time()
    save(args.work / "state.pt", modules, average, optimizer, step, plan)
    log.info("done at step %d", step)


@torch.no_grad()
def _average(average: list[torch.Tensor], parameters: list[nn.Parameter], decay: float) -> None:
    torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)


def averaged(modules: Modules, average: list[torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Return the state dicts of the modules with the averaged parameters in place."""
    values = iter(average)
    return {name: {k: next(values) for k, _ in module.named_parameters()} for name, module in modules.named().items()}


def _load_average(modules: Modules, average: list[torch.Tensor], saved: dict[str, dict[str, torch.Tensor]]) -> None:
    for mine, theirs in zip(average, (t for name in modules.named() for t in saved[name].values()), strict=True):
        mine.copy_(theirs)


def save(
    path: Path, modules: Modules, average: list[torch.Tensor], optimizer: torch.optim.Optimizer, step: int, plan: Plan
) -> None:
    """Write raw and averaged weights, optimizer and step, atomically."""
    raw = {name: module.state_dict() for name, module in modules.named().items()}
    state = {
        "raw": raw,
        "ema": averaged(modules, average),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "start": plan.start,
    }
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def clock(text: str) -> float:
    """Read "13:25" as the next such moment, in seconds since the epoch."""
    now = datetime.now()
    hour, minute = map(int, text.split(":"))
    moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (moment if moment > now else moment + timedelta(days=1)).timestamp()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until", type=clock, required=True, help="wall time of the end, HH:MM")
    parser.add_argument("--pool", type=Path, default=WORK / "pool")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--flat", type=float, default=0.3, help="share of the time before the cosine")
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--save-minutes", type=float, default=5)
    parser.add_argument("--steps", type=int, default=0, help="stop after so many steps, for a benchmark")
    parser.add_argument("--stage", choices=STAGES, default="all")
    parser.add_argument("--resume", action="store_true", help="go on from the state in --work")
    parser.add_argument("--warm-start", type=Path, help="begin from a released single-file checkpoint")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(time.time_ns() % 2**31 if args.resume else 1)
    modules, state, start = fresh_modules(), None, time.time()
    if args.warm_start:
        from models.tiny.export import load_modules

        load_modules(args.warm_start, modules)
    if args.resume:
        state = torch.load(args.work / "state.pt", weights_only=True)
        for name, module in modules.named().items():
            module.load_state_dict(copy.copy(state["raw"][name]))
        start = state["start"]
    pool = Pool(args.pool)
    while not pool.refresh():
        time.sleep(2)  # the first shard is on its way
    plan = Plan(start, args.until, args.lr, args.flat)
    signal.signal(signal.SIGTERM, lambda *_: setattr(plan, "end", time.time()))  # stop after this step, and save
    train(modules, pool, plan, args, state)


if __name__ == "__main__":
    main()
