"""Train a tiny inpaint engine: `python -m models.tiny.train_inpaint --minutes 12`.

A head that shows the UNet the mask and what is around it, and a change of the UNet's encoder, both as Fooocus' files
hold them. One thread, bf16 autocast, from the released tiny checkpoint; draws from the pool of `inpaint_pool`. SIGTERM
ends a run early with its files written.
"""

import argparse
import logging
import random
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.formats.inpaint_files import HEAD, LEVELS, PREFIX
from models.tiny import CHECKPOINT, WORK
from models.tiny.captions import caption, plain_caption
from models.tiny.export import load_modules, unet_name
from models.tiny.inpaint_pool import InpaintPool
from models.tiny.scenes import Scene, Thing
from models.tiny.text import encode, tokenize
from models.tiny.train import Modules, fresh_modules, noise_schedule
from models.tiny.train_control import EMA_EVERY, LEAN, SAVE_MINUTES, WEIGHT_CAP, size_numbers

log = logging.getLogger("tiny.train_inpaint")
CHANGED = ("input_blocks.", "middle_block.")  # what the patch holds: 8 bits per weight are to stay a small file
EMPTY, BARE = 0.3, 0.3  # shares of the prompts: none, one without place and size
OUTSIDE = 0.1  # weight of what is not masked, where sampling puts the original anyway
HEAD_LR = 5  # times the others': the head begins at nothing


@dataclass
class Engine:
    """What is trained. head: (C, 5, 3, 3). changed: parameters of the UNet by their LDM names."""

    base: Modules
    head: nn.Parameter
    changed: dict[str, nn.Parameter]
    before: dict[str, Tensor]

    def parameters(self) -> list[nn.Parameter]:
        return [self.head, *self.changed.values()]


def new_engine(base: Modules) -> Engine:
    """Freeze everything but the encoder, and add a head that says nothing yet."""
    for module in base.named().values():
        module.eval().requires_grad_(False)
    named = {unet_name(name): parameter for name, parameter in base.unet.named_parameters()}
    changed = {name: parameter for name, parameter in named.items() if name.startswith(CHANGED)}
    for parameter in changed.values():
        parameter.requires_grad_()
    width = changed["input_blocks.0.0.weight"].shape[0]
    head = nn.Parameter(torch.zeros(width, 5, 3, 3))
    return Engine(base, head, changed, {name: p.detach().clone() for name, p in changed.items()})


def prompt(scene: Scene, rng: random.Random) -> str:
    """Write a prompt: the scene's caption, one that names neither place nor size, or nothing."""
    kind = rng.random()
    if kind < EMPTY:
        return ""
    if kind < EMPTY + BARE:
        scene = replace(scene, things=tuple(Thing(thing.shape, thing.colour) for thing in scene.things))
    return plain_caption(scene) if rng.random() < 0.6 else caption(scene, rng)


def loss_of_batch(engine: Engine, pool: InpaintPool, count: int, alphas: Tensor, rng: random.Random) -> Tensor:
    """Return the weighted loss of one random batch."""
    latents, hidden, cells, scenes = pool.batch(count, rng)
    ids_l, ids_g = tokenize([prompt(scene, rng) for scene in scenes])
    timestep = (torch.rand(count) ** LEAN * 1000).long().clamp(0, 999)
    noise = torch.randn_like(latents)
    alpha = alphas[timestep].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        context, pooled = encode(engine.base.text_l, engine.base.text_g, ids_l, ids_g)
    features = F.conv2d(F.pad(torch.cat((cells, hidden), dim=1), (1, 1, 1, 1), mode="replicate"), engine.head)
    hook = engine.base.unet.conv_in.register_forward_hook(lambda module, inputs, output: output + features)
    with torch.autocast("cpu", torch.bfloat16):
        conditions = {"text_embeds": pooled, "time_ids": size_numbers(count, rng)}
        predicted = engine.base.unet(
            noisy, timestep, encoder_hidden_states=context, added_cond_kwargs=conditions, return_dict=False
        )[0]
    hook.remove()
    counts = OUTSIDE + (1 - OUTSIDE) * cells
    error = ((predicted.float() - noise) ** 2 * counts).sum((1, 2, 3)) / counts.expand_as(noise).sum((1, 2, 3))
    return ((1 / alphas[timestep]).clamp(max=WEIGHT_CAP) / 4 * error).mean()


def train(engine: Engine, pool: InpaintPool, run: argparse.Namespace) -> None:
    rng, alphas, parameters = random.Random(time.time_ns()), noise_schedule(), engine.parameters()
    groups = [{"params": [engine.head], "lr": HEAD_LR * run.lr}, {"params": parameters[1:], "lr": run.lr}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    average = [p.detach().clone() for p in parameters]
    begun, saved, step, recent = time.time(), time.time(), 0, []
    while (share := (time.time() - begun) / (run.end - begun)) < 1:
        for group, times in zip(optimizer.param_groups, (HEAD_LR, 1), strict=True):
            group["lr"] = times * run.lr * min(1, (step + 1) / 50) * (1 - share * share)
        with sdpa_kernel(SDPBackend.MATH):  # see the README on flash attention
            loss = loss_of_batch(engine, pool, run.batch, alphas, rng)
            optimizer.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        step += 1
        recent.append(loss.item())
        if step % EMA_EVERY == 0:
            weight = 1 - min(run.ema, step / (step + 30)) ** EMA_EVERY
            torch._foreach_lerp_(average, [p.detach() for p in parameters], weight)
        if step % 50 == 0:
            speed = step * run.batch / (time.time() - begun)
            log.info("step %d: loss %.4f, %.1f samples/s, pool %d",
                     step, sum(recent[-50:]) / 50, speed, pool.refresh())  # fmt: skip
        if time.time() - saved > 60 * SAVE_MINUTES:
            write(engine, average, run.out)
            saved = time.time()
    write(engine, average, run.out)
    log.info("done at step %d", step)


def write(engine: Engine, average: list[Tensor], folder: Path) -> None:
    """Write head and patch as Fooocus' files are: pickled tables, the patch in 8 bits per weight."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({HEAD: average[0].half()}, folder / "focal-tiny-inpaint-head.pth")
    patch = {
        PREFIX + name: quantized(value - engine.before[name])
        for name, value in zip(engine.changed, average[1:], strict=True)
    }
    torch.save(patch, folder / "focal-tiny-inpaint.fooocus.patch")


def quantized(delta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a change as 8-bit steps between its extremes."""
    low, high = delta.min(), delta.max()
    steps = ((delta - low) / (high - low).clamp(min=1e-12) * LEVELS).round().to(torch.uint8)
    return steps, low.clone(), high.clone()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--pool", type=Path, default=WORK / "inpaint-pool")
    parser.add_argument("--out", type=Path, default=CHECKPOINT.parent / "inpaint", help="folder of both files")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--ema", type=float, default=0.997)
    run = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(3)
    base = fresh_modules()
    load_modules(CHECKPOINT, base)
    pool = InpaintPool(run.pool)
    while not pool.refresh():
        time.sleep(2)
    run.end = time.time() + 60 * run.minutes
    signal.signal(signal.SIGTERM, lambda *_: setattr(run, "end", time.time()))
    train(new_engine(base), pool, run)


if __name__ == "__main__":
    main()
