"""Prompts to conditioning, as Fooocus does it and as ComfyUI does it.

A text becomes chunks of 77 tokens; each chunk passes both encoders; hidden states of L and G lie side by side, chunks one
after the other. The two differ in how a weight acts and in what a prompt is (fooocus-behaviour §2.9, graph-protocol g.4).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from models.clip import Replacement, TextEncoder
from models.text.embeddings import PREFIX, Embeddings
from models.text.prompt import Chunk, TokenGroup, Word, pack, weighted_words
from models.text.tokenizer import END, token_ids

if TYPE_CHECKING:
    from models.sdxl import Clip

Conditioning = list[list[Any]]
"""ComfyUI's CONDITIONING: pairs of a context (1, T, C) and a dict with `pooled_output` (1, P) and other facts."""

PADDING = {"l": END, "g": 0}


class _Encoded(NamedTuple):
    """One text through one encoder: hidden (77 * chunks, C) float32, pooled (P,) of its first chunk."""

    hidden: Tensor
    pooled: Tensor | None


def encode_fooocus(clip: "Clip", texts: Sequence[str], pooled_top_k: int = 1) -> Conditioning:
    """Encode texts one by one and lay them end to end; their chunks keep the mean that they had before weighting.

    The pooled vector is the sum, not the mean, of the first pooled_top_k texts' own.
    """
    encoded_l = _encode(clip, "l", texts, keep_mean=True)
    encoded_g = _encode(clip, "g", texts, keep_mean=True)
    context = torch.cat([_side_by_side(a.hidden, b.hidden) for a, b in zip(encoded_l, encoded_g, strict=True)])
    pooled = torch.stack([_pooled(text) for text in encoded_g[: max(pooled_top_k, 1)]]).sum(dim=0)
    return [[context[None], {"pooled_output": pooled[None]}]]


def encode_comfy(clip: "Clip", text: str) -> Conditioning:
    """Encode one text; a weight scales a token's distance from the empty prompt."""
    return encode_comfy_pair(clip, text, text)


def encode_comfy_pair(clip: "Clip", text_l: str, text_g: str, **facts: Any) -> Conditioning:
    """Encode a text for each encoder, the shorter filled up with empty chunks; facts join the conditioning's dict."""
    chunks = max(_chunk_count(clip, "l", text_l), _chunk_count(clip, "g", text_g)) if text_l != text_g else 1
    (encoded_l,) = _encode(clip, "l", [text_l], keep_mean=False, at_least=chunks)
    (encoded_g,) = _encode(clip, "g", [text_g], keep_mean=False, at_least=chunks)
    context = _side_by_side(encoded_l.hidden, encoded_g.hidden)
    return [[context[None], {"pooled_output": _pooled(encoded_g)[None], **facts}]]


def _encode(
    clip: "Clip", name: str, texts: Sequence[str], *, keep_mean: bool, at_least: int = 1
) -> list[_Encoded]:
    """Pass all chunks of all texts through one encoder in one batch."""
    resident = clip.l if name == "l" else clip.g
    embeddings = Embeddings(clip.embeddings_dirs)
    with resident.use(loras=clip.loras) as module:
        per_text = [_chunks(text, name, module.sizes.width, embeddings, at_least) for text in texts]
        rows = [chunk for chunks in per_text for chunk in chunks]
        weighted = any(weight != 1.0 for chunk in rows for weight in chunk.weights)
        if weighted:
            rows.append(*pack([], PADDING[name]))  # the empty prompt, from which weights measure
        hidden, pooled = _run(module, rows, clip.clip_skip)
    empty = hidden[-1] if weighted else None
    encoded, start = [], 0
    for chunks in per_text:
        own = hidden[start : start + len(chunks)]
        if empty is not None:
            own = _weigh(own, empty, torch.tensor([chunk.weights for chunk in chunks]).to(own), keep_mean)
        encoded.append(_Encoded(own.flatten(0, 1), None if pooled is None else pooled[start]))
        start += len(chunks)
    return encoded


def _run(module: TextEncoder, rows: Sequence[Chunk], skip: int) -> tuple[Tensor, Tensor | None]:
    """Return hidden (rows, 77, C) and pooled (rows, P), both float32."""
    ids = torch.zeros(len(rows), len(rows[0].tokens), dtype=torch.long)
    replacements = []
    for row, chunk in enumerate(rows):
        for position, token in enumerate(chunk.tokens):
            if isinstance(token, int):
                ids[row, position] = token
            else:
                replacements.append(Replacement(row, position, token))
    device = module.final_layer_norm.weight.device
    out = module(ids.to(device), skip=skip, replacements=replacements)
    return out.hidden.float(), None if out.pooled is None else out.pooled.float()


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


def _chunks(text: str, name: str, width: int, embeddings: Embeddings, at_least: int = 1) -> list[Chunk]:
    pad = PADDING[name]
    groups = [group for word in weighted_words(text) for group in _groups(word, name, width, embeddings)]
    chunks = pack(groups, pad)
    return chunks + pack([], pad) * (at_least - len(chunks))


def _groups(word: Word, name: str, width: int, embeddings: Embeddings) -> list[TokenGroup]:
    """Return the tokens of a word, or the vectors of the embedding it names and what punctuation is left of it."""
    if not word.text.startswith(PREFIX):
        return [TokenGroup(token_ids(word.text), word.weight)]
    vectors, left_over = embeddings.vectors(word.text, name, width)
    groups = [] if vectors is None else [TokenGroup(list(vectors), word.weight)]
    return [*groups, TokenGroup(token_ids(left_over), word.weight)] if left_over else groups


def _chunk_count(clip: "Clip", name: str, text: str) -> int:
    resident = clip.l if name == "l" else clip.g
    with resident.use(loras=clip.loras) as module:
        return len(_chunks(text, name, module.sizes.width, Embeddings(clip.embeddings_dirs)))


def _side_by_side(hidden_l: Tensor, hidden_g: Tensor) -> Tensor:
    """Join (T, L) and (T, G); T differs only where an embedding speaks to one encoder, then the shorter counts."""
    tokens = min(len(hidden_l), len(hidden_g))
    return torch.cat([hidden_l[:tokens], hidden_g[:tokens].to(hidden_l.device)], dim=-1)


def _pooled(encoded: _Encoded) -> Tensor:
    assert encoded.pooled is not None, "the second text encoder has no projection"
    return encoded.pooled
