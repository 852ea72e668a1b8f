"""Prompt expansion: a GPT-2 goes on with a prompt, word by word, until the text encoders' chunk is full.

The model is a folder in transformers' format (`pytorch_model.bin` or `model.safetensors`, `config.json`, `vocab.json`,
`merges.txt`) that the user installs. A `positive.txt` in it, one word a line, says which words may be added.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.describe.sampling import draw, nucleus
from models.errors import BadModelFile
from models.formats.pickled import open_either
from models.formats.plan import Plan, Source, check_plan, fill, plan_shapes
from models.formats.weights import WeightFile
from models.gpt2 import Gpt2, Gpt2Sizes, Past
from models.memory import Loader, Residency, Resident
from models.text.byte_pairs import BytePairs, read_byte_pairs
from models.text.tokenizer import CONTEXT, token_ids

PART = "expansion"
CHUNK = CONTEXT - 2  # tokens of a text encoder's chunk, start and end mark aside
TOP_P = 0.95
MOST_WORDS = 10_000  # of a word list
HEAD_WIDTH = 64
TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")

_PREFIX = "transformer."
_HINT = "Prompt expansion takes a folder with a GPT-2 in transformers' format."
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Expander:
    """A GPT-2, its tokenizer, and the words that it may add; None: whatever comes to it."""

    module: Resident
    pairs: BytePairs
    words: Sequence[str] | None

    def expand(self, prompt: str, seed: int) -> str:
        """Return the prompt followed by words that suit it. The same prompt and seed give the same text."""
        prompt = tidied(prompt)
        if not prompt:
            return ""
        generator = torch.Generator().manual_seed(seed % 2**63)
        text, longest = prompt, room(prompt)
        with torch.inference_mode(), self.module.use() as network:
            for longer in grown(network, self.pairs, prompt, self.words, generator):
                if len(token_ids(longer)) > longest:
                    break
                text = longer
        return tidied(text)


def tidied(text: str) -> str:
    """Collapse white space; no commas or full stops at the ends."""
    return re.sub(r"\s+", " ", text).strip(",. ")


def room(prompt: str) -> int:
    """How many of CLIP's tokens a prompt may grow to without another chunk."""
    return -(-max(len(token_ids(prompt)), 1) // CHUNK) * CHUNK


def grown(
    network: Gpt2, pairs: BytePairs, prompt: str, words: Sequence[str] | None, generator: torch.Generator
) -> Iterator[str]:
    """Yield the prompt with ever more behind it, whole words at a time, until nothing may follow."""
    rules = ListedWords(pairs, words, prompt) if words is not None else AnyWords(pairs)
    past: Past = [None] * network.sizes.layers
    new, place = pairs.ids(f"{prompt},")[-network.sizes.positions + 1 :], 0
    added: list[int] = []
    while place + len(new) < network.sizes.positions:
        device = network.wte.weight.device
        logits = network(torch.tensor([new], device=device), past, place)[0, -1].float().cpu()
        allowed = rules.allowed()
        if not allowed:
            yield f"{prompt},{pairs.text(added)}"
            return
        masked = torch.full_like(logits, -torch.inf)
        masked[allowed] = logits[allowed]
        chosen = draw(nucleus(masked, TOP_P), generator)
        if rules.ends_word(chosen):
            yield f"{prompt},{pairs.text(added)}"
        if rules.ends_text(chosen):
            return
        rules.take(chosen)
        added.append(chosen)
        place, new = place + len(new), [chosen]


class AnyWords:
    """Everything may follow but a new line; a word ends where a token begins with a space."""

    def __init__(self, pairs: BytePairs) -> None:
        self._end = pairs.end
        self._starts = {number for number, token in pairs.tokens.items() if token.startswith(("Ġ", ","))}
        self._all = sorted(number for number, token in pairs.tokens.items() if "Ċ" not in token)

    def allowed(self) -> list[int]:
        return self._all

    def ends_word(self, token: int) -> bool:
        return token in self._starts or token == self._end

    def ends_text(self, token: int) -> bool:
        return token == self._end

    def take(self, token: int) -> None:
        pass


class ListedWords:
    """Only words of a list may follow, each once, and commas between them."""

    def __init__(self, pairs: BytePairs, words: Sequence[str], prompt: str) -> None:
        said = set(_WORD.findall(prompt.lower()))
        self._unused = {ids for word in words if word not in said and (ids := tuple(pairs.ids(f" {word}")))}
        self._comma = next(iter(pairs.ids(",")), None)
        self._word: tuple[int, ...] = ()

    def allowed(self) -> list[int]:
        begun = len(self._word)
        further = {ids[begun] for ids in self._unused if len(ids) > begun and ids[:begun] == self._word}
        if self._word in self._unused:  # it may end here
            further |= {ids[0] for ids in self._unused if ids != self._word}
            further |= {self._comma} if self._comma is not None else set()
        return sorted(further)

    def ends_word(self, token: int) -> bool:
        """Whether the token stands behind a finished word: it does not lead to a longer one."""
        longer = (*self._word, token)
        return self._word in self._unused and not any(ids[: len(longer)] == longer for ids in self._unused)

    def ends_text(self, token: int) -> bool:
        return False

    def take(self, token: int) -> None:
        if self.ends_word(token):
            self._unused.discard(self._word)
            self._word = ()
        if token != self._comma:
            self._word = (*self._word, token)


def load_expander(weights: str | Path, residency: Residency) -> Expander:
    """Open an expansion model by its weights; what belongs to it lies beside them. Raises BadModelFile."""
    weights = Path(weights)
    folder = weights.parent
    pairs = read_byte_pairs(folder / "vocab.json", folder / "merges.txt")
    config = _config(folder / "config.json")
    with open_either(weights) as file:
        sizes, plan = plan_gpt2(file, config)
        if sizes.vocabulary <= max(pairs.tokens, default=0):
            raise BadModelFile(folder / "vocab.json", "belongs to another model", _HINT)
        status = weights.stat()
        key = (str(weights.resolve()), status.st_size, status.st_mtime_ns, PART)
        loader = Loader(PART, lambda: Gpt2(sizes), _filler(weights, config), torch.float32)
        resident = residency.load(key, loader)
        check_plan(file, {name: place.shape for name, place in resident.arena.places.items()}, plan)
    return Expander(resident, pairs, _listed(folder / "positive.txt"))


def plan_gpt2(file: WeightFile, config: dict[str, Any]) -> tuple[Gpt2Sizes, Plan]:
    """Say which tensor fills which parameter of a Gpt2, and how large that is. Raises BadModelFile."""
    plan: Plan = {name.removeprefix(_PREFIX): Source(name) for name in file.tensors if not name.startswith("lm_head")}
    shapes = plan_shapes(file, plan)
    try:
        vocabulary, width = shapes["wte.weight"]
        sizes = Gpt2Sizes(
            vocabulary=vocabulary,
            positions=shapes["wpe.weight"][0],
            width=width,
            layers=len({name.split(".")[1] for name in shapes if name.startswith("h.")}),
            heads=int(config.get("n_head") or max(1, width // HEAD_WIDTH)),
            hidden=shapes["h.0.mlp.c_fc.weight"][1],
            eps=float(config.get("layer_norm_epsilon") or 1e-5),
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise BadModelFile(file.path, "is no GPT-2", _HINT) from error
    if width % sizes.heads or config.get("activation_function", TANH_GELU[0]) not in TANH_GELU:
        raise BadModelFile(file.path, "is a GPT-2 of another make, as its config.json says", _HINT)
    return sizes, plan


def _config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise BadModelFile(path, f"cannot be read ({error})", _HINT) from error
    return content if isinstance(content, dict) else {}


def _listed(path: Path) -> list[str] | None:
    """The words of a list, in lower case; None when there is no list."""
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8").lower().split()
    except (OSError, UnicodeDecodeError) as error:
        raise BadModelFile(path, f"cannot be read ({error})", _HINT) from error
    return list(dict.fromkeys(lines))[:MOST_WORDS]


def _filler(path: Path, config: dict[str, Any]) -> Callable[[nn.Module], None]:
    def read(module: nn.Module) -> None:
        with open_either(path) as file:
            fill(module, file, plan_gpt2(file, config)[1])

    return read
