"""`focal generate`: pictures without a server, through the same compiler, queue and worker as a REST request."""

import argparse
import asyncio
import shutil
import sys
from pathlib import Path

import msgspec

from api.cli import again
from api.cli.failure import Failure
from api.cli.run import run_job
from api.contracts.fooocus_api.schemas import TextToImage
from api.contracts.fooocus_api.translate import to_generation
from api.contracts.fooocus_api.translate_images import refused_field
from api.decode import decode
from api.errors import InvalidRequest
from api.images import MEDIA_TYPES
from api.library import Library
from api.settings import Loaded, Settings
from engine.jobs.job import NewJob
from graphs.flows import compile_request
from graphs.request import Refused
from graphs.text_to_image import Compiled, text_to_image

CONTRACT = "cli"


def run(parsed: argparse.Namespace, loaded: Loaded, notes: list[str]) -> int:
    settings = loaded.settings
    _check_output(parsed.output)
    library = Library(settings)
    if parsed.from_image:
        compiled = compile_request(again.request_of(parsed, settings, library), library.catalog)
    else:
        compiled = _compile(parsed, settings, library)
    for warning in compiled.warnings:
        print(f"note: {warning}", file=sys.stderr)
    if parsed.print_graph:
        print(msgspec.json.format(compiled.graph.to_bytes()).decode())
        return 0
    job = NewJob(
        kind="Text to Image", contract=CONTRACT, graph=compiled.graph.to_json(), outputs=tuple(compiled.outputs)
    )
    ended = asyncio.run(run_job(settings, library, job, quiet=parsed.json))
    written = [settings.outputs_dir / file.subfolder / file.filename for file in ended.files()]
    kept = _keep(written, parsed.output)
    seeds = [str(image.seed) for image in compiled.images]
    if parsed.json:
        told = [{"path": str(path), "seed": seed} for path, seed in zip(kept, seeds, strict=True)]
        print(msgspec.json.encode(told).decode())
    else:
        for path, seed in zip(kept, seeds, strict=True):
            print(f"{path}  (seed {seed})")
    library.close()
    return 0


def _compile(parsed: argparse.Namespace, settings: Settings, library: Library) -> Compiled:
    """Read the options by the rules of the REST body, so that both mean the same."""
    if parsed.prompt is None:
        raise Failure("Say what the picture shall show, or give --from-image FILE.")
    try:
        body = decode(TextToImage, _body(parsed), ("generate",))
        request = to_generation(body, settings, [])
        try:
            return text_to_image(request, library.catalog)
        except Refused as refused:
            raise refused_field(refused, body) from refused
    except InvalidRequest as error:
        raise Failure(
            "; ".join(f"{fault.loc[-1]}: {fault.msg.removeprefix('Value error, ')}" for fault in error.faults)
        ) from error


def _body(parsed: argparse.Namespace) -> dict[str, object]:
    extension = parsed.output.suffix.lstrip(".").lower() if parsed.output else "png"
    return {
        "prompt": parsed.prompt,
        "negative_prompt": parsed.negative,
        "style_selections": parsed.style,
        "performance_selection": parsed.performance,
        "aspect_ratios_selection": parsed.size,
        "image_number": parsed.number,
        "image_seed": parsed.seed,
        "guidance_scale": parsed.guidance,
        "base_model_name": parsed.model,
        "save_extension": extension,
        "advanced_params": {"overwrite_step": parsed.steps},
    }


def _check_output(output: Path | None) -> None:
    if output is None:
        return
    if output.suffix.lstrip(".").lower() not in MEDIA_TYPES:
        raise Failure(f"{output} has no picture's ending: use {', '.join(f'.{name}' for name in MEDIA_TYPES)}.")
    if not output.absolute().parent.is_dir():
        raise Failure(f"The folder {output.absolute().parent} does not exist.")


def _keep(written: list[Path], output: Path | None) -> list[Path]:
    """Copy the pictures to where they were wanted: out.png, or out-1.png, out-2.png … for several."""
    if output is None:
        return written
    kept = []
    for number, path in enumerate(written, 1):
        target = output if len(written) == 1 else output.with_stem(f"{output.stem}-{number}")
        shutil.copyfile(path, target)
        kept.append(target)
    return kept
