"""Fooocus' own configuration: `config.txt` and the variables named like its keys, taken as users bring them.

Its `path_…` keys add model folders, its `default_…` keys fill what requests leave open. Precedence as in Fooocus
(behaviour §1.1): the default preset < config.txt < the preset chosen at start < a variable of the key's own name.
"""

import ast
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from graphs.presets import KEYS

log = logging.getLogger(__name__)

NAME = "config.txt"
MODEL_FOLDERS: dict[str, str] = {  # key → kind of the model folders
    "path_checkpoints": "checkpoints",
    "path_loras": "loras",
    "path_embeddings": "embeddings",
    "path_vae_approx": "vae_approx",
    "path_vae": "vae",
    "path_upscale_models": "upscale_models",
    "path_inpaint": "inpaint",
    "path_controlnet": "controlnet",
    "path_clip_vision": "clip_vision",
    "path_fooocus_expansion": "prompt_expansion",
    "path_safety_checker": "safety_checker",
    "path_sam": "sam",
}
FOLDERS: dict[str, str] = {"path_outputs": "outputs", "temp_path": "temp"}  # key → setting
WILDCARDS = "path_wildcards"
DOWNLOADS = ("checkpoint_downloads", "lora_downloads", "embeddings_downloads", "vae_downloads")
DEFAULTS = ("default_", "metadata_created_by", *DOWNLOADS)
LISTED_SIZES = "available_aspect_ratios"  # any size may be asked for
WITHOUT_EFFECT: dict[str, tuple[str, ...]] = {  # why → the keys of Fooocus that do nothing here, or how they begin
    "it is about Fooocus' page, which is not here": (
        "default_image_prompt_checkbox",
        "default_advanced_checkbox",
        "default_developer_debug_mode_checkbox",
        "default_image_prompt_advanced_checkbox",
        "default_selected_image_input_tab_id",
        "default_inpaint_advanced_masking_checkbox",
        "default_describe_apply_prompts_checkbox",
        LISTED_SIZES,
        "example_",
    ),
    "a request says it itself; where it does not, the contracts' own defaults hold": (
        "default_uov_method",
        "default_enhance_",
        "default_save_only_final_enhanced_image",
        "default_ip_",
        "default_inpaint_method",
        "default_inpaint_mask_",
        "default_invert_mask_checkbox",
        "default_sam_max_detections",
        "default_overwrite_upscale",
        "default_describe_content_type",
    ),
    "four image prompts and three stages of enhancing count, as the contracts say": (
        "default_controlnet_image_count",
        "default_enhance_tabs",
    ),
    "old files of the temp folder are removed daily": ("temp_path_cleanup_on_launch",),
}
WITH_EFFECT = {*KEYS, *MODEL_FOLDERS, *FOLDERS, WILDCARDS, "default_black_out_nsfw"} - {LISTED_SIZES}


class BadConfig(Exception):
    """A configuration that was named and cannot be read."""


class FooocusConfig(Struct, frozen=True, kw_only=True):
    """What was found. defaults: of config.txt; environment: the same keys as variables, which win over a preset.

    notes: a line for all keys that do nothing here for the same reason.
    """

    source: Path | None = None
    defaults: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    folders: dict[str, tuple[Path, ...]] = {}
    settings: dict[str, Path] = {}
    wildcards: Path | None = None
    notes: tuple[str, ...] = ()

    def switch(self, key: str) -> bool:
        """Whether a key that is true or false is true; a variable goes before the file."""
        return self.environment.get(key, self.defaults.get(key)) is True


def read_fooocus_config(named: Path | None, beside: Path, environ: Mapping[str, str]) -> FooocusConfig:
    """Read the file that was named, else config.txt in `beside` or in the working directory, and the variables.

    Raises BadConfig when a named file is missing or no JSON object; one that was only found is left out with a line.
    """
    source, values = _read(named, beside)
    variables = {key: _literal(text) for key, text in environ.items() if _is_known(key) and text}
    root = source.parent if source else Path()
    merged = {key: (value, root) for key, value in values.items()}
    merged |= {key: (value, Path()) for key, value in variables.items()}
    kinds = {kind: _paths(*merged[key]) for key, kind in MODEL_FOLDERS.items() if key in merged}
    if expansions := kinds.get("prompt_expansion"):  # Fooocus names the model's own folder
        kinds["prompt_expansion"] = tuple(path.parent for path in expansions)
    wildcards = _paths(*merged[WILDCARDS]) if WILDCARDS in merged else ()
    return FooocusConfig(
        source=source,
        defaults={key: value for key, value in values.items() if key.startswith(DEFAULTS)},
        environment={key: value for key, value in variables.items() if key.startswith(DEFAULTS)},
        folders=kinds,
        settings={name: paths[0] for key, name in FOLDERS.items() if key in merged and (paths := _paths(*merged[key]))},
        wildcards=wildcards[0] if wildcards else None,
        notes=tuple(_notes(merged)),
    )


def _notes(keys: Iterable[str]) -> Iterator[str]:
    """One line for every reason why keys do nothing."""
    left = {key for key in keys if key not in WITH_EFFECT}
    for why, beginnings in reversed(WITHOUT_EFFECT.items()):
        if found := sorted(key for key in left if key.startswith(beginnings)):
            yield f"{', '.join(found)}: {why}"
        left.difference_update(found)
    if left:
        yield f"{', '.join(sorted(left))}: unknown here, ignored"


def _read(named: Path | None, beside: Path) -> tuple[Path | None, dict[str, Any]]:
    for path in [named] if named else [beside / NAME, Path(NAME)]:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            values = None
        except (OSError, ValueError) as error:
            if named:
                raise BadConfig(f"{path} cannot be read: {error}") from error
            log.warning("%s was left out: %s", path, error)
            continue
        if isinstance(values, dict) and (named or any(map(_is_known, values))):
            return path.resolve(), values
        if named:
            raise BadConfig(f"{path} does not exist" if values is None else f"{path} is no JSON object")
    return None, {}


def _is_known(key: str) -> bool:
    return key in MODEL_FOLDERS or key in FOLDERS or key == WILDCARDS or key.startswith(DEFAULTS)


def _literal(text: str) -> Any:
    """A variable's value as Fooocus reads it: a Python literal, booleans in any case, else the text itself."""
    word = text.strip()
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _paths(value: Any, root: Path) -> tuple[Path, ...]:
    """One path or a list of them; relative ones start at the file's own folder."""
    texts = value if isinstance(value, list) else [value]
    return tuple((root / text).absolute() for text in texts if isinstance(text, str) and text)
