"""`focal config`: every setting, its value, and where the value came from."""

import argparse
from pathlib import Path
from typing import Any

import msgspec

from api.settings import FIELDS, Loaded

SECRET = frozenset({"apikey"})


def run(parsed: argparse.Namespace, loaded: Loaded, notes: list[str]) -> int:
    rows = {name: (_shown(name, getattr(loaded.settings, name)), loaded.sources[name]) for name in FIELDS}
    if parsed.json:
        told = {name: {"value": value, "source": source} for name, (value, source) in rows.items()}
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
        return 0
    width = max(map(len, rows))
    values = max(len(str(value)) for value, _ in rows.values())
    for name, (value, source) in rows.items():
        print(f"{name:{width}}  {value!s:{values}}  {source}")
    return 0


def _shown(name: str, value: Any) -> Any:
    if name in SECRET and value:
        return "(set)"
    return str(value) if isinstance(value, Path) else value
