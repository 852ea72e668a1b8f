"""Distil the tiny model into few steps: `python -m models.tiny.train_lora --mode lcm --minutes 6`.

Writes the stand-ins for the LCM, Lightning and Hyper-SD LoRAs. A student is trained at exactly the noise levels at
which its mode evaluates the model, on walks of `trajectories`: for a stochastic sampler towards the walk's end (as in
consistency models, Song et al. 2023, https://arxiv.org/abs/2303.01469), for Euler towards the walk's next level (as in
progressive distillation, Salimans & Ho 2022, https://arxiv.org/abs/2202.00512). SIGTERM ends a run early with its
weights written.
"""

import argparse
import logging
import math
import random
import signal
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.sampling.parameterization import Parameterization, parameterization_for
from models.sampling.schedules import MODEL_SCHEDULES, schedule
from models.tiny import CHECKPOINT, WORK
from models.tiny.export import load_modules
from models.tiny.low_rank import LowRank, write
from models.tiny.train import fresh_modules
from models.tiny.trajectories import Walks, at

log = logging.getLogger("tiny.train_lora")
RANK = 8
HUBER = 0.02  # of the unit latent: below it the loss is quadratic (Song & Dhariwal 2023, section 3.3)
EMA_EVERY = 4
FOLDER = CHECKPOINT.parent / "loras"


@dataclass(frozen=True)
class Mode:
    """A performance mode as the server samples it (Fooocus behaviour §1.6). middle: dpmpp_sde's second estimates."""

    scheduler: str
    steps: int
    weight: float = 1.0
    stochastic: bool = True
    middle: bool = False

    @property
    def parameterization(self) -> Parameterization:
        return parameterization_for("eps", self.scheduler if self.scheduler in MODEL_SCHEDULES else None)

    def jumps(self) -> list[tuple[float, float]]:
        """Noise levels at which the model is asked, each with the level it is to lead to."""
        levels = schedule(self.scheduler, self.parameterization, self.steps)
        if not self.stochastic:
            return list(pairwise(levels))
        middles = [math.sqrt(high * low) for high, low in pairwise(levels) if low > 0] if self.middle else []
        return [(level, 0.0) for level in sorted([*levels[:-1], *middles], reverse=True)]


MODES = {
    "lcm": Mode("lcm", 8),
    "lightning": Mode("sgm_uniform", 4, stochastic=False),
    "hyper": Mode("karras", 4, weight=0.8, middle=True),
}


@dataclass
class Run:
    """One training run. end: seconds since the epoch; SIGTERM brings it forward."""

    mode: Mode
    student: LowRank
    walks: Walks
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


def loss_of_batch(run: Run, rng: random.Random) -> tuple[Tensor, float, int]:
    """Return (loss, distance of the clean latents per element, index of the noise level)."""
    jumps = run.mode.jumps()
    index = rng.randrange(len(jumps))
    sigma, target_sigma = jumps[index]
    group = rng.choice(run.walks.reaching(sigma))
    rows = torch.randperm(group["path"].shape[1])[: run.batch]
    x, target = (at(group["path"][:, rows], group["first"], level) for level in (sigma, target_sigma))
    kept = target_sigma / sigma
    clean = (target - kept * x) / (1 - kept)  # the estimate with which an Euler step arrives at the target
    parameterization = run.mode.parameterization
    width, height = group["size"]
    time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32).repeat(len(rows), 1)
    conditions = {"text_embeds": group["pooled"][rows].float(), "time_ids": time_ids}
    timestep = torch.full((len(rows),), parameterization.timestep(sigma))
    with torch.autocast("cpu", torch.bfloat16):
        (output,) = run.student(
            x * parameterization.input_scale(sigma),
            timestep,
            group["context"][rows].float(),
            added_cond_kwargs=conditions,
            return_dict=False,
        )
    error = ((x - output.float() * sigma - clean) ** 2).mean((1, 2, 3))
    return ((error + HUBER**2).sqrt() - HUBER).mean(), error.detach().mean().item(), index


def train(run: Run) -> None:
    rng = random.Random(3)
    parameters = run.student.parameters()
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=run.peak_lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    step, errors = 0, [[] for _ in run.mode.jumps()]
    while time.time() < run.end:
        for group in optimizer.param_groups:
            group["lr"] = run.lr(step)
        with sdpa_kernel(SDPBackend.MATH):  # see the README on flash attention
            loss, error, level = loss_of_batch(run, rng)
            optimizer.zero_grad()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        step += 1
        errors[level].append(error)
        if step % EMA_EVERY == 0:
            share = 1 - min(run.ema, step / (step + 30)) ** EMA_EVERY
            torch._foreach_lerp_(average, [p.detach() for p in parameters], share)
        if step % 50 == 0:
            speed = step * run.batch / (time.time() - run.start)
            by_level = " ".join(f"{sum(e[-20:]) / max(1, len(e[-20:])):.4f}" for e in errors)
            log.info("step %d: error by level %s, lr %.1e, %.1f samples/s, %d walks", step, by_level, run.lr(step),
                     speed, run.walks.refresh())  # fmt: skip
            save(run, average)
    save(run, average)
    log.info("done at step %d, %.2f MB", step, run.out.stat().st_size / 1e6)


def save(run: Run, average: list[Tensor]) -> None:
    write(run.out, [run.student], average, {"ss_network_module": "networks.lora", "ss_network_dim": str(RANK)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=MODES, required=True)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--walks", type=Path, default=WORK / "trajectories")
    parser.add_argument("--out", type=Path, help="default: beside the checkpoint, where the modes find it")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--ema", type=float, default=0.99)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(4)
    base = fresh_modules()
    load_modules(CHECKPOINT, base)
    mode = MODES[args.mode]
    walks = Walks(args.walks)
    while not any(walks.reaching(sigma) for sigma, _ in mode.jumps()[:1]):
        walks.refresh()
        time.sleep(2)
    student = LowRank(base.unet.eval(), "lora_unet_", RANK, mode.weight)
    out = args.out or FOLDER / f"focal-tiny-{args.mode}.safetensors"
    begun = time.time()
    run = Run(mode, student, walks, out, begun, begun + 60 * args.minutes, args.lr, args.batch, args.ema)
    signal.signal(signal.SIGTERM, lambda *_: setattr(run, "end", time.time()))
    train(run)


if __name__ == "__main__":
    main()
