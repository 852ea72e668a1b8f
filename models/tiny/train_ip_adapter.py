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
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.memory import Residency
from models.sdxl import Clip, Model, encode_tokens, load_checkpoint
from models.tiny import CHECKPOINT, CLIP_VISION, IP_ADAPTER, IP_ADAPTER_FACE, WORK
from models.tiny.captions import caption, plain_caption, style_only
from models.tiny.pool import Pool
from models.tiny.scenes import BACKGROUNDS, PLACES, SIZES, Scene, Thing, draw
from models.tiny.text import tokenize
from models.tiny.train import noise_schedule
from models.tiny.train_vision import as_pixels, load, normalised
from models.unet import UNet, timestep_embedding
from models.unet_blocks import split_heads
from models.vision.adapter import Adapter, AdapterSizes, ResamplerSizes
from models.vision.encoder import VisionEncoder
from models.vision.image_prompt import file_order

SIZE = (128, 128)
TOKENS, WIDTH, DEPTH = 16, 128, 4
NO_PICTURE = 0.08  # share of samples with a blank reference, for the negative prompt
WEIGHT_CAP, LEAN = 30, 0.65  # of the loss and of the timesteps, as in `models.tiny.train`
FULL_WEIGHT = 0.4  # share of samples with weight 1; the rest lies between LEAST_WEIGHT and 1
LEAST_WEIGHT = 0.5
SAID_AT_ONCE = 64  # pictures whose captions are learned together
PAIRS, SPLIT = 0.5, 0.8  # share of the scenes of two objects, and of these the share that two references show
IN_PLACE, SAME_GROUND = 0.6, 0.75  # share of such references whose object lies where it shall, on what it shall lie
GENERIC = ("a picture", "a shape", "an image of a shape", "a shape on a background", "a photo of a shape", "a drawing")
FACE_MARGIN = (1.05, 1.5)  # the crop's half side in radii of the object


@dataclass
class Frozen:
    """What is not trained."""

    model: Model
    unet: UNet
    clip: Clip
    vision: VisionEncoder
    blank: Tensor  # (1, T, C): the states of no picture


def frozen(vision_file: Path) -> Frozen:
    model, clip, _ = load_checkpoint(CHECKPOINT, Residency())
    with model.use() as unet:
        kept: UNet = unet
    vision = load(vision_file)
    side = vision.sizes.image
    with torch.no_grad():
        blank = vision(torch.zeros(1, 3, side, side)).penultimate
    return Frozen(model, kept, clip, vision, blank)


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


def contexts(base: Frozen, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Return contexts (B, 77, C) and pooled texts (B, P)."""
    ids_l, ids_g = tokenize(texts)
    l, g = encode_tokens(base.clip, ids_l, "l"), encode_tokens(base.clip, ids_g, "g")  # noqa: E741
    assert g.pooled is not None
    return torch.cat((l.hidden, g.hidden), dim=-1), g.pooled


class References:
    """The encoder's states of a drawing of each of the pool's scenes, made when first wanted."""

    def __init__(self, vision: VisionEncoder, scenes: list[Scene], kind: str, rng: random.Random) -> None:
        side = vision.sizes.image // vision.sizes.patch
        self._vision, self._scenes, self._kind, self._rng = vision, scenes, kind, rng
        self._states = torch.empty(len(scenes), 1 + side * side, vision.sizes.width, dtype=torch.half)
        self._known = [False] * len(scenes)

    @torch.no_grad()
    def of(self, indices: list[int]) -> Tensor:
        wanted = [i for i in dict.fromkeys(indices) if not self._known[i]]
        if wanted:
            pixels = torch.stack([as_pixels(reference(self._scenes[i], self._kind, self._rng)) for i in wanted])
            self._states[wanted] = self._vision(normalised(pixels)).penultimate.half()
            for i in wanted:
                self._known[i] = True
        return self._states[indices].float()


def reference(scene: Scene, kind: str, rng: random.Random) -> Image.Image:
    """Draw what the adapter sees: the scene again, one of its two things in its place, or the object close up."""
    if kind == "plus":
        return draw(scene, *SIZE, rng)
    if kind in ("1", "2"):
        return draw(alone(scene, int(kind) - 1, rng), *SIZE, rng)
    thing = scene.things[0]
    background = rng.choice([name for name in BACKGROUNDS if name != thing.colour])
    picture = draw(Scene(background, (Thing(thing.shape, thing.colour, "large", "center"),)), 192, 192, rng)
    half = rng.uniform(*FACE_MARGIN) * 0.32 * 192
    x, y = (96 + rng.uniform(-4, 4) for _ in range(2))
    return picture.crop((round(x - half), round(y - half), round(x + half), round(y + half)))


def alone(scene: Scene, which: int, rng: random.Random) -> Scene:
    """Return one of two things by itself: mostly small and in its place, else of any size anywhere."""
    places = {"beside": ("left", "right"), "stacked": ("top", "bottom")}[scene.arrangement or "beside"]
    thing = replace(scene.things[which], size="small", place=places[which])
    if rng.random() > IN_PLACE:
        thing = replace(thing, size=rng.choice(SIZES), place=rng.choice(PLACES))
    grounds = [scene.background if rng.random() < SAME_GROUND else name for name in BACKGROUNDS if name != thing.colour]
    return Scene(rng.choice(grounds), (thing,))


def prompt(scene: Scene, kind: str, rng: random.Random) -> str:
    """Say little, or for faces all but what the object is."""
    draw_ = rng.random()
    if kind == "face":
        if draw_ < 0.75:
            thing = scene.things[0]
            where = {"center": "in the center", "left": "on the left", "right": "on the right", "top": "at the top"}
            place = "" if thing.place is None else f" {where.get(thing.place, 'at the bottom')}"
            size = f"{thing.size} " if thing.size and rng.random() < 0.7 else ""
            return f"a {size}shape{place} on a {scene.background} background"
        return "" if draw_ < 0.85 else caption(scene, rng)
    if draw_ < 0.45:
        return ""
    if draw_ < 0.65:
        return rng.choice(GENERIC)
    return style_only(rng) if draw_ < 0.8 else caption(scene, rng)


@dataclass
class Batch:
    """One batch, ready for the networks."""

    noisy: Tensor
    noise: Tensor
    timesteps: Tensor
    words: list[str]
    told: list[str]  # all that the references show, in words; what the prompt says where there is no picture
    time_ids: Tensor
    states: tuple[Tensor, Tensor]  # of the first and the second reference
    weights: tuple[Tensor, Tensor]  # 0 where there is no second
    loss_weights: Tensor


class Data:
    """Batches of the pool's scenes with references."""

    def __init__(self, base: Frozen, pool: Pool, kind: str, rng: random.Random) -> None:
        self._base, self._kind, self._rng = base, kind, rng
        chosen = [i for i, scene in enumerate(pool.scenes[SIZE]) if kind == "plus" or scene.arrangement is None]
        self._scenes = [pool.scenes[SIZE][i] for i in chosen]
        self._latents, self._time_ids = pool.latents[SIZE][chosen], pool.time_ids[SIZE][chosen]
        self._references = {which: References(base.vision, self._scenes, which, rng) for which in (kind, "1", "2")}
        self._pairs = [i for i, scene in enumerate(self._scenes) if scene.arrangement]
        self._alphas = noise_schedule()

    def batch(self, count: int) -> Batch:
        rng = self._rng
        index = [
            rng.choice(self._pairs) if self._pairs and rng.random() < PAIRS else rng.randrange(len(self._scenes))
            for _ in range(count)
        ]
        words = [prompt(self._scenes[i], self._kind, rng) for i in index]
        split = [self._kind == "plus" and self._scenes[i].arrangement and rng.random() < SPLIT for i in index]
        states = self._states(index, ["1" if two else self._kind for two in split])
        others = self._states(index, ["2" if two else "" for two in split])
        told = [plain_caption(self._scenes[i]) for i in index]
        for row in range(count):
            if rng.random() < NO_PICTURE:
                states[row] = others[row] = self._base.blank[0]
                told[row] = words[row]
        latents = self._latents[index].float()
        timesteps = (torch.rand(count) ** LEAN * 1000).long().clamp(0, 999)
        noise = torch.randn_like(latents)
        alpha = self._alphas[timesteps].view(-1, 1, 1, 1).float()
        weights = torch.tensor(
            [1.0 if rng.random() < FULL_WEIGHT else rng.uniform(LEAST_WEIGHT, 1.0) for _ in range(count)]
        )
        return Batch(
            noisy=alpha.sqrt() * latents + (1 - alpha).sqrt() * noise,
            noise=noise,
            timesteps=timesteps,
            words=words,
            told=told,
            time_ids=self._time_ids[index].float(),
            states=(states, others),
            weights=(weights, weights * torch.tensor([float(bool(two)) for two in split])),
            loss_weights=(1 / alpha).clamp(max=WEIGHT_CAP).flatten() / 4,  # 1 / alpha = 1 + sigma²
        )

    def captioned(self, count: int) -> tuple[list[str], Tensor]:
        """Plain captions with the states of drawings; now and then none of either."""
        index = [self._rng.randrange(len(self._scenes)) for _ in range(count)]
        told, states = [plain_caption(self._scenes[i]) for i in index], self._references[self._kind].of(index)
        for row in range(count):
            if self._rng.random() < NO_PICTURE:
                told[row], states[row] = "", self._base.blank[0]
        return told, states

    def _states(self, index: list[int], which: list[str]) -> Tensor:
        """The states of each row's reference of a kind; blank where the kind is empty."""
        states = self._base.blank.repeat(len(index), 1, 1)
        for kind in {*which} - {""}:
            rows = [row for row, wanted in enumerate(which) if wanted == kind]
            states[rows] = self._references[kind].of([index[row] for row in rows])
        return states


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
