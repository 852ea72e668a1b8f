"""A captioner as a value: the CAPTIONER socket, how it is read from a file, and a picture put into words."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.describe.blip import Blip, Seen
from models.describe.formats import open_captioner, plan_blip
from models.describe.sampling import draw, nucleus, penalised
from models.errors import BadModelFile
from models.formats.plan import check_plan, fill
from models.memory import Loader, Residency, Resident
from models.text.wordpiece import SEPARATOR, WordPiece, read_vocabulary
from models.vision.clip_vision import DEVIATION, MEAN

PROMPT = "a picture of"  # what the decoder is given to begin with; it is not part of the answer
TOP_P = 0.9
SHORTEST, LONGEST = 10, 75  # tokens, the prompt's among them
REPETITION_PENALTY = 1.1
DECODER_START = "[DEC]"  # BLIP's own entry behind BERT's vocabulary


@dataclass(frozen=True)
class Captioner:
    """BLIP with its vocabulary."""

    module: Resident
    words: WordPiece

    def describe(self, image: Tensor) -> str:
        """Say what a picture (H, W, 3), 0..1, shows. The same picture gives the same words."""
        generator = torch.Generator().manual_seed(content_seed(image))
        with torch.inference_mode(), self.module.use() as blip:
            like = next(blip.parameters())
            tokens = blip.vision(prepared(image, self.module.sizes.side).to(like.device, like.dtype))
            ids = generate(blip, tokens, self.words, generator)
        return self.words.text(ids)


def load_captioner(path: str | Path, vocabulary: Path, residency: Residency) -> Captioner:
    """Open a captioner's file and its vocabulary; the weights are read at the first use. Raises BadModelFile."""
    path = Path(path)
    words = read_vocabulary(vocabulary)
    with open_captioner(path) as file:
        sizes, plan = plan_blip(file)
        if not words.size <= sizes.vocabulary <= words.size + 2:
            fault = f"has {words.size} entries, the captioner {sizes.vocabulary - 2}"
            raise BadModelFile(vocabulary, fault, "Put the vocabulary of this captioner beside it.")
        status = path.stat()
        key = (str(path.resolve()), status.st_size, status.st_mtime_ns, "captioner")
        resident = residency.load(key, Loader("captioner", lambda: Blip(sizes), _filler(path)))
        check_plan(file, {name: place.shape for name, place in resident.arena.places.items()}, plan)
    return Captioner(resident, words)


def prepared(image: Tensor, side: int) -> Tensor:
    """Stretch a picture (H, W, 3), 0..1, to a square (1, 3, side, side) and normalise it as CLIP's are."""
    pixels = image[..., :3].movedim(-1, 0)[None].float()
    pixels = F.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    return (pixels - mean) / deviation


def content_seed(image: Tensor) -> int:
    """A seed made of the pixels (8 bits each), so that an answer can be had again."""
    content = image.detach().mul(255).round().to(torch.uint8).cpu().contiguous()
    return int.from_bytes(hashlib.sha256(content.numpy().tobytes()).digest()[:8]) >> 1


def generate(blip: Blip, picture: Tensor, words: WordPiece, generator: torch.Generator) -> list[int]:
    """Write the words after the prompt, by nucleus sampling, up to the separator."""
    end = words.id_of(SEPARATOR)
    ids = [words.id_of(DECODER_START, words.size), *words.ids(PROMPT)]
    given = len(ids)
    seen = [Seen() for _ in blip.text.layers]
    new = torch.tensor([ids], device=picture.device)
    longest = min(LONGEST, blip.sizes.positions)
    while len(ids) < longest:
        logits = blip.text(new, picture, seen, start=len(ids) - new.shape[1])[0, -1].float().cpu()
        logits = penalised(logits, ids, REPETITION_PENALTY)
        if len(ids) < SHORTEST:
            logits[end] = -torch.inf
        chosen = draw(nucleus(logits, TOP_P), generator)
        if chosen == end:
            break
        ids.append(chosen)
        new = torch.tensor([[chosen]], device=picture.device)
    return ids[given:]


def _filler(path: Path) -> Callable[[nn.Module], None]:
    def read(module: nn.Module) -> None:
        with open_captioner(path) as file:
            fill(module, file, plan_blip(file)[1])

    return read
