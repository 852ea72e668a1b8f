"""The command line: one parser, its settings taken from the Settings struct."""

import argparse
from pathlib import Path
from typing import Any

import msgspec

from api.settings import FIELDS, Settings

LOCAL_SETTINGS = (
    *("data", "models", "outputs", "temp", "extra_model_paths", "fooocus_config"),
    *("preset", "device", "vram", "ram", "log_level"),
)


def parser() -> argparse.ArgumentParser:
    """Build the parser of `focal`."""
    root = argparse.ArgumentParser(
        prog="focal", description="Pictures from text: a server, and the same from the terminal."
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    # Flags of other programs pass through: none of them may be taken for the beginning of one of ours.
    serve = commands.add_parser("serve", help="start the server", allow_abbrev=False)
    _add_settings(serve, tuple(FIELDS))

    generate = commands.add_parser("generate", help="make pictures from a prompt, without a server")
    _add_generate(generate)
    _add_settings(generate, LOCAL_SETTINGS)

    graph = commands.add_parser("graph", help="run, show or validate a graph in ComfyUI's API format")
    graph.add_argument("action", choices=("run", "show", "validate"), help="run it, print it, or name its faults")
    graph.add_argument("file", type=Path, metavar="FILE", help="JSON file; - reads standard input")
    graph.add_argument("--json", action="store_true", help="print JSON")
    _add_settings(graph, LOCAL_SETTINGS)

    models = commands.add_parser("models", help="list the model files that are found, or download missing ones")
    models.add_argument("action", choices=("list", "download"), help="print names and sizes, or fetch files")
    models.add_argument("names", nargs="*", help="kinds to list, such as loras; files to download")
    models.add_argument("--always-new", action="store_true", help="fetch a preset's model though an older one is there")
    models.add_argument("--json", action="store_true", help="print JSON")
    _add_settings(models, LOCAL_SETTINGS)

    nodes = commands.add_parser("nodes", help="list the nodes that a graph can use, or show one")
    nodes.add_argument("action", choices=("list", "show"), help="print all classes, or one with its inputs")
    nodes.add_argument("name", nargs="?", help="the class to show")
    nodes.add_argument("--json", action="store_true", help="print JSON")
    _add_settings(nodes, LOCAL_SETTINGS)

    config = commands.add_parser("config", help="print every setting and where it came from")
    config.add_argument("--json", action="store_true", help="print JSON")
    _add_settings(config, tuple(FIELDS))

    openapi = commands.add_parser("openapi", help="print the OpenAPI document of every route, without a server")
    openapi.add_argument("--out", type=Path, metavar="FILE", help="write it into a file instead")
    _add_settings(openapi, ())

    doctor = commands.add_parser("doctor", help="check versions, device, disk, models")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    _add_settings(doctor, LOCAL_SETTINGS)
    return root


def typed_settings(parsed: argparse.Namespace) -> dict[str, Any]:
    """The settings that were typed."""
    return {name: value for name in FIELDS if (value := getattr(parsed, f"setting_{name}", None)) is not None}


def _add_generate(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "prompt",
        nargs="?",
        help="what the picture shall show; Fooocus syntax: (words:1.2), <lora:name:0.8>, __wildcard__",
    )
    command.add_argument(
        "--from-image",
        type=Path,
        metavar="FILE",
        help="make a picture again as its own file tells, instead of a prompt",
    )
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="where the picture goes (.png, .jpg, .webp)")
    command.add_argument("-n", "--number", type=int, default=1, metavar="N", help="how many pictures, 1 to 32")
    command.add_argument("--negative", default=None, metavar="TEXT", help="what the picture shall not show")
    command.add_argument(
        "--seed", type=int, default=-1, help="the same seed gives the same picture; random if left out"
    )
    command.add_argument("--size", default=None, metavar="W*H", help="size in pixels, such as 1152*896")
    command.add_argument("--steps", type=int, default=None, help="sampling steps, 1 to 200")
    command.add_argument("--guidance", type=float, default=None, help="classifier-free guidance, 1 to 30")
    command.add_argument("--performance", default=None, metavar="MODE", help="Speed, Quality, Extreme Speed, ...")
    command.add_argument("--style", action="append", default=None, metavar="NAME", help="a style; may be repeated")
    command.add_argument("--model", default=None, metavar="NAME", help="checkpoint, as `focal models list` shows it")
    command.add_argument("--print-graph", action="store_true", help="print the compiled graph instead of running it")
    command.add_argument("--json", action="store_true", help="print the result as JSON, no progress")


def _add_settings(command: argparse.ArgumentParser, names: tuple[str, ...]) -> None:
    group = command.add_argument_group("settings (also FOCAL_NAME in the environment, or focal.toml)")
    group.add_argument(
        "--config", type=Path, default=None, metavar="FILE", help="settings file instead of ./focal.toml"
    )
    for name in names:
        field = FIELDS[name]
        flag, spellings = f"--{name.replace('_', '-')}", [f"--{name.replace('_', '-')}"]
        if name in ("webhook_url", "log_level") and f"--{name}" != flag:
            spellings.append(f"--{name}")  # the older documents write --webhook_url
        text = f"{describe(name)} [{shown_default(field.default)}]".replace("%", "%%")
        options: dict[str, Any] = {"dest": f"setting_{name}", "default": None, "help": text}
        if isinstance(field.default, bool):
            group.add_argument(*spellings, action=argparse.BooleanOptionalAction, **options)
        else:
            group.add_argument(*spellings, metavar=_metavar(name), **options)


def describe(name: str) -> str:
    """The setting's sentence, from its annotation."""
    metas = getattr(Settings.__annotations__[name], "__metadata__", ())
    return next((meta.description for meta in metas if isinstance(meta, msgspec.Meta) and meta.description), "")


def shown_default(value: Any) -> str:
    """A default as help prints it."""
    if value is None or value == "":
        return "not set"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**20 and value % 2**20 == 0:
        return f"{value >> 20}MiB"
    return str(value)


def _metavar(name: str) -> str:
    words = {
        "data": "DIR",
        "models": "DIR",
        "outputs": "DIR",
        "temp": "DIR",
        "fooocus_config": "FILE",
        "database": "URL",
        "extra_model_paths": "FILE",
        "vram": "SIZE",
        "ram": "SIZE",
        "host": "ADDRESS",
    }
    return words.get(name, "VALUE")
