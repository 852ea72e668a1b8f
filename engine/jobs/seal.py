"""The environment of a worker: nothing at run time fetches or executes what the operator did not put there."""

import os
from collections.abc import Mapping
from pathlib import Path

import engine

PACKAGE_ROOT = Path(engine.__file__ or "").parents[1]

SEALED = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DIFFUSERS_DISABLE_CUSTOM_CODE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONFAULTHANDLER": "1",  # a segmentation fault leaves the Python stack in the log
}


def sealed(extra: Mapping[str, str]) -> dict[str, str]:
    """Give ours with `extra`, the seals, and this very package found first."""
    inherited = {**os.environ, **extra}
    paths = [str(PACKAGE_ROOT), *filter(None, [inherited.get("PYTHONPATH")])]
    return {**inherited, **SEALED, "PYTHONPATH": os.pathsep.join(paths)}
