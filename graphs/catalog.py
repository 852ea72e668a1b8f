"""What is installed: model files, styles, wildcards, presets. A plain value; the API makes a fresh one per rescan."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphs.known_files import KNOWN_FILES, TINY_UPSCALER, UPSCALER
from graphs.names import find_file, find_folded
from graphs.presets import NO_PRESET, Preset, load_presets, read_preset
from graphs.request import Refused
from graphs.styles import StyleBook
from graphs.wildcards import SHIPPED as SHIPPED_WILDCARDS
from graphs.wildcards import Wildcards

TINY = "tiny"
EMBEDDED = "focal-tiny-"
TINY_CHECKPOINT = "focal-tiny-sdxl.safetensors"
NO_WEIGHTS = (
    ".txt",
    ".csv",
    ".json",
)  # vocabularies, tables of tags, configurations: a stem shared with weights is no match
NATIVE_PX, TINY_NATIVE_PX = 1024, 128  # side of the pictures that a checkpoint was trained on


class MissingFile(Refused):
    """A flow needs a model file that is not there."""

    def __init__(self, role: str, field: str) -> None:
        known = KNOWN_FILES[role]
        super().__init__(
            field,
            f"{known.used_by} needs the file {known.name} in models/{known.kind}, which is not there.",
            f"Get it with: focal models download {known.name}",
        )


def _unknown_hash(folder: str, name: str) -> str:
    return ""


def _unknown_family(checkpoint: str) -> str:
    return ""


@dataclass(frozen=True)
class Catalog:
    """Names are as listed by the model folders: relative paths with `/`, sub-folders kept.

    files: names by kind of the model folders, for the kinds that have no field of their own here.
    default_preset: the preset that fills what requests leave open; "" chooses (`preset_in_force`). overrides: keys of
    a preset file that go before the preset in force.
    black_out_nsfw: every request's pictures go through the safety checker. write_metadata: False keeps the parameters
    out of every file.
    hash_of: (folder such as "checkpoints", name) → first ten hex digits of the file's SHA-256, "" while unknown.
    family_of: checkpoint → "sdxl", "sdxl_refiner", "sd1"; "" for what cannot be told.
    """

    checkpoints: Sequence[str] = ()
    loras: Sequence[str] = ()
    vaes: Sequence[str] = ()
    embeddings: Sequence[str] = ()
    upscale_models: Sequence[str] = ()
    inpaint_models: Sequence[str] = ()
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    styles: StyleBook = field(default_factory=StyleBook.load)
    wildcards: Wildcards = field(default_factory=Wildcards)
    presets: Mapping[str, Preset] = field(default_factory=load_presets)
    default_preset: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    black_out_nsfw: bool = False
    write_metadata: bool = True
    hash_of: Callable[[str, str], str] = _unknown_hash
    family_of: Callable[[str], str] = _unknown_family

    @classmethod
    def build(
        cls,
        *,
        checkpoints: Sequence[str],
        loras: Sequence[str] = (),
        vaes: Sequence[str] = (),
        embeddings: Sequence[str] = (),
        upscale_models: Sequence[str] = (),
        inpaint_models: Sequence[str] = (),
        files: Mapping[str, Sequence[str]] | None = None,
        data_dir: Path | None = None,
        default_preset: str = "",
        configured: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
        wildcards: Path | None = None,
        black_out_nsfw: bool = False,
        write_metadata: bool = True,
        hash_of: Callable[[str, str], str] = _unknown_hash,
        family_of: Callable[[str], str] = _unknown_family,
    ) -> "Catalog":
        """Names of models, with styles, wildcards and presets as `read_texts` reads them."""
        return cls(
            checkpoints=tuple(checkpoints),
            loras=tuple(loras),
            vaes=tuple(vaes),
            embeddings=tuple(embeddings),
            upscale_models=tuple(upscale_models),
            inpaint_models=tuple(inpaint_models),
            files={kind: tuple(names) for kind, names in (files or {}).items()},
            **read_texts(data_dir, configured, wildcards),
            default_preset=default_preset,
            overrides=overrides or {},
            black_out_nsfw=black_out_nsfw,
            write_metadata=write_metadata,
            hash_of=hash_of,
            family_of=family_of,
        )

    @property
    def real_checkpoints(self) -> list[str]:
        """Every checkpoint but the embedded tiny ones."""
        return [name for name in self.checkpoints if not is_embedded(name)]

    @property
    def offered_checkpoints(self) -> list[str]:
        """What clients may choose from: every file but the embedded ones that only stand in for a refiner."""
        return [name for name in self.checkpoints if not is_embedded(name) or self.family_of(name) in ("", "sdxl")]

    @property
    def preset_in_force(self) -> Preset:
        """The default preset: the configured one, else the user's own defaults or `default`, or `tiny` when no other
        checkpoint is found."""
        chosen = self._chosen_preset()
        return read_preset(chosen.name, self.overrides, chosen) if self.overrides else chosen

    def _chosen_preset(self) -> Preset:
        chosen = find_folded(self.default_preset, self.presets) if self.default_preset else None
        if chosen is None:
            own = NO_PRESET if NO_PRESET in self.presets else "default"
            chosen = own if self.real_checkpoints or TINY not in self.presets else TINY
        return self.presets.get(chosen, Preset())

    def preset(self, name: str) -> Preset | None:
        """A preset by name, whatever the case; `initial` is the preset in force. None when there is none."""
        if name.strip().casefold() == NO_PRESET:
            return self.preset_in_force
        found = find_folded(name, self.presets)
        return self.presets[found] if found else None

    def preset_checkpoint(self, preset: Preset) -> str | None:
        """The installed checkpoint of a preset: its own, else the first of its older names that is there."""
        names = (preset.base_model, *preset.previous_default_models)
        return next((found for name in names if (found := find_file(name, self.checkpoints))), None)

    @property
    def default_checkpoint(self) -> str | None:
        """What an absent model falls back to: the preset's in force, else the first SDXL file, else the tiny one."""
        if found := self.preset_checkpoint(self.preset_in_force):
            return found
        able = [name for name in self.real_checkpoints if self.family_of(name) in ("", "sdxl")]
        return next(iter(able), find_file(TINY_CHECKPOINT, self.checkpoints))

    def file_for(self, role: str, field: str, checkpoint: str | None = None) -> str:
        """The installed file of a role of `KNOWN_FILES`; the tiny one only beside the tiny checkpoint.

        checkpoint: the one in use; without it, the default one. Raises Refused for `field`, naming file, folder and
        command, when the file is missing.
        """
        known = KNOWN_FILES[role]
        beside_weights = known.name.endswith(NO_WEIGHTS)
        listed = self.loras if known.kind == "loras" else self.files.get(known.kind, ())
        installed = [name for name in listed if name.endswith(NO_WEIGHTS) == beside_weights]
        beside = checkpoint or self.default_checkpoint
        if beside is not None and is_tiny(beside) and known.tiny and find_file(known.tiny, installed):
            return known.tiny
        for name in (known.name, *known.others):
            if found := find_file(name, installed):
                return found
        raise MissingFile(role, field)

    def expansion(self, checkpoint: str) -> str | None:
        """The language model behind `Fooocus V2`, if it and its vocabulary are there; the tiny one only beside tiny."""
        try:
            weights = self.file_for("expansion.model", "styles", checkpoint)
        except MissingFile:
            return None
        folder, installed = weights.rpartition("/")[0], self.files["prompt_expansion"]
        complete = all(f"{folder}/{name}" in installed for name in ("vocab.json", "merges.txt"))
        return weights if complete else None

    def upscaler(self, checkpoint: str) -> str | None:
        """The upscaler to use beside a checkpoint: Fooocus's own, else any other; the tiny one only beside tiny."""
        if found := find_file(UPSCALER, self.upscale_models):
            return found
        others = [name for name in self.upscale_models if find_file(TINY_UPSCALER, [name]) is None]
        if others:
            return others[0]
        return find_file(TINY_UPSCALER, self.upscale_models) if is_tiny(checkpoint) else None


def read_texts(
    data_dir: Path | None, configured: Mapping[str, Any] | None = None, wildcards: Path | None = None
) -> dict[str, Any]:
    """Styles, wildcards and presets, shipped ones and those below `data_dir`: fields of a Catalog.

    configured: as in `load_presets`. wildcards: one more folder of them.
    """
    mine = {name: data_dir / name for name in ("styles", "wildcards", "presets")} if data_dir else {}
    roots = [root for root in (mine.get("wildcards"), wildcards, SHIPPED_WILDCARDS) if root]
    return {
        "styles": StyleBook.load(mine.get("styles")),
        "wildcards": Wildcards(roots),
        "presets": load_presets(mine.get("presets"), configured),
    }


def is_embedded(name: str) -> bool:
    """Whether a name is that of a tiny model, of which all begin alike."""
    return name.rpartition("/")[2].startswith(EMBEDDED)


def is_tiny(checkpoint: str) -> bool:
    """Whether a checkpoint is the embedded one."""
    return find_file(TINY_CHECKPOINT, [checkpoint]) is not None


def native_px(checkpoint: str) -> int:
    """The side of the pictures that a checkpoint was trained on, in pixels."""
    return TINY_NATIVE_PX if is_tiny(checkpoint) else NATIVE_PX
