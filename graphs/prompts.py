"""Prompt text before styles: lines, LoRA tokens, arrays (Fooocus behaviour §2.1, §2.2, §2.4). Pure text."""

import re
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import PurePath

from graphs.request import Lora

_LORA = re.compile(r"<lora:([^:]+):([+-]?(?:\d+(?:\.\d*)?|\.\d+))>")


def clean_line(line: str) -> str:
    """Collapse runs of spaces and strip commas, full stops and white space from both ends."""
    return re.sub(" +", " ", line).strip(",. \r\n")


def split_lines(text: str) -> tuple[str, list[str]]:
    """Split a prompt into its main line and its extra lines, cleaned, without empty ones."""
    main, *extra = [cleaned for line in text.splitlines() if (cleaned := clean_line(line))] or [""]
    return main, extra


def normalise_commas(line: str) -> str:
    """Write a comma-separated line with one comma and one space between its non-empty parts."""
    parts = (re.sub(" +", " ", part).strip() for part in line.split(","))
    return ", ".join(part for part in parts if part)


def stem(file_name: str) -> str:
    """`folder/name.safetensors` → `name`, with either kind of slash."""
    return PurePath(file_name.replace("\\", "/")).stem


def take_lora_tokens(
    line: str, chosen: Sequence[Lora], available: Iterable[str], limit: int
) -> tuple[str, list[Lora], list[str]]:
    """Take `<lora:name:weight>` tokens out of a line and add them to the chosen LoRAs.

    available: LoRA file names, in listing order; a token names one by its stem. A LoRA that is chosen already keeps
    its weight. `limit` cuts the list only when a token added something. Malformed tokens stay in the text.
    Returns the normalised line, the LoRAs in order, and the token names that no file answers to.
    """
    files: dict[str, str] = {}
    for name in available:
        files.setdefault(stem(name), name)
    taken = {lora.name for lora in chosen}
    found: list[Lora] = []
    unknown: list[str] = []
    pieces = []
    for piece in line.split(","):
        for name, weight in _LORA.findall(piece):
            file = files.get(name)
            if file is None:
                unknown.append(name)
            elif file not in taken and (token := Lora(file, float(weight))) not in found:
                found.append(token)
        pieces.append(_LORA.sub("", piece))
    loras = [*chosen, *found][:limit] if found else list(chosen)
    return normalise_commas(",".join(pieces)), loras, unknown


def _arrays(line: str) -> Iterator[str]:
    """What stands between `[[` and the next `]]`, left to right; found without backtracking, whatever the text."""
    start = line.find("[[")
    while start >= 0 and (end := line.find("]]", start + 2)) >= 0:
        yield line[start + 2 : end]
        start = line.find("[[", end + 2)


def expand_arrays(line: str, index: int) -> str:
    """Pick one element of every `[[a, b, c]]` for image `index` of a batch; the first array turns fastest.

    Elements are not trimmed, as in Fooocus.
    """
    arrays = [(f"[[{content}]]", content.split(",")) for content in _arrays(line)]
    if not arrays:
        return line
    digit = index % prod(len(elements) for _, elements in arrays)
    for placeholder, elements in arrays:
        digit, choice = divmod(digit, len(elements))
        line = line.replace(placeholder, elements[choice], 1)
    return line
