"""Prompts to conditioning, as Fooocus does it and as ComfyUI does it.

A text becomes chunks of 77 tokens; each chunk passes both encoders; hidden states of L and G lie side by side, chunks
one after the other. The two differ in how a weight acts and in what a prompt is (fooocus-behaviour §2.9, graph-protocol
g.4).
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from models.clip import Replacement
from models.errors import ModelError
from models.sdxl import Clip, encode_tokens
from models.text.embeddings import PREFIX, Embeddings
from models.text.prompt import Chunk, TokenGroup, Word, pack, weighted_words
from models.text.tokenizer import CONTEXT, END, token_ids

Which = Literal["l", "g"]

Conditioning = list[list[Any]]
"""ComfyUI's CONDITIONING: pairs of a context (1, T, C) and a dict with `pooled_output` (1, P) and other facts."""

PADDING: dict[Which, int] = {"l": END, "g": 0}
MAX_CHUNKS = 1024  # of one conditioning; the longest sensible prompts have ten, all of Fooocus' styles together 300
ROWS_AT_ONCE = 64  # chunks in one batch: bounds the memory that a long prompt takes


class PromptTooLong(ModelError):
    """More text than any model can follow; refused before it takes the memory of one that can."""

    code = "prompt_too_long"


class _Encoded(NamedTuple):
    """One text through one encoder: hidden (77 * chunks, C) float32, pooled (P,) of its first chunk."""

    hidden: Tensor
    pooled: Tensor | None


def encode_fooocus(clip: Clip, texts: Sequence[str], pooled_top_k: int = 1) -> Conditioning:
    """Encode texts one by one and lay them end to end; their chunks keep the mean that they had before weighting.

    The pooled vector is the sum, not the mean, of the first pooled_top_k texts' own.
    """
    encoded = [_encode(clip, which, texts, keep_mean=True) for which in clip.encoders]
    context = torch.cat([_side_by_side(parts) for parts in zip(*encoded, strict=True)])
    pooled = [part.pooled for part in encoded[-1][: max(pooled_top_k, 1)] if part.pooled is not None]
    return [[context[None], {"pooled_output": torch.stack(pooled).sum(dim=0)[None]} if pooled else {}]]


def encode_comfy(clip: Clip, text: str) -> Conditioning:
    """Encode one text; a weight scales a token's distance from the empty prompt."""
    return encode_comfy_pair(clip, text, text)


def encode_comfy_pair(clip: Clip, text_l: str, text_g: str, **facts: Any) -> Conditioning:
    """Encode a text for each encoder, the shorter filled up with empty chunks; facts join the conditioning's dict.

    A family with one encoder reads only that one's text.
    """
    texts: dict[Which, str] = {"l": text_l, "g": text_g}
    chunks = 1
    if text_l != text_g:
        embeddings = Embeddings(clip.embeddings_dirs)
        chunks = max(len(_chunks(clip, which, texts[which], embeddings)) for which in clip.encoders)
    encoded = [_encode(clip, which, [texts[which]], keep_mean=False, at_least=chunks)[0] for which in clip.encoders]
    pooled = encoded[-1].pooled
    return [[_side_by_side(encoded)[None], ({} if pooled is None else {"pooled_output": pooled[None]}) | facts]]


def _encode(clip: Clip, which: Which, texts: Sequence[str], *, keep_mean: bool, at_least: int = 1) -> list[_Encoded]:
    """Pass all chunks of all texts through one encoder."""
    embeddings = Embeddings(clip.embeddings_dirs)
    per_text = [_chunks(clip, which, text, embeddings, at_least) for text in texts]
    rows = [chunk for chunks in per_text for chunk in chunks]
    weighted = any(weight != 1.0 for chunk in rows for weight in chunk.weights)
    if weighted:
        rows.append(*pack([], PADDING[which]))  # the empty prompt, from which weights measure
    hidden, pooled = _run(clip, which, rows)
    encoded, start = [], 0
    for chunks in per_text:
        own = hidden[start : start + len(chunks)]
        if any(weight != 1.0 for chunk in chunks for weight in chunk.weights):
            weights = torch.tensor([chunk.weights for chunk in chunks]).to(own)
            own = _weigh(own, hidden[-1], weights, keep_mean)
        encoded.append(_Encoded(own.flatten(0, 1), None if pooled is None else pooled[start]))
        start += len(chunks)
    return encoded


def _run(clip: Clip, which: Which, rows: Sequence[Chunk]) -> tuple[Tensor, Tensor | None]:
    """Return hidden (rows, 77, C) and pooled (rows, P)."""
    if len(rows) > MAX_CHUNKS:
        raise PromptTooLong(
            f"The prompt fills {len(rows)} chunks of {CONTEXT} tokens.", f"Up to {MAX_CHUNKS} are encoded: shorten it."
        )
    batches = [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)]
    outputs = [encode_tokens(clip, _ids(batch), which, _replacements(batch)) for batch in batches]
    pooled = [out.pooled for out in outputs if out.pooled is not None]
    return torch.cat([out.hidden for out in outputs]), torch.cat(pooled) if pooled else None


def _ids(rows: Sequence[Chunk]) -> list[list[int]]:
    """Return the token ids, 0 where a vector takes a token's place."""
    return [[token if isinstance(token, int) else 0 for token in chunk.tokens] for chunk in rows]


def _replacements(rows: Sequence[Chunk]) -> list[Replacement]:
    return [
        Replacement(row, position, token)
        for row, chunk in enumerate(rows)
        for position, token in enumerate(chunk.tokens)
        if not isinstance(token, int)
    ]


def _weigh(hidden: Tensor, empty: Tensor, weights: Tensor, keep_mean: bool) -> Tensor:
    """Move each token to `weight` times its distance from the empty prompt's token at that place.

    hidden (n, 77, C), empty (77, C), weights (n, 77). keep_mean scales each chunk back to the mean it had (Fooocus).
    """
    moved = empty + weights[..., None] * (hidden - empty)
    weighted = torch.where((weights != 1.0)[..., None], moved, hidden)
    if not keep_mean:
        return weighted
    scale = hidden.mean(dim=(1, 2), keepdim=True) / weighted.mean(dim=(1, 2), keepdim=True)
    return weighted * scale


def _chunks(clip: Clip, which: Which, text: str, embeddings: Embeddings, at_least: int = 1) -> list[Chunk]:
    pad = PADDING[which]
    width = (clip.l if which == "l" else clip.g).sizes.width
    chunks = pack([group for word in weighted_words(text) for group in _groups(word, which, width, embeddings)], pad)
    return chunks + pack([], pad) * (at_least - len(chunks))


def _groups(word: Word, which: Which, width: int, embeddings: Embeddings) -> list[TokenGroup]:
    """Return the tokens of a word, or the vectors of the embedding it names and what punctuation is left of it."""
    if not word.text.startswith(PREFIX):
        return [TokenGroup(token_ids(word.text), word.weight)]
    vectors, left_over = embeddings.vectors(word.text, which, width)
    groups = [] if vectors is None else [TokenGroup(list(vectors), word.weight)]
    return [*groups, TokenGroup(token_ids(left_over), word.weight)] if left_over else groups


def _side_by_side(parts: Sequence[_Encoded]) -> Tensor:
    """Join (T, L) and (T, G); T differs only where an embedding speaks to one encoder, then the shorter counts."""
    tokens = min(len(part.hidden) for part in parts)
    return torch.cat([part.hidden[:tokens] for part in parts], dim=-1)
