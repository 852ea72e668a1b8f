"""Settings: one frozen struct, read once at start.

Order of precedence: defaults < `focal.toml` < `FOCAL_*` environment < command line.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engine.errors import FocalError

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class BadSetting(FocalError):
    """A setting that cannot be read; the sentence names it and where it came from."""

    def __init__(self, message: str, hint: str = "Run `focal config` to see every setting and its source.") -> None:
        super().__init__("bad_setting", message, hint)


def _doc(text: str, **bounds: Any) -> Meta:
    return Meta(description=text, **bounds)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of the server. Field `base_url` is flag `--base-url` and variable `FOCAL_BASE_URL`."""

    data: Annotated[Path, _doc("Folder that holds everything Focal writes.")] = Path("data")
    models: Annotated[Path | None, _doc("Folder with model files; DATA/models when not given.")] = None
    outputs: Annotated[Path | None, _doc("Folder of the results; DATA/outputs when not given.")] = None
    temp: Annotated[Path | None, _doc("Folder of short-lived files; DATA/temp when not given.")] = None
    extra_model_paths: Annotated[
        Path | None, _doc("YAML file with more model folders, in ComfyUI's extra_model_paths format.")
    ] = None
    fooocus_config: Annotated[
        Path | None, _doc("Fooocus' config.txt; when not given, DATA/config.txt or ./config.txt if it is there.")
    ] = None
    database: Annotated[str, _doc("SQLAlchemy URL of the job store; the file DATA/jobs.sqlite3 when empty.")] = ""
    host: Annotated[str, _doc("Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, _doc("Port to listen on; 0 takes a free one.", ge=0, le=65535)] = 8888
    also_port: Annotated[int, _doc("A second port to listen on; 0 is none.", ge=0, le=65535)] = 0
    compat: Annotated[
        Literal["a", "b"], _doc("b: --port is FooocusAPI's page, the API listens on the next port (7866).")
    ] = "a"
    base_url: Annotated[str, _doc("Prefix of the result URLs; http://HOST:PORT when empty.")] = ""
    apikey: Annotated[str, _doc("Key that requests must carry in X-API-KEY; empty means open.")] = ""
    webhook_url: Annotated[str, _doc("Address told about every finished job that names none itself.")] = ""
    allow_hosts: Annotated[
        str, _doc("Hosts inside requests (pictures, webhooks) that may be asked although not public; a comma list.")
    ] = ""
    queue_size: Annotated[int, _doc("Jobs waiting and running before new ones are refused.", ge=1)] = 100
    queue_history: Annotated[int, _doc("Finished jobs kept, with their files; 0 keeps all.", ge=0)] = 0
    persistent: Annotated[bool, _doc("Answer job-history with full records, in Fooocus-API's persistent form.")] = False
    preset: Annotated[
        str, _doc("Preset whose values fill what a request leaves out; empty chooses by the models found.")
    ] = ""
    preview_option: Annotated[
        Literal["auto", "fast", "latent2rgb", "taesd", "none"],
        _doc("Step previews: none makes none; every other word means the one kind there is."),
    ] = "auto"
    disable_metadata: Annotated[bool, _doc("Write no parameters into pictures, whatever a request says.")] = False
    disable_image_log: Annotated[
        bool, _doc("Keep results below the temp folder instead, and only until the next start.")
    ] = False
    device: Annotated[str, _doc("Device of the worker: auto, cpu, cuda, cuda:1, mps.")] = "auto"
    vram: Annotated[int | None, _doc("Bytes of device memory for models (8GiB, 500M); all of it when not given.")] = (
        None
    )
    ram: Annotated[int | None, _doc("Bytes of main memory for models and cached results; chosen when not given.")] = (
        None
    )
    log_level: Annotated[str, _doc("Log level: critical, error, warning, info, debug.")] = "info"
    base64_raw: Annotated[bool, _doc("Return base64 without the data: prefix.")] = False
    strict_status: Annotated[bool, _doc("Answer failed jobs with status 409, 400 or 500 in JSON modes too.")] = False
    strict: Annotated[
        bool, _doc("Refuse unknown names (models, LoRAs, styles, samplers, presets) instead of going on without them.")
    ] = False
    adm_scaler_positive: Annotated[float, _doc("Default of adm_scaler_positive.", ge=0, le=3)] = 1.5
    adm_scaler_negative: Annotated[float, _doc("Default of adm_scaler_negative.", ge=0, le=3)] = 0.8
    adm_scaler_end: Annotated[
        float, _doc("Default of adm_scaler_end; releases of Fooocus behaved as 0.3.", ge=0, le=1)
    ] = 0.5
    fooocusapi_adm_scaler_positive: Annotated[
        float, _doc("Default of adm_scaler_positive of requests to /v1/engine/generate/.", ge=0, le=3)
    ] = 1.5
    fooocusapi_adm_scaler_negative: Annotated[
        float, _doc("Default of adm_scaler_negative there; releases of Fooocus behaved as 0.8.", ge=0, le=3)
    ] = 1.5
    fooocusapi_adm_scaler_end: Annotated[
        float, _doc("Default of adm_scaler_end there; releases of Fooocus behaved as 0.3.", ge=0, le=1)
    ] = 0.8
    max_body: Annotated[int, _doc("Largest JSON request body in bytes.", ge=1024)] = 64 * 2**20
    max_upload: Annotated[int, _doc("Largest file, uploaded or fetched from an address, in bytes.", ge=1024)] = (
        100 * 2**20
    )

    @property
    def outputs_dir(self) -> Path:
        """Where results are written."""
        # emptied at every start: no name that somebody else may have given a folder of theirs
        return self.temp_dir / "focal-results" if self.disable_image_log else self.outputs or self.data / "outputs"

    @property
    def input_dir(self) -> Path:
        """Where pictures that came with requests are kept."""
        return self.data / "input"

    @property
    def previews(self) -> bool:
        """Whether step previews are made for those who want them."""
        return self.preview_option != "none"

    @property
    def temp_dir(self) -> Path:
        """Where short-lived files are written."""
        return self.temp or self.data / "temp"

    @property
    def models_dir(self) -> Path:
        """The first model root."""
        return self.models or self.data / "models"

    @property
    def public_url(self) -> str:
        """The prefix of every URL in an answer, without a trailing slash."""
        if self.base_url:
            given = self.base_url if "://" in self.base_url else f"http://{self.base_url}"
            return given.rstrip("/")
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - shown, not bound
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """True when nobody outside this machine can reach the server."""
        return self.host in LOOPBACK_HOSTS


class Loaded(msgspec.Struct, frozen=True):
    """Settings together with the place each value came from."""

    settings: Settings
    sources: dict[str, str]


FIELDS: dict[str, msgspec.inspect.Field] = {f.name: f for f in msgspec.inspect.type_info(Settings).fields}  # type: ignore[attr-defined]
PATHS = frozenset({"data", "models", "outputs", "temp", "extra_model_paths", "fooocus_config"})
# Variables of the servers that this one replaces, and the settings they fill; a FOCAL_ variable goes before them.
FOREIGN_VARIABLES: dict[str, str] = {
    "DATADIR": "data",
    "config_path": "fooocus_config",
    "FOOOCUS_DB_CONF": "database",
    "WEBHOOK_URL": "webhook_url",
}
FOOOCUSAPI_PAGE_PORT = 7865  # of its WebUI; its API listens on the next one
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Read a number of bytes: 500M, 8GiB, 1073741824. Prefixes are powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))


def _convert(name: str, value: Any, source: str) -> Any:
    """Give `value` the field's type, or raise BadSetting that names its source."""
    if isinstance(value, str) and name in ("vram", "ram", "max_body", "max_upload"):
        try:
            value = parse_size(value)
        except ValueError as error:
            raise BadSetting(f"{name} from {source}: {error}; write it like 8GiB or 500M.") from error
    if isinstance(value, str) and isinstance(FIELDS[name].default, bool):
        value = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower(), value.lower())
    annotation = Settings.__annotations__[name]
    try:
        return Path(str(value)) if name in PATHS else msgspec.convert(value, annotation, strict=False)
    except msgspec.ValidationError as error:
        raise BadSetting(f"{name} from {source} is {value!r}: {error}.") from error


def _from_toml(path: Path, required: bool) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if required:
            raise BadSetting(f"The settings file {path} does not exist.") from None
        return {}
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"The settings file {path} is not valid TOML: {error}.") from error
    values = {name.replace("-", "_"): value for name, value in values.items()}
    if unknown := sorted(set(values) - set(FIELDS)):
        raise BadSetting(f"The settings file {path} has unknown settings: {', '.join(unknown)}.")
    return values


def load(
    command_line: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Loaded:
    """Merge all sources. `command_line` holds only what was typed; `config` overrides ./focal.toml."""
    environ = os.environ if environ is None else environ
    named = config or (Path(environ["FOCAL_CONFIG"]) if environ.get("FOCAL_CONFIG") else None)
    toml = named or Path("focal.toml")
    typed = {n: v for n, v in (command_line or {}).items() if v is not None}
    foreign = {FOREIGN_VARIABLES[n]: (text, n) for n in FOREIGN_VARIABLES if (text := environ.get(n))}
    own = {n: (environ[v], v) for n in FIELDS if (v := f"FOCAL_{n.upper()}") in environ}
    values: dict[str, Any] = {}
    sources = dict.fromkeys(FIELDS, "default")
    for layer in (
        {name: (value, str(toml)) for name, value in _from_toml(toml, required=named is not None).items()},
        foreign,
        own,
        {name: (value, "command line") for name, value in typed.items()},
    ):
        for name, (value, source) in layer.items():
            values[name] = _convert(name, value, source)
            sources[name] = source
    _set_port(values, sources, environ)
    _take_fooocus_folders(values, sources, environ)
    return Loaded(Settings(**values), sources)


def _set_port(values: dict[str, Any], sources: dict[str, str], environ: Mapping[str, str]) -> None:
    """FooocusAPI's rules: API_PORT goes before everything; with compat b the port that was typed is its page's."""
    if port := environ.get("API_PORT"):
        values["port"], sources["port"] = _convert("port", port, "API_PORT"), "API_PORT"
    elif values.get("compat") == "b" and sources["port"] in ("default", "command line"):
        given = environ.get("GRADIO_SERVER_PORT") or FOOOCUSAPI_PAGE_PORT
        page = values["port"] if sources["port"] == "command line" else _convert("port", given, "GRADIO_SERVER_PORT")
        values["port"], sources["port"] = page + 1, "compat b: one above the page's port"


def _take_fooocus_folders(values: dict[str, Any], sources: dict[str, str], environ: Mapping[str, str]) -> None:
    """Folders for results and short-lived files from Fooocus' configuration, where no other source names them."""
    from api.fooocus_config import BadConfig, read_fooocus_config

    settings = Settings(**values)
    try:
        found = read_fooocus_config(settings.fooocus_config, settings.data, environ)
    except BadConfig as error:
        raise BadSetting(f"fooocus_config from {sources['fooocus_config']}: {error}.") from error
    for name, path in found.settings.items():
        if name not in values:
            values[name], sources[name] = path, str(found.source or "environment")
