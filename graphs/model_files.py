"""Which model files the flows and presets look for, which of them are there, and where the others come from."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from graphs.catalog import Catalog
from graphs.known_files import KNOWN_FILES, KnownFile
from graphs.names import did_you_mean, find_file
from graphs.performance import PERFORMANCES
from graphs.presets import Preset
from graphs.request import Refused


class ModelFile(Struct, frozen=True, kw_only=True):
    """A file that something looks for. kind: the model folder. name: below that folder."""

    kind: str
    name: str
    url: str


class Standing(Struct, frozen=True, kw_only=True):
    """What stands for a purpose now. file: what is used beside a real checkpoint, "" when it is missing. tiny: what is
    used beside the tiny one, "" for none."""

    kind: str
    used_by: str
    needed: str
    file: str
    tiny: str
    url: str
    optional: bool = False

    @property
    def state(self) -> str:
        """`there`, `only tiny`, `optional` or `missing`."""
        absent = "optional" if self.optional else "missing"
        return "there" if self.file else "only tiny" if self.tiny else absent


def standings(catalog: Catalog) -> list[Standing]:
    """Every purpose of the flows and of the preset in force, with the file that serves it."""
    preset = catalog.preset_in_force
    own = [
        Standing(
            kind=file.kind,
            used_by=f"The preset {preset.name}",
            needed=file.name,
            file=_installed(catalog, file.kind, [file.name]),
            tiny="",
            url=file.url,
        )
        for file in _downloads(preset)
    ]
    return own + [_standing(catalog, known) for known in KNOWN_FILES.values()]


def _standing(catalog: Catalog, known: KnownFile) -> Standing:
    return Standing(
        kind=known.kind,
        used_by=known.used_by,
        needed=known.name,
        file=_installed(catalog, known.kind, (known.name, *known.others)),
        tiny=_installed(catalog, known.kind, [known.tiny] if known.tiny else []),
        url=known.url,
        optional=known.optional,
    )


def files_of_preset(preset: Preset, catalog: Catalog, *, always_new: bool = False) -> tuple[list[ModelFile], list[str]]:
    """What a preset lacks, and remarks: its own downloads (Fooocus behaviour §1.7) and its performance mode's LoRA.

    An installed older model of the preset serves instead of its checkpoints, unless `always_new`.
    """
    remarks: list[str] = []
    wanted = _downloads(preset)
    older = catalog.preset_checkpoint(preset)
    if older and find_file(preset.base_model, [older]) is None and not always_new:
        remarks.append(f"{older} is there and serves instead of {preset.base_model}.")
        wanted = [file for file in wanted if file.kind != "checkpoints"]
    mode = PERFORMANCES[preset.performance]
    if mode.distilled:
        known = KNOWN_FILES[mode.distilled.role]
        wanted.append(ModelFile(kind=known.kind, name=known.name, url=known.url))
    return [file for file in wanted if not _installed(catalog, file.kind, [file.name])], remarks


def files_named(name: str, catalog: Catalog) -> list[ModelFile]:
    """The files that a name means: one that a flow looks for, or one that a preset downloads. Raises Refused."""
    known = [ModelFile(kind=k.kind, name=k.name, url=k.url) for k in KNOWN_FILES.values() if k.url]
    offered = {(file.kind, file.name): file for preset in catalog.presets.values() for file in _downloads(preset)}
    offered |= {(file.kind, file.name): file for file in known}
    names = [file.name for file in offered.values()]
    meant = find_file(name, names)
    if meant is None:
        near = did_you_mean(name, names)
        raise Refused("name", f"Where {name!r} could be had from is not known.{near}", "See: focal models list")
    return [file for file in offered.values() if file.name == meant]


def _downloads(preset: Preset) -> list[ModelFile]:
    maps: Mapping[str, Mapping[str, str]] = {
        "checkpoints": preset.checkpoint_downloads,
        "loras": preset.lora_downloads,
        "embeddings": preset.embeddings_downloads,
        "vae": preset.vae_downloads,
    }
    return [ModelFile(kind=kind, name=name, url=url) for kind, files in maps.items() for name, url in files.items()]


def _installed(catalog: Catalog, kind: str, names: Iterable[str]) -> str:
    listed = {
        "checkpoints": catalog.checkpoints,
        "loras": catalog.loras,
        "vae": catalog.vaes,
        "embeddings": catalog.embeddings,
        "upscale_models": catalog.upscale_models,
    }.get(kind, catalog.files.get(kind, ()))
    return next((found for name in names if (found := find_file(name, listed))), "")
