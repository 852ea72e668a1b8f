"""Train the tiny captioner: `python -m models.tiny.train_captioner` (nine minutes on one core).

A BLIP of one million parameters that says a drawn scene in the plainest words. Written in the original layout, the
weights under the key `model`, with a `vocab.txt` in BERT's format beside it.
"""

import argparse
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.describe.blip import Blip, BlipSizes
from models.describe.captioner import PROMPT
from models.describe.formats import ORIGINAL, open_captioner, plan_blip, renamed_by
from models.formats.plan import fill
from models.text.wordpiece import SPECIAL, WordPiece
from models.tiny import CHECKPOINT
from models.tiny.captions import plain_caption
from models.tiny.drawings import drawings
from models.tiny.scenes import BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES, Scene, Thing, combinations, random_scene

FOLDER = CHECKPOINT.parent / "clip_vision"
WEIGHTS, VOCABULARY = FOLDER / "focal-tiny-blip.pth", FOLDER / "focal-tiny-blip" / "vocab.txt"
IGNORED = -100
PLACE_AMPLITUDE = 0.3
HINTS_SHARE = 0.5
# Pictures whose colours have no name. Without them the model learns which shape never comes in which colours, since one
# combination in seven is held out, and says another one where it does.
NAMELESS_SHARE = 0.4
# What the picture's tokens must tell on average, besides the words: it makes shapes come early.
HINTS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "background": tuple(BACKGROUNDS),
    "size": SIZES,
    "place": PLACES,
}


def sizes(words: WordPiece) -> BlipSizes:
    return BlipSizes(
        vision_width=128,
        vision_layers=3,
        vision_hidden=256,
        patch=8,
        grid=8,
        text_width=128,
        text_layers=2,
        text_hidden=256,
        vocabulary=words.size + 2,  # [DEC] and [ENC], as in BLIP
        positions=40,
    )


def vocabulary() -> WordPiece:
    """Every word of the plain captions, in BERT's format."""
    scenes = [
        Scene(background, (Thing(shape, colour, size, place),))
        for held in (True, False)
        for shape, colour, background in combinations(held)
        for size in SIZES
        for place in PLACES
    ]
    sentences = [PROMPT, "an left of above", *map(plain_caption, scenes)]
    return WordPiece([*SPECIAL, *sorted({word for sentence in sentences for word in sentence.split()})])


def said(scene: Scene) -> Scene:
    """The scene with the place that an open one is drawn at, so that a picture has one right caption."""
    (first, *_) = scene.things
    if scene.arrangement is None and first.place is None:
        return replace(scene, things=(replace(first, place="center"),))
    return scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on from the weights that are there")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--vocabulary", type=Path, default=VOCABULARY)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    words = vocabulary()
    blip = Blip(sizes(words))
    initialise(blip)
    if args.resume:
        with open_captioner(args.out) as file, torch.no_grad():
            fill(blip, file, plan_blip(file)[1])
    train(blip, words, args)
    save(blip, words, args.out, args.vocabulary)


def initialise(blip: Blip) -> None:
    for name, parameter in blip.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02 if "positions" in name or "words" in name else 0.05)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    with torch.no_grad():
        blip.vision.positions[0, 1:] = PLACE_AMPLITUDE * waves(blip.sizes.grid, blip.sizes.vision_width)


def waves(grid: int, width: int) -> Tensor:
    """Sines and cosines of row and column, (grid², width): places are known from the first step on."""
    steps = torch.arange(grid, dtype=torch.float32)
    angles = steps[:, None] * torch.pi / grid * 2.0 ** torch.linspace(0, 3, width // 4)
    along = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, width / 2)
    rows, columns = along[:, None].expand(-1, grid, -1), along[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def train(blip: Blip, words: WordPiece, args: argparse.Namespace) -> None:
    """Teach words and hints together; the learning rate warms up and falls to nothing with the time."""
    hints = nn.ModuleDict({name: nn.Linear(blip.sizes.vision_width, len(values)) for name, values in HINTS.items()})
    average = {name: p.detach().clone() for name, p in blip.named_parameters()}
    optimizer = torch.optim.AdamW(
        [*blip.parameters(), *hints.parameters()], lr=args.rate, weight_decay=0.02, fused=True
    )
    rng, stop = random.Random(args.seed), []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    begun, step, shown = time.monotonic(), 0, 0.0
    batches = drawings(rng, args.batch, blip.sizes.side, lambda: said(random_scene(rng, two=0.2)), NAMELESS_SHARE)
    while (share := (time.monotonic() - begun) / (60 * args.minutes)) < 1 and not stop:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 100) * min(1, (1 - share) / 0.6)
        pictures, scenes = next(batches)
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):  # the flash kernel is slow backwards
            tokens = blip.vision(pictures)
            ids, wanted = _sentences(words, scenes, rng)
            logits = blip.text(ids, tokens)
            loss = F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)
            hinted = _hint_loss(hints, tokens.float().mean(1), scenes)
        optimizer.zero_grad(set_to_none=True)
        (loss + HINTS_SHARE * hinted).backward()
        nn.utils.clip_grad_norm_(blip.parameters(), 1.0)
        optimizer.step()
        step += 1
        keep = min(0.998, step / (step + 50))
        for name, parameter in blip.named_parameters():
            average[name].lerp_(parameter.detach(), 1 - keep)
        shown = loss.item() if step == 1 else 0.99 * shown + 0.01 * loss.item()
        if step % 200 == 0:
            rate = step * args.batch / (time.monotonic() - begun)
            right = (logits.argmax(-1) == wanted)[wanted != IGNORED].float().mean().item()
            print(f"{step} loss {shown:.4f} words {right:.3f} hints {hinted.item():.3f} {rate:.0f}/s", flush=True)
    with torch.no_grad():
        for name, parameter in blip.named_parameters():
            parameter.copy_(average[name])


def _sentences(words: WordPiece, scenes: list[Scene], rng: random.Random) -> tuple[Tensor, Tensor]:
    """Input ids (B, T) and what shall follow each, the prompt not counted; nor colours where they have no name."""
    prompt = [words.size, *words.ids(PROMPT)]
    named = [scene if scene.background else _any_colours(scene, rng) for scene in scenes]
    rows = [[*prompt, *words.ids(plain_caption(scene)), words.id_of("[SEP]")] for scene in named]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    wanted = torch.tensor([row + [IGNORED] * (longest - len(row)) for row in rows])
    wanted[:, : len(prompt)] = IGNORED
    colours = torch.tensor([words.id_of(name) for name in {*COLOURS, *BACKGROUNDS}])
    nameless = torch.tensor([not scene.background for scene in scenes])
    wanted[nameless[:, None] & torch.isin(wanted, colours)] = IGNORED
    return ids[:, :-1], wanted[:, 1:]


def _any_colours(scene: Scene, rng: random.Random) -> Scene:
    """Two names at random, to be read and not to be learned."""
    thing = replace(scene.things[0], colour=rng.choice(list(COLOURS)))
    return replace(scene, background=rng.choice(list(BACKGROUNDS)), things=(thing,))


def _hint_loss(hints: nn.ModuleDict, tokens: Tensor, scenes: list[Scene]) -> Tensor:
    """Classify the first thing of the scenes with one thing; those with two only tell the background."""
    total = torch.zeros(())
    for name, values in HINTS.items():
        found = [s.background if name == "background" else getattr(s.things[0], name) for s in scenes]
        alone = [name == "background" or s.arrangement is None for s in scenes]
        wanted = [values.index(f) if f in values and a else IGNORED for f, a in zip(found, alone, strict=True)]
        total = total + F.cross_entropy(hints[name](tokens), torch.tensor(wanted), ignore_index=IGNORED)
    return total


def save(blip: Blip, words: WordPiece, out: Path, vocabulary_path: Path) -> None:
    """Write the weights in the original layout, half precision, and check that they can be read back."""
    names = {ours: theirs for theirs, ours in ORIGINAL.items()}
    state = {str(renamed_by(names, name)): p.detach().half().clone() for name, p in blip.named_parameters()}
    state["text_decoder.cls.predictions.bias"] = state["text_decoder.cls.predictions.decoder.bias"].clone()
    out.parent.mkdir(parents=True, exist_ok=True)
    vocabulary_path.parent.mkdir(parents=True, exist_ok=True)
    vocabulary_path.write_text("\n".join(words.entries) + "\n", encoding="utf-8")
    torch.save({"model": state}, out)
    with open_captioner(out) as file, torch.no_grad():
        found, plan = plan_blip(file)
        assert found == blip.sizes
        fill(Blip(found), file, plan)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
