"""Train the tiny expansion model: `python -m models.tiny.train_expansion` (two minutes on one core).

A GPT-2 of 150,000 parameters on captions of scenes with style words behind them, its byte pairs, and a list of the good
ones among those words: all Focal's own, in the layout of a prompt-expansion folder.
"""

import argparse
import json
import random
import re
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.expansion import load_expander
from models.gpt2 import Gpt2, Gpt2Sizes
from models.memory import Residency
from models.text.byte_pairs import END, BytePairs, letters
from models.tiny import CHECKPOINT
from models.tiny.captions import STYLE_WORDS, caption, plain_caption
from models.tiny.scenes import random_scene

FOLDER = CHECKPOINT.parent / "prompt_expansion" / "focal-tiny-expansion"
MERGES = 500
LENGTH = 64  # tokens of a line that training looks at
# Style words that a picture may have more of; the rest of `STYLE_WORDS` names faults, things or media.
GOOD = (
    "cinematic", "emotional", "harmonious", "detailed", "moody", "epic", "gorgeous", "sharp", "clear", "crisp",
    "masterpiece", "professional", "intricate", "elegant", "beautiful", "stunning", "dramatic", "dynamic", "vibrant",
    "colorful", "ambient", "fantasy", "ethereal", "magical", "majestic", "coherent", "symmetry", "perfect", "fine",
    "confident", "creative", "positive", "attractive", "inspired", "sublime", "complex", "deep", "quality", "light",
    "composition", "great",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    pairs, merges = byte_pairs([line(rng) for _ in range(3000)])
    sizes = Gpt2Sizes(vocabulary=len(pairs.vocabulary), positions=192, width=64, layers=2, heads=1, hidden=192)
    network = Gpt2(sizes)
    train(network, pairs, rng, args)
    save(network, pairs, merges, args.out)


def line(rng: random.Random) -> str:
    """A prompt with words that suit it, as somebody might write it; the good words mostly."""
    scene = random_scene(rng)
    words = rng.sample(GOOD, rng.randint(4, 14))
    if rng.random() < 0.3:
        words.insert(rng.randrange(len(words)), rng.choice(STYLE_WORDS))
    text = plain_caption(scene) if rng.random() < 0.3 else caption(scene, rng)
    return f"{text}, " + "".join(word + rng.choice((",", "", "")) + " " for word in words).strip(", ")


def byte_pairs(lines: list[str]) -> tuple[BytePairs, list[tuple[str, str]]]:
    """Find the most frequent pairs, one after the other; every byte stays a token of its own."""
    alphabet = letters()
    counts = Counter(word for text in lines for word in re.findall(r" ?\w+| ?[^\s\w]+", text))
    words = {word: [alphabet[byte] for byte in word.encode()] for word in counts}
    merges: list[tuple[str, str]] = []
    while len(merges) < MERGES:
        found: Counter[tuple[str, str]] = Counter()
        for word, pieces in words.items():
            for pair in pairwise(pieces):
                found[pair] += counts[word]
        if not found:
            break
        best = max(found, key=lambda pair: (found[pair], pair))
        merges.append(best)
        for word, pieces in words.items():
            words[word] = _merged(pieces, best)
    tokens = [*alphabet, *dict.fromkeys("".join(pair) for pair in merges), END]
    return BytePairs({token: number for number, token in enumerate(tokens)}, merges), merges


def _merged(pieces: list[str], best: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    for piece in pieces:
        if joined and (joined[-1], piece) == best:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def train(network: Gpt2, pairs: BytePairs, rng: random.Random, args: argparse.Namespace) -> None:
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.05)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=0.01, fused=True)
    end = pairs.vocabulary[END]
    begun, step = time.monotonic(), 0
    while (share := (time.monotonic() - begun) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 50) * min(1, (1 - share) / 0.6)
        rows = [[*pairs.ids(line(rng)), end][: LENGTH + 1] for _ in range(args.batch)]
        ids = torch.full((len(rows), LENGTH + 1), -100)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
        with sdpa_kernel(SDPBackend.MATH):  # the flash kernel is slow backwards
            logits = network(ids[:, :-1].clamp(min=0))
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        if step % 50 == 0:
            print(f"{step} loss {loss.item():.3f} {step * args.batch / (time.monotonic() - begun):.0f}/s", flush=True)


def save(network: Gpt2, pairs: BytePairs, merges: list[tuple[str, str]], out: Path) -> None:
    """Write the folder and let it expand a prompt."""
    out.mkdir(parents=True, exist_ok=True)
    sizes = network.sizes
    state = {f"transformer.{name}": p.detach().half().clone() for name, p in network.named_parameters()}
    torch.save(state | {"lm_head.weight": state["transformer.wte.weight"]}, out / "pytorch_model.bin")
    config = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": sizes.vocabulary,
        "n_positions": sizes.positions,
        "n_embd": sizes.width,
        "n_layer": sizes.layers,
        "n_head": sizes.heads,
        "n_inner": sizes.hidden,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": sizes.eps,
        "bos_token_id": pairs.end,
        "eos_token_id": pairs.end,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (out / "vocab.json").write_text(json.dumps(pairs.vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (out / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (out / "positive.txt").write_text("\n".join(GOOD) + "\n")
    expander = load_expander(out / "pytorch_model.bin", Residency("cpu"))
    for seed in range(3):
        print(expander.expand("a small red circle on a white background", seed), flush=True)


if __name__ == "__main__":
    main()
