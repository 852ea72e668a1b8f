"""Pictures on their way in and out."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

Source = str | Path | bytes
"""A picture to send: a file (path), its bytes, or an http(s) address or data URI (text)."""


def as_text(source: Source) -> str:
    """What a JSON field takes: an address stays one, the rest becomes base64. Raises OSError for a missing file."""
    if isinstance(source, str) and source.startswith(("http://", "https://", "data:")):
        return source
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class Picture:
    """One result. data: the bytes of the file that the server stored. url: where it can be had again."""

    data: bytes
    url: str
    seed: int

    def save(self, path: str | Path) -> Path:
        """Write the bytes as they are; choose the format with `save_extension`."""
        path = Path(path)
        path.write_bytes(self.data)
        return path


class Pictures(Sequence[Picture]):
    """The results of one job, in order."""

    def __init__(self, job_id: str, pictures: Sequence[Picture]) -> None:
        self.job_id = job_id
        self._pictures = tuple(pictures)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | Sequence[Picture]:
        return self._pictures[index]

    def __len__(self) -> int:
        return len(self._pictures)

    def save(self, path: str | Path) -> list[Path]:
        """Write one picture to `path`, several to `stem-0.ext`, `stem-1.ext` and so on beside it."""
        path = Path(path)
        if len(self) == 1:
            return [self[0].save(path)]
        return [picture.save(path.with_stem(f"{path.stem}-{index}")) for index, picture in enumerate(self)]
