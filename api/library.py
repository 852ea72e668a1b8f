"""What is installed, as the doors see it: model names, refreshed on demand; styles, wildcards, presets as they are."""

import contextlib
import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio import to_thread

from api.fooocus_config import BadConfig, FooocusConfig, read_fooocus_config
from api.settings import Settings
from engine.errors import FocalError
from graphs.catalog import Catalog, read_texts
from graphs.file_state import State, state_of
from models.errors import ModelError
from models.folders import ModelFolders, read_extra_paths
from models.formats.family import family_of
from models.formats.header import read_header

log = logging.getLogger(__name__)

# Kinds of the files that flows look for by role (graphs.known_files).
CATALOGUED = (
    "controlnet",
    "clip_vision",
    "vae_approx",
    "inpaint",
    "sam",
    "safety_checker",
    "prompt_expansion",
    "loras",
)
HASH_PATIENCE_S = 2.0  # a checkpoint of many gigabytes is hashed behind the first request's back


class BadFolders(FocalError):
    """The extra model folders cannot be read."""


class Library:
    """The model folders and the catalog read from them. `catalog` is a value; `refresh` and `current` replace it.

    extra: model folders beside the first root, by kind.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hashes: dict[tuple[str, str, int], Future[str]] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        self._families: dict[tuple[str, int], str] = {}
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="model-hashes")
        try:
            extra = read_extra_paths(settings.extra_model_paths) if settings.extra_model_paths else None
        except ModelError as error:
            raise BadFolders(error.code, error.message, error.hint) from error
        self.fooocus = _fooocus_config(settings)
        self.extra = {kind: list(paths) for kind, paths in (extra or {}).items()}
        for kind, paths in self.fooocus.folders.items():
            self.extra.setdefault(kind, []).extend(paths)
        self.folders = ModelFolders([settings.models_dir], extra=self.extra, cache_dir=settings.data)
        self._states = self._text_states()
        self.catalog = self._read()

    async def refresh(self) -> Catalog:
        """Look at the folders again."""
        self._paths.clear()
        self._states, self.catalog = await to_thread.run_sync(lambda: (self._text_states(), self._read()))
        return self.catalog

    async def current(self) -> Catalog:
        """The catalog for one request: models as of the last refresh, styles, wildcards and presets as they are now.

        While nothing has changed it costs a look at each of their folders, and at those files that were read.
        """
        if self.catalog.wildcards.changed or any(state_of(path) != state for path, state in self._states.items()):
            states, texts = await to_thread.run_sync(lambda: (self._text_states(), self._read_texts()))
            self._states, self.catalog = states, replace(self.catalog, **texts)
        return self.catalog

    def roots(self) -> list[Path]:
        """Folders that hold checkpoints, in the order in which they are searched."""
        return list(self.folders.folders("checkpoints"))

    def prepare(self) -> None:
        """Begin to compute the hash that most pictures name, so that the first request does not wait for it."""
        if self.catalog.default_checkpoint is not None:
            with contextlib.suppress(ModelError, OSError):
                self._hashing("checkpoints", self.catalog.default_checkpoint)

    def close(self) -> None:
        self._hasher.shutdown(wait=False, cancel_futures=True)

    def hash_of(self, kind: str, name: str) -> str:
        """The first ten hex digits of a file's SHA-256; "" while a large file is still being read. May block."""
        try:
            return self._hashing(kind, name).result(HASH_PATIENCE_S)
        except NotYet:
            log.info("the hash of %s is being computed; this picture's metadata goes without it", name)
        except (ModelError, OSError) as error:
            log.warning("no hash of %s: %s", name, error)
        return ""

    def family_of(self, checkpoint: str) -> str:
        """The family of a checkpoint, told from the names of its tensors; "" for a file that cannot be told."""
        try:
            path = self._path("checkpoints", checkpoint)
            key = (checkpoint, path.stat().st_mtime_ns)
            if key not in self._families:
                family = family_of(read_header(path)[0])
                self._families[key] = family.name if family else ""
        except (ModelError, OSError):
            return ""
        return self._families[key]

    def _hashing(self, kind: str, name: str) -> Future[str]:
        """The hash of a file, computed once, in the background. Raises ModelError or OSError when it is not there."""
        key = (kind, name, self._path(kind, name).stat().st_mtime_ns)
        if key not in self._hashes:
            self._hashes[key] = self._hasher.submit(self.folders.short_hash, kind, name)
        return self._hashes[key]

    def _path(self, kind: str, name: str) -> Path:
        """Where a file lies, found once until the next refresh. Raises ModelError."""
        path = self._paths.get((kind, name)) or self.folders.path(kind, name)
        self._paths[kind, name] = path
        return path

    def _text_states(self) -> dict[Path, State]:
        """The folders of styles, wildcards and presets, and the files of two of them; wildcards know their own."""
        styles, presets, wildcards = (self._settings.data / name for name in ("styles", "presets", "wildcards"))
        roots = [wildcards, *([self.fooocus.wildcards] if self.fooocus.wildcards else [])]
        below = [Path(folder) for root in roots for folder, _, _ in os.walk(root)]
        files = [path for root in (styles, presets) for path in root.glob("*.json")]
        return {path: state_of(path) for path in (styles, presets, *roots, *below, *files)}

    def _read_texts(self) -> dict[str, Any]:
        return read_texts(self._settings.data, self.fooocus.defaults, self.fooocus.wildcards)

    def _read(self) -> Catalog:
        return Catalog.build(
            checkpoints=self.folders.list("checkpoints"),
            loras=self.folders.list("loras"),
            vaes=self.folders.list("vae"),
            embeddings=self.folders.list("embeddings"),
            upscale_models=self.folders.list("upscale_models"),
            inpaint_models=self.folders.list("inpaint"),
            files={kind: [*self.folders.list(kind), *self.folders.beside(kind)] for kind in CATALOGUED},
            data_dir=self._settings.data,
            default_preset=self._settings.preset,
            configured=self.fooocus.defaults,
            overrides=self.fooocus.environment,
            wildcards=self.fooocus.wildcards,
            black_out_nsfw=self.fooocus.switch("default_black_out_nsfw"),
            write_metadata=not self._settings.disable_metadata,
            hash_of=self.hash_of,
            family_of=self.family_of,
        )


def _fooocus_config(settings: Settings) -> FooocusConfig:
    try:
        return read_fooocus_config(settings.fooocus_config, settings.data, os.environ)
    except BadConfig as error:
        raise BadFolders("bad_config", f"{error}.", "Correct --fooocus-config, or leave it out.") from error
