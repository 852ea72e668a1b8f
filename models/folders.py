"""Where model files live: ComfyUI's and Fooocus' folder names, several roots, names to paths, hashes. No torch.

A name is what a client sends: the path below a kind's folder, with "/". Names are looked up in what a walk of the
folders finds and never joined to a path, so no text from outside can lead out of them.
"""

import difflib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.errors import ModelError

KINDS: dict[str, tuple[str, ...]] = {
    "checkpoints": ("checkpoints",),
    "loras": ("loras",),
    "vae": ("vae",),
    "embeddings": ("embeddings",),
    "controlnet": ("controlnet", "t2i_adapter"),
    "clip_vision": ("clip_vision",),
    "upscale_models": ("upscale_models",),
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("diffusion_models", "unet"),
    "inpaint": ("inpaint",),
    "vae_approx": ("vae_approx",),
    "style_models": ("style_models",),
    "ipadapter": ("ipadapter",),
    "hypernetworks": ("hypernetworks",),
    "gligen": ("gligen",),
    "photomaker": ("photomaker",),
    "prompt_expansion": ("prompt_expansion",),
    "safety_checker": ("safety_checker",),
    "sam": ("sam",),
}
ALIASES = {"clip": "text_encoders", "unet": "diffusion_models", "t2i_adapter": "controlnet"}
EXTENSIONS = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".onnx", ".fooocus.patch")
"""Also the pickle formats: asked for, they get an error that says why they are refused, not "no such file"."""
BESIDE: dict[str, tuple[str, ...]] = {
    "clip_vision": (".csv", ".txt"),
    "inpaint": (".txt",),
    "prompt_expansion": (".json", ".txt"),
}
"""Endings of files that stand beside weights: vocabularies, tables of tags, configurations."""

TINY_CHECKPOINT = Path(__file__).parent / "tiny" / "checkpoints" / "focal-tiny-sdxl.safetensors"
TINY_UPSCALER = TINY_CHECKPOINT.with_name("focal-tiny-upscaler-4x.safetensors")
EMBEDDED = TINY_CHECKPOINT.parent
"""The tiny models of the repository: `EMBEDDED/<kind>/<file>`, searched after every other folder."""

_HASHES_FILE = "model_hashes.json"
_READ_BYTES = 1 << 20


class ModelNotFound(ModelError):
    """A name that no folder of its kind holds."""

    code = "model_not_found"


class BadFoldersFile(ModelError):
    """An extra_model_paths.yaml that cannot be used."""

    code = "bad_folders_file"


class ModelFolders:
    """The folders of each kind, first root first.

    roots: folders that hold `checkpoints/`, `loras/` and so on. extra: further folders by kind, as read_extra_paths
    gives them. cache_dir: where hashes are kept; None keeps them in memory. The embedded models, `tiny_checkpoint`,
    `tiny_upscaler` and all below `tiny_models`, are always listed last.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        extra: Mapping[str, Sequence[Path]] | None = None,
        cache_dir: Path | None = None,
        tiny_checkpoint: Path | None = TINY_CHECKPOINT,
        tiny_upscaler: Path | None = TINY_UPSCALER,
        tiny_models: Path | None = EMBEDDED,
    ) -> None:
        self._folders = {kind: [root / name for root in roots for name in names] for kind, names in KINDS.items()}
        for kind, folders in (extra or {}).items():
            own = self._folders.setdefault(ALIASES.get(kind, kind), [])
            own += [folder for folder in folders if folder not in own]
        embedded = {"checkpoints": tiny_checkpoint, "upscale_models": tiny_upscaler}
        self._embedded = {kind: path for kind, path in embedded.items() if path is not None}
        self._tiny_models = tiny_models
        self._hashes = _HashCache(cache_dir / _HASHES_FILE if cache_dir else None)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of all kinds of model file."""
        return tuple(self._folders)

    def folders(self, kind: str) -> tuple[Path, ...]:
        """Return the folders of a kind that exist, in the order in which they are searched."""
        return tuple(folder for folder in self.searched(kind) if folder.is_dir())

    def searched(self, kind: str) -> tuple[Path, ...]:
        """Return every folder of a kind, also those that do not exist yet. Raises ModelNotFound for an unknown kind."""
        try:
            return tuple(self._folders[ALIASES.get(kind, kind)])
        except KeyError:
            raise ModelNotFound(
                f"There is no kind of model called {kind!r}.", f"Kinds: {', '.join(self.kinds)}."
            ) from None

    def list(self, kind: str) -> "list[str]":
        """Return the names of a kind's files, sorted without regard to case; the embedded one comes last."""
        found, embedded = self._files(kind), self._embedded_files(kind)
        return sorted(found, key=lambda name: (found[name] == embedded.get(name), name.casefold(), name))

    def beside(self, kind: str) -> "list[str]":
        """Return the names of the files of a kind that are no weights but belong to some: vocabularies and the like."""
        return sorted(self._files(kind, BESIDE.get(ALIASES.get(kind, kind), ())))

    def path(self, kind: str, name: str) -> Path:
        """Return the file behind a name. Raises ModelNotFound with the folders searched and the nearest names."""
        found = self._files(kind, EXTENSIONS + BESIDE.get(ALIASES.get(kind, kind), ()))
        path = found.get(name.replace("\\", "/"))
        if path is None:
            raise ModelNotFound(f"There is no {name[:200]!r} among {kind}.", self._advice(kind, name, list(found)))
        return path

    def sha256(self, path: Path) -> str:
        """Return a file's SHA-256 in hex; computed once for a file of this size and time of change."""
        return self._hashes.sha256(path)

    def short_hash(self, kind: str, name: str) -> str:
        """Return the first 10 hex digits of a file's SHA-256, as metadata writes it."""
        return self.sha256(self.path(kind, name))[:10]

    def _files(self, kind: str, endings: tuple[str, ...] = EXTENSIONS) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in self.folders(kind):
            for name, path in _walk(folder, endings):
                found.setdefault(name, path)
        return self._embedded_files(kind, endings) | found

    def _embedded_files(self, kind: str, endings: tuple[str, ...] = EXTENSIONS) -> dict[str, Path]:
        found = dict(_walk(self._tiny_models / kind, endings)) if self._tiny_models else {}
        embedded = self._embedded.get(ALIASES.get(kind, kind))
        if embedded is not None and embedded.is_file() and embedded.name.endswith(endings):
            found[embedded.name] = embedded
        return found

    def _advice(self, kind: str, name: str, known: Sequence[str]) -> str:
        searched = ", ".join(str(folder) for folder in self.searched(kind))
        near = nearest(name, known)
        guess = f"Did you mean {' or '.join(near)}? " if near else ""
        return f"{guess}Folders searched: {searched}."


def nearest(name: str, known: Sequence[str], count: int = 3) -> list[str]:
    """Return the known names most like a name: in another folder, with another ending, or mistyped."""

    def stem(text: str) -> str:
        return text.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0].casefold()

    by_stem: dict[str, list[str]] = {}
    for candidate in known:
        by_stem.setdefault(stem(candidate), []).append(candidate)
    close = difflib.get_close_matches(stem(name[:200]), by_stem, n=count, cutoff=0.6)
    return [candidate for match in close for candidate in by_stem[match]][:count]


def read_extra_paths(file: Path) -> dict[str, list[Path]]:
    """Read folders by kind from a file in the format of ComfyUI's extra_model_paths.yaml.

    Each section may have `base_path` and `is_default` (its folders come first); a value may have several lines.
    Relative paths count from the file's own folder. Raises BadFoldersFile.
    """
    import yaml

    try:
        sections = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as fault:
        raise BadFoldersFile(
            f"{file} cannot be read: {fault}.", "Correct the file or take it out of the settings."
        ) from fault
    if not isinstance(sections, dict) or not all(isinstance(section, dict | None) for section in sections.values()):
        raise BadFoldersFile(f"{file}: sections of `kind: folder` lines are expected.", "See ComfyUI's example file.")
    folders: dict[str, list[Path]] = {}
    for section in filter(None, sections.values()):
        first = bool(section.get("is_default", False))
        base = file.resolve().parent / _expanded(section.get("base_path") or "")
        for kind, value in section.items():
            if kind in ("base_path", "is_default"):
                continue
            lines = [base / _expanded(line.strip()) for line in str(value or "").splitlines() if line.strip()]
            own = folders.setdefault(ALIASES.get(str(kind), str(kind)), [])
            own[:] = lines + own if first else own + lines
    return folders


def _expanded(text: Any) -> Path:
    return Path(os.path.expanduser(os.path.expandvars(str(text))))


def _walk(folder: Path, endings: tuple[str, ...] = EXTENSIONS) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each model file below a folder: the files with one of these endings.

    Links are followed, wherever they lead: who may write into a model folder decides what is served, and a link into a
    hub cache or onto another disk is how many keep large files. No folder is entered twice: links may form circles.
    """
    entered: set[Path] = set()
    for parent, inner, files in os.walk(folder, followlinks=True):
        real = Path(parent).resolve()
        if real in entered:
            inner.clear()
            continue
        entered.add(real)
        for file in files:
            path = Path(parent, file)
            if endings and file.lower().endswith(endings) and path.is_file():
                yield path.relative_to(folder).as_posix(), path


class _HashCache:
    """SHA-256 by path, size and time of change, kept in one JSON file."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[str, list[Any]] = self._load()

    def sha256(self, path: Path) -> str:
        stat = path.stat()
        identity = [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(str(path))
        if known is not None and known[:2] == identity:
            return known[2]
        with path.open("rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(_READ_BYTES):
                digest.update(block)
        self._known = self._load() | self._known | {str(path): [*identity, digest.hexdigest()]}
        self._save()
        return digest.hexdigest()

    def _load(self) -> dict[str, list[Any]]:
        if self._file is None or not self._file.is_file():
            return {}
        try:
            known = json.loads(self._file.read_bytes())
        except ValueError:
            return {}  # a damaged cache costs time, never an answer
        if not isinstance(known, dict):
            return {}
        return {path: entry for path, entry in known.items() if isinstance(entry, list) and len(entry) == 3}

    def _save(self) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(self._known, indent=0), encoding="utf-8")
        temporary.replace(self._file)
