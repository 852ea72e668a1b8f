"""The inpaint engine of a request: files that turn a checkpoint into an inpainting model (Fooocus behaviour §5.4.6)."""

from msgspec import Struct

from graphs.catalog import Catalog, is_tiny
from graphs.inpaint_choice import ENGINES
from graphs.known_files import INPAINT_FILES, TINY_HEAD, TINY_PATCH
from graphs.names import find_file, find_folded
from graphs.performance import PERFORMANCES
from graphs.refiner import switch_at
from graphs.request import Refused
from graphs.resolve import Generation

UNTIL = 0.8  # of the steps; then the model finishes without the engine, as if it were its own refiner
HEAD = INPAINT_FILES["inpaint.head"]
PATCHES = {version: INPAINT_FILES[f"inpaint.{version}"] for version in ("v1", "v2.5", "v2.6")}


class Engine(Struct, frozen=True):
    """Names of the files, as the catalog lists them."""

    head: str
    patch: str


def installed_engine(
    asked: str | None, default: str, checkpoint: str, catalog: Catalog, warnings: list[str]
) -> Engine | None:
    """The engine that was asked for, else the preset's; None for none. The tiny checkpoint has one for all, or none.

    Raises Refused where its files are missing.
    """
    name = find_folded(asked if asked is not None else default, ENGINES) or "None"
    if name == "None":
        return None
    if is_tiny(checkpoint):
        head, patch = (find_file(file, catalog.inpaint_models) for file in (TINY_HEAD, TINY_PATCH))
        if head is not None and patch is not None:
            return Engine(head, patch)
        if asked is not None:
            warnings.append(f"The tiny model inpaints without the engine {name}, which is made for full-size models.")
        return None
    head, patch = (find_file(file, catalog.inpaint_models) for file in (HEAD, PATCHES[name]))
    missing = [file for file, found in ((HEAD, head), (PATCHES[name], patch)) if found is None]
    if head is None or patch is None:
        raise Refused(
            "inpaint.engine",
            f"The inpaint engine {name} needs {' and '.join(missing)}, which {_are(missing)} not there.",
            f"Get them into models/inpaint with: {_downloads(missing)}; or send inpaint_engine as None.",
        )
    return Engine(head, patch)


def engine_until(generation: Generation) -> float:
    """The share of the steps after which an engine is taken away, 1 for never.

    The step is that of a refiner with a switch of 0.8: of the mode's own steps, or the one asked for by number.
    """
    switch = switch_at(PERFORMANCES[generation.performance].steps, UNTIL, generation.overwrite_switch)
    return min(switch / generation.steps, 1.0)


def _downloads(names: list[str]) -> str:
    return " and ".join(f"focal models download {name}" for name in names)


def _are(names: list[str]) -> str:
    return "are" if len(names) > 1 else "is"
