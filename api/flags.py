"""Flags of Fooocus, Fooocus-API and FooocusAPI that have no setting here: accepted, with one line saying so."""

from typing import Final

import msgspec


class Foreign(msgspec.Struct, frozen=True):
    """A flag of another program: how many values it takes, what Focal does with it.

    values: "" none, "1" one, "?" optional. setting: the one that takes the flag's value over. constant: its value when
    the flag has none. written: how the flag's value becomes the setting's, {} standing for it.
    """

    values: str
    note: str
    setting: str = ""
    constant: str | None = None
    written: str = "{}"


_MEMORY: Final = "memory is managed by itself; --vram and --ram set the budgets"
_DTYPE: Final = "number formats follow the device"
_ATTENTION: Final = "attention is PyTorch's scaled_dot_product_attention"
_PAGE: Final = "there is no such page"
_RESULTS: Final = "taken as --outputs"

FOREIGN: Final[dict[str, Foreign]] = {
    "--listen": Foreign("?", "taken as --host", "host", "0.0.0.0"),  # noqa: S104 - that is what --listen asks for
    "--gpu-device-id": Foreign("1", "taken as --device cuda:N", "device", written="cuda:{}"),
    "--always-cpu": Foreign("?", "taken as --device cpu", "device", "cpu", written="cpu"),
    "--presistent": Foreign("", "taken as --persistent", "persistent", "true"),
    "--skip-pip": Foreign("", "nothing is installed at start"),
    "--preload-pipeline": Foreign("", "the worker loads in the background at every start"),
    "--sync-repo": Foreign("1", "nothing is fetched at start"),
    "--nowebui": Foreign("", "there is only the API"),
    "--always-gpu": Foreign("", _MEMORY),
    "--always-high-vram": Foreign("", _MEMORY),
    "--always-normal-vram": Foreign("", _MEMORY),
    "--always-low-vram": Foreign("", _MEMORY),
    "--always-no-vram": Foreign("", _MEMORY),
    "--always-offload-from-vram": Foreign("", _MEMORY),
    "--disable-offload-from-vram": Foreign("", _MEMORY),
    "--async-cuda-allocation": Foreign("", _MEMORY),
    "--disable-async-cuda-allocation": Foreign("", _MEMORY),
    "--all-in-fp16": Foreign("", _DTYPE),
    "--all-in-fp32": Foreign("", _DTYPE),
    "--unet-in-bf16": Foreign("", _DTYPE),
    "--unet-in-fp16": Foreign("", _DTYPE),
    "--unet-in-fp8-e4m3fn": Foreign("", _DTYPE),
    "--unet-in-fp8-e5m2": Foreign("", _DTYPE),
    "--vae-in-fp16": Foreign("", _DTYPE),
    "--vae-in-fp32": Foreign("", _DTYPE),
    "--vae-in-bf16": Foreign("", _DTYPE),
    "--vae-in-cpu": Foreign("", _DTYPE),
    "--clip-in-fp8-e4m3fn": Foreign("", _DTYPE),
    "--clip-in-fp8-e5m2": Foreign("", _DTYPE),
    "--clip-in-fp16": Foreign("", _DTYPE),
    "--clip-in-fp32": Foreign("", _DTYPE),
    "--directml": Foreign("?", "use --device"),
    "--disable-attention-upcast": Foreign("", _ATTENTION),
    "--attention-split": Foreign("", _ATTENTION),
    "--attention-quad": Foreign("", _ATTENTION),
    "--attention-pytorch": Foreign("", _ATTENTION),
    "--disable-xformers": Foreign("", _ATTENTION),
    "--pytorch-deterministic": Foreign("", "the same seed always gives the same bytes"),
    "--output-path": Foreign("1", _RESULTS, "outputs"),
    "--outdir": Foreign("1", _RESULTS, "outputs"),
    "--temp-path": Foreign("1", "taken as --temp", "temp"),
    "--cache-path": Foreign("1", "what is kept is kept below --data"),
    "--external-working-path": Foreign("1", "name model folders in --extra-model-paths or --fooocus-config"),
    "--hf-mirror": Foreign("1", "nothing is downloaded at start; see `focal models download`"),
    "--disable-preset-download": Foreign("", "nothing is downloaded at start; see `focal models download`"),
    "--always-download-new-model": Foreign("", "nothing is downloaded at start; see `focal models download`"),
    "--rebuild-hash-cache": Foreign("?", "hashes are renewed when a file changes"),
    "--debug-mode": Foreign("", "taken as --log-level debug", "log_level", "debug"),
    "--enable-auto-describe-image": Foreign("", "not part of the API"),
    "--disable-server-log": Foreign("", "use --log-level"),
    "--disable-server-info": Foreign("", "use --log-level"),
    "--multi-user": Foreign("", _PAGE),
    "--language": Foreign("1", _PAGE),
    "--theme": Foreign("1", _PAGE),
    "--share": Foreign("", _PAGE),
    "--in-browser": Foreign("", _PAGE),
    "--disable-in-browser": Foreign("", _PAGE),
    "--disable-analytics": Foreign("", "nothing is ever reported to anybody"),
    "--disable-preset-selection": Foreign("", _PAGE),
    "--disable-enhance-output-sorting": Foreign("", _PAGE),
    "--web-upload-size": Foreign("1", "taken as --max-upload, in MiB", "max_upload", written="{}MiB"),
}


def absorb(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Read the flags that argparse did not know: (settings they stand for, one line each to log)."""
    settings: dict[str, str] = {}
    lines: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, given, value = word.partition("=")
        foreign = FOREIGN.get(name)
        if foreign is None:
            while rest and not rest[0].startswith("--"):
                word += f" {rest.pop(0)}"
            lines.append(f"{word}: unknown here, ignored")
            continue
        if not given and foreign.values and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        if foreign.setting:
            settings[foreign.setting] = _taken(foreign, value)
        lines.append(f"{name}: {foreign.note}")
    return settings, lines


def _taken(foreign: Foreign, value: str) -> str:
    return foreign.written.format(value) if value else foreign.constant or ""
