"""`focal`: serve, generate, graph, models, nodes, config, openapi, doctor. Commands are imported when they run."""

import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module

from api import flags
from api.cli.arguments import parser, typed_settings
from api.cli.failure import Failure
from api.settings import BadSetting, load
from engine.errors import FocalError

COMMANDS = {
    "serve": "api.cli.serve",
    "generate": "api.cli.generate",
    "graph": "api.cli.graph",
    "models": "api.cli.models",
    "nodes": "api.cli.nodes",
    "config": "api.cli.config",
    "openapi": "api.cli.openapi",
    "doctor": "api.cli.doctor",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 it could not be done, 2 it was asked for in the wrong way."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command_line = parser()
    if "serve" in words[:1]:
        # FooocusAPI's image passes its arguments in a variable; what is typed goes before them.
        words[1:1] = shlex.split(os.environ.get("CMDARGS", ""))
        parsed, foreign = command_line.parse_known_args(words)
        taken, notes = flags.absorb(foreign)
    else:
        parsed, taken, notes = command_line.parse_args(words), {}, []
    try:
        loaded = load({**taken, **typed_settings(parsed)}, config=parsed.config)
        return import_module(COMMANDS[parsed.command]).run(parsed, loaded, notes)
    except BadSetting as error:
        print(f"focal: {error}", file=sys.stderr)
        return 2
    except (FocalError, Failure) as error:
        print(f"focal: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("focal: stopped", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `focal nodes list | head`
        sys.stderr.close()
        return 0
