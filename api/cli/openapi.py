"""`focal openapi`: the document that GET /openapi.json answers, without a server, for generators of clients."""

import argparse
from pathlib import Path

import msgspec

from api.cli.failure import Failure
from api.docs_page import document
from api.settings import Loaded


def run(parsed: argparse.Namespace, loaded: Loaded, notes: list[str]) -> int:
    text = msgspec.json.format(document(), indent=2).decode()
    if parsed.out is None:
        print(text)
        return 0
    out: Path = parsed.out
    try:
        out.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise Failure(f"{out} cannot be written: {error.strerror}.") from error
    return 0
