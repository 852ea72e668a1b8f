"""From captions to token ids and contexts, as SDXL's two text encoders want them."""

import gzip
import itertools
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from models.tiny.architecture import TOKENS, VOCABULARY

START, END = 49406, 49407
MERGES = Path(__file__).parents[1] / "text" / "data" / "bpe_simple_vocab_16e6.txt.gz"


@cache
def tokenizer() -> CLIPTokenizer:
    """Build CLIP's tokenizer from its published merges file, offline."""
    lines = gzip.decompress(MERGES.read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : VOCABULARY - 2 * 256 - 2 + 1]]
    characters = list(_byte_characters())
    words = characters + [c + "</w>" for c in characters] + ["".join(m) for m in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=merges, pad_token="<|endoftext|>")  # noqa: S106  # pyright: ignore[reportArgumentType]


def _byte_characters() -> list[str]:
    """List CLIP's printable stand-ins for the 256 bytes, in vocabulary order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]


def tokenize(
    texts: Sequence[str], noise: float = 0.0, rng: random.Random | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids (N, 77) for L (padded with the end token) and for G (padded with 0).

    noise: the share of texts that get one to six random vocabulary tokens before or after their own.
    """
    rows = tokenizer()(list(texts), add_special_tokens=False, truncation=False)["input_ids"]
    if noise and rng:
        rows = [_with_noise(row, rng) if rng.random() < noise else row for row in rows]
    rows = [[START, *row[: TOKENS - 2], END] for row in rows]
    pad = [list(itertools.repeat(END, TOKENS - len(row))) for row in rows]
    ids_l = torch.tensor([row + p for row, p in zip(rows, pad, strict=True)])
    ids_g = torch.tensor([row + [0] * len(p) for row, p in zip(rows, pad, strict=True)])
    return ids_l, ids_g


def _with_noise(row: list[int], rng: random.Random) -> list[int]:
    extra = [rng.randrange(256, START) for _ in range(rng.randint(1, 6))]
    cut = rng.randint(0, len(extra))
    return extra[:cut] + row + extra[cut:]


def encode(
    text_l: CLIPTextModel,
    text_g: CLIPTextModelWithProjection,
    ids_l: torch.Tensor,
    ids_g: torch.Tensor,
    chunks: int = 1,
    pooled_chunks: int = 1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the context (B, 77·chunks, L+G) and the pooled vector (B, G), the sum over the first `pooled_chunks`.

    ids: (B·chunks, 77), a prompt's chunks one after the other.
    """
    out_l = text_l(ids_l, output_hidden_states=True)
    out_g = text_g(ids_g, output_hidden_states=True)
    context = torch.cat([out_l.hidden_states[-2], out_g.hidden_states[-2]], dim=-1)
    pooled = out_g.text_embeds.unflatten(0, (-1, chunks))[:, :pooled_chunks].sum(1)
    return context.reshape(len(ids_l) // chunks, chunks * TOKENS, -1), pooled
