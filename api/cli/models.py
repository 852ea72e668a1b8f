"""`focal models list`: the model files that requests can name."""

import argparse

import msgspec

from api.cli.failure import Failure
from api.library import Library
from api.settings import Loaded
from models.errors import ModelError


def run(parsed: argparse.Namespace, loaded: Loaded, notes: list[str]) -> int:
    folders = Library(loaded.settings).folders
    kinds = [parsed.kind] if parsed.kind else folders.kinds
    try:
        found = {kind: folders.list(kind) for kind in kinds}
    except ModelError as error:
        raise Failure(str(error)) from error
    if parsed.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
        return 0
    for kind, names in found.items():
        if names or parsed.kind:
            print(f"{kind}:")
        for name in names:
            print(f"  {folders.path(kind, name).stat().st_size / 2**20:9.1f} MiB  {name}")
    return 0
