"""Train the tiny IP-Adapters: `python -m models.tiny.train_ip_adapter --kind plus` (half an hour on one core).

UNet, text and image encoders stay as they are. The reference is another drawing of the scene to be made; the prompt
mostly says nothing, so that the picture must. Two objects are sometimes shown by two references, one each, whose
attentions add up. `--kind face` sees only the object, close up and on any background, while
the prompt says the rest. Resampler of depth 4 and 64-wide heads, as in the published files, whose names these have.
"""

import argparse
import math
import random
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.tiny import CLIP_VISION, IP_ADAPTER, IP_ADAPTER_FACE, WORK
from models.tiny.image_prompt_data import Batch, Data, Frozen, contexts, frozen
from models.tiny.pool import Pool
from models.unet import timestep_embedding
from models.unet_blocks import split_heads
from models.vision.adapter import Adapter, AdapterSizes, ResamplerSizes
from models.vision.image_prompt import file_order

TOKENS, WIDTH, DEPTH = 16, 128, 4
SAID_AT_ONCE = 64  # pictures whose captions are learned together


def new_adapter(base: Frozen) -> Adapter:
    """Build an adapter that begins with the words' own keys and values, as the published ones did."""
    unet = base.unet
    order = file_order(unet.sizes)
    context = unet.sizes.context_dim
    widths = tuple(unet._crosses[place].width for place in order)
    image = ResamplerSizes(
        features=base.vision.sizes.width,
        width=WIDTH,
        tokens=TOKENS,
        depth=DEPTH,
        inner=WIDTH,
        hidden=4 * WIDTH,
        output=context,
    )
    adapter = Adapter(AdapterSizes(image, context, widths))
    with torch.no_grad():
        nn.init.normal_(adapter.image_proj.latents, std=1.0)
        for part, place in zip(adapter.ip_adapter, order, strict=True):
            part.to_k_ip.weight.copy_(unet._crosses[place].to_k.weight)
            part.to_v_ip.weight.copy_(unet._crosses[place].to_v.weight)
        words = contexts(base, ["a red circle on a white background", "a blue star on a pink background", ""])[0]
        adapter.image_proj.norm_out.weight.copy_(words.flatten(0, 1).std(0))
        adapter.image_proj.norm_out.bias.copy_(words.flatten(0, 1).mean(0))
    return adapter


def errors_of(base: Frozen, adapter: Adapter, batch: Batch) -> Tensor:
    """Return each sample's squared distance from what the UNet predicts when words say what the pictures show.

    That is the same lesson as the true noise, without the noise in it.
    """
    unet = base.unet
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        context, y = _words(base, batch.told, batch.time_ids)
        wanted = unet(batch.noisy, batch.timesteps, unet.prepare(context), y).float()
        context, y = _words(base, batch.words, batch.time_ids)
        prepared = unet.prepare(context)
    with torch.autocast("cpu", torch.bfloat16):
        pictures = tuple(
            _in_unet(base, adapter, states, weights)
            for states, weights in zip(batch.states, batch.weights, strict=True)
            if weights.any()
        )
        predicted = unet(batch.noisy, batch.timesteps, replace(prepared, pictures=pictures), y)
    return ((predicted.float() - wanted) ** 2).mean((1, 2, 3))


def unsaid(base: Frozen, adapter: Adapter, data: "Data") -> Tensor:
    """Return how far the pictures' tokens are from those of their captions, as a share of the variance."""
    told, states = data.captioned(SAID_AT_ONCE)
    with torch.no_grad():
        wanted = contexts(base, told)[0][:, : adapter.sizes.image.tokens]
    with torch.autocast("cpu", torch.bfloat16):
        tokens = adapter.tokens(states)
    return ((tokens.float() - wanted) ** 2).mean() / wanted.var()


def attention_errors_of(base: Frozen, adapter: Adapter, batch: Batch) -> Tensor:
    """Return each sample's error, attention by attention: what the pictures add shall be what the words would have.

    Every attention learns from its own output, so that nothing has to be differentiated through the UNet. Errors are
    shares of what the words change.
    """
    unet, seen = base.unet, {}

    def keep(cross: nn.Module, given: tuple, out: Tensor) -> None:
        seen[cross.index] = (given[0], out.clone())  # the UNet goes on with `out` in place

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        context, y = _words(base, batch.told, batch.time_ids)
        hooks = [cross.register_forward_hook(keep) for cross in unet._crosses]
        unet(batch.noisy, batch.timesteps, unet.prepare(context), y)
        for hook in hooks:
            hook.remove()
        said = unet.prepare(_words(base, batch.words, batch.time_ids)[0])
    total = torch.zeros(len(batch.noisy))
    with torch.autocast("cpu", torch.bfloat16):
        pictures = [
            _in_unet(base, adapter, states, weights)
            for states, weights in zip(batch.states, batch.weights, strict=True)
            if weights.any()
        ]
        for cross in unet._crosses:
            given, wanted = seen[cross.index]
            with torch.no_grad():
                q = split_heads(cross.to_q(given))
                words = F.scaled_dot_product_attention(q, *said.keys_values[cross.index])
                before = cross.to_out[0](words.transpose(1, 2).flatten(2)).float()
                change = ((wanted.float() - before) ** 2).mean().clamp(min=1e-8)
            both = words + sum(F.scaled_dot_product_attention(q, *picture[cross.index]) for picture in pictures)
            out = cross.to_out[0](both.transpose(1, 2).flatten(2)).float()
            total = total + ((out - wanted.float()) ** 2).mean((1, 2)) / change
    return total / len(unet._crosses)


def _words(base: Frozen, words: list[str], time_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return contexts and the vectors of pooled text and sizes."""
    context, pooled = contexts(base, words)
    embed = (base.unet.sizes.adm_channels - pooled.shape[-1]) // time_ids.shape[1]
    sizes = timestep_embedding(time_ids.flatten(), embed).unflatten(0, time_ids.shape).flatten(1)
    return context, torch.cat((pooled, sizes), dim=-1)


def say(base: Frozen, adapter: Adapter, data: "Data", clock: "Clock", rate: float) -> None:
    """First lesson: the tokens of a picture are those of its caption, which the words' keys and values understand."""
    parameters = list(adapter.image_proj.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    step, recent = 0, []
    while (share := clock.share) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 50) * (0.5 * (1 + math.cos(math.pi * share)) + 0.01)
        with sdpa_kernel(SDPBackend.MATH):
            loss = unsaid(base, adapter, data)
            optimizer.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        recent = [*recent[-49:], loss.item()]
        if step % 100 == 0:
            sys.stdout.write(f"{share:4.0%} step {step} tokens {sum(recent) / len(recent):.4f} of the variance\n")
            sys.stdout.flush()


def _in_unet(base: Frozen, adapter: Adapter, states: Tensor, weights: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    """Keys and weighted values of every cross-attention, in the UNet's order."""
    parts = adapter.keys_values(adapter.tokens(states))
    places = {place: part for part, place in zip(parts, file_order(base.unet.sizes), strict=True)}
    factors = weights.view(-1, 1, 1, 1)
    return tuple((places[i][0], places[i][1] * factors) for i in range(len(places)))


@dataclass
class Clock:
    """When the run began and how long it lasts, in seconds."""

    begun: float
    seconds: float

    @property
    def share(self) -> float:
        return (time.monotonic() - self.begun) / self.seconds


def train(base: Frozen, adapter: Adapter, data: Data, clock: Clock, args: argparse.Namespace) -> Adapter:
    """Minimise the error; returns the running mean of the weights."""
    average = Adapter(adapter.sizes)
    average.load_state_dict(adapter.state_dict())
    parameters = list(adapter.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=args.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    step, recent, said, saved = 0, [], [], time.monotonic()
    while (share := clock.share) < 1:
        cosine = 0.5 * (1 + math.cos(math.pi * max(0.0, share - args.flat) / (1 - args.flat)))
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 50) * (0.02 + 0.98 * cosine)
        batch = data.batch(args.batch)
        with sdpa_kernel(SDPBackend.MATH):
            if args.lesson == "attention":
                errors = attention_errors_of(base, adapter, batch)
                loss = errors.mean()
            else:
                errors = errors_of(base, adapter, batch)
                loss = (errors * batch.loss_weights).mean()
                if args.say_beside:
                    beside = unsaid(base, adapter, data)
                    said = [*said[-24:], beside.item()]
                    loss = loss + beside
            optimizer.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        step += 1
        recent.append((errors.mean().item(), loss.item()))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), parameters, 1 - min(args.ema, step / (step + 20)))
        if step % 25 == 0:
            plain, weighted = (sum(column) / 25 for column in zip(*recent[-25:], strict=True))
            speed = step * args.batch / (time.monotonic() - clock.begun)
            told = f" said {sum(said) / len(said):.3f}" if said else ""
            sys.stdout.write(f"{share:4.0%} step {step} {speed:.0f}/s eps {plain:.4f} loss {weighted:.4f}{told}\n")
            sys.stdout.flush()
        if time.monotonic() - saved > 60 * args.save_minutes:
            save(average, args.out)
            saved = time.monotonic()
    return average


def save(adapter: Adapter, path: Path) -> None:
    """Write fp16 in the published names: layers are numbered 1, 3, 5, …"""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {_renamed(name, 1): tensor.half().contiguous() for name, tensor in adapter.state_dict().items()}
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata={"format": "pt", "focal.recipe": "models/tiny/train_ip_adapter.py"})
    part.rename(path)


def load_trained(adapter: Adapter, path: Path) -> None:
    """Go on from an earlier run's file."""
    tensors = load_file(path)
    adapter.load_state_dict({name: tensors[_renamed(name, 1)].float() for name in adapter.state_dict()})


def _renamed(name: str, first: int) -> str:
    group, _, rest = name.partition(".")
    if group != "ip_adapter":
        return name
    number, _, leaf = rest.partition(".")
    return f"{group}.{2 * int(number) + first}.{leaf}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=("plus", "face"), default="plus")
    parser.add_argument("--lesson", choices=("attention", "unet"), default="unet")
    parser.add_argument("--minutes", type=float, default=24)
    parser.add_argument("--say-minutes", type=float, default=0.0, help="of the first lesson, before --minutes")
    parser.add_argument("--say-beside", action="store_true", help="the first lesson goes on beside the second")
    parser.add_argument("--pool", type=Path, default=WORK / "pool", help="made by models.tiny.pool")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--flat", type=float, default=0.3, help="share of the time before the cosine")
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--save-minutes", type=float, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--vision", type=Path, default=CLIP_VISION)
    parser.add_argument("--warm-start", type=Path, help="begin from a trained adapter")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    args.out = args.out or {"plus": IP_ADAPTER, "face": IP_ADAPTER_FACE}[args.kind]
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    base = frozen(args.vision)
    pool = Pool(args.pool)
    pool.refresh()
    adapter = new_adapter(base)
    if args.warm_start:
        load_trained(adapter, args.warm_start)
    data = Data(base, pool, args.kind, random.Random(args.seed))
    if args.say_minutes:
        say(base, adapter, data, Clock(time.monotonic(), 60 * args.say_minutes), 2 * args.rate)
        save(adapter, args.out)
    clock = Clock(time.monotonic(), 60 * args.minutes)
    signal.signal(signal.SIGTERM, lambda *_: setattr(clock, "seconds", 0.001))  # stop after this step, and save
    save(train(base, adapter, data, clock, args), args.out)


if __name__ == "__main__":
    main()
