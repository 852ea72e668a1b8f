"""What is asked of the server, apart from how it is sent.

Each function is a generator: it yields a `Call` and is sent the answer, or yields a `Pause`; `api.client.sessions`
drives it with blocking or with asynchronous means. The contract is Fooocus-API's.
"""

from base64 import b64decode
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct, field

from api.client.errors import GenerationFailed
from api.client.pictures import Picture, Pictures, Source, as_text

Performance = Literal["Speed", "Quality", "Extreme Speed", "Lightning", "Hyper-SD"]
UovMethod = Literal[
    "Vary (Subtle)", "Vary (Strong)", "Upscale (1.5x)", "Upscale (2x)", "Upscale (Fast 2x)", "Upscale (Custom)"
]
Side = Literal["Left", "Right", "Top", "Bottom"]
POLL_S = 0.25
T = TypeVar("T")


class Call(Struct, frozen=True):
    """One HTTP request. The answer to it is parsed JSON, or bytes when `raw`."""

    method: str
    path: str
    json: Any = None
    query: Mapping[str, Any] = field(default_factory=dict)
    raw: bool = False


class Pause(Struct, frozen=True):
    """Wait before the next call."""

    seconds: float


Steps = Generator[Call | Pause, Any, T]


class Progress(Struct, frozen=True):
    """How far a job is. percent: 0..100, never falling. preview: PNG bytes of the newest step, when there is one."""

    job_id: str
    percent: int
    text: str
    preview: bytes | None = None


OnProgress = Callable[[Progress], object]


class LoraOption(TypedDict):
    """One LoRA."""

    model_name: str
    weight: NotRequired[float]
    enabled: NotRequired[bool]


class ImagePrompt(Struct, frozen=True):
    """A picture that steers the result. stop, weight: None is what suits the type."""

    image: Source
    type: Literal["ImagePrompt", "FaceSwap", "PyraCanny", "CPDS"] = "ImagePrompt"
    stop: float | None = None
    weight: float | None = None


class Options(TypedDict, total=False):
    """Fields that every kind of generation takes, by their names in the contract; see docs/reference."""

    negative_prompt: str
    style_selections: Sequence[str]
    performance_selection: Performance
    aspect_ratios_selection: str
    image_number: int
    image_seed: int
    sharpness: float
    guidance_scale: float
    base_model_name: str
    refiner_model_name: str
    refiner_switch: float
    loras: Sequence[LoraOption]
    advanced_params: Mapping[str, Any]
    save_meta: bool
    meta_scheme: Literal["fooocus", "a1111"]
    save_extension: Literal["png", "jpg", "jpeg", "webp"]
    save_name: str
    read_wildcards_in_order: bool
    webhook_url: str


def generate(path: str, fields: Mapping[str, Any], options: Options, on_progress: OnProgress | None) -> Steps[Pictures]:
    """Submit a job, follow it to its end and fetch its pictures."""
    body = {**options, **fields, "async_process": True, "require_base64": False}
    job = yield Call("POST", path, body)
    job_id = job["job_id"]
    if not job_id:
        raise GenerationFailed("", "the queue is full; try again later")
    query = {"job_id": job_id, "require_step_preview": on_progress is not None}
    told: tuple[int, str, str | None] | None = None
    while job["job_stage"] in ("WAITING", "RUNNING"):
        yield Pause(POLL_S)
        job = yield Call("GET", "/v1/generation/query-job", query=query)
        now = (job["job_progress"], job["job_status"] or "", job["job_step_preview"])
        if on_progress is not None and now != told:
            on_progress(_progress(job_id, *now))
            told = now
    if job["job_stage"] != "SUCCESS":
        raise GenerationFailed(job_id, job["job_status"] or "failed")
    return (yield from _fetched(job_id, job["job_result"] or []))


def text_to_image(prompt: str, image_prompts: Sequence[ImagePrompt]) -> tuple[str, dict[str, Any]]:
    """Path and fields of a picture from words, with pictures beside them or without."""
    if image_prompts:
        return "/v2/generation/text-to-image-with-ip", {"prompt": prompt, "image_prompts": _prompts(image_prompts)}
    return "/v1/generation/text-to-image", {"prompt": prompt}


def vary_or_upscale(image: Source, method: UovMethod, prompt: str, factor: float | None) -> tuple[str, dict[str, Any]]:
    """Path and fields of a picture varied or enlarged. factor: of Upscale (Custom), 1 to 5."""
    fields = {"input_image": as_text(image), "uov_method": method, "prompt": prompt}
    return "/v2/generation/image-upscale-vary", fields | ({} if factor is None else {"upscale_value": factor})


def inpaint(
    image: Source, mask: Source | None, prompt: str, sides: Sequence[Side], distances: Mapping[Side, int]
) -> tuple[str, dict[str, Any]]:
    """Path and fields of a picture repainted where the mask is white, or extended at its sides."""
    fields: dict[str, Any] = {
        "input_image": as_text(image),
        "prompt": prompt,
        "outpaint_selections": list(dict.fromkeys((*sides, *distances))),
        **{f"outpaint_distance_{side.lower()}": pixels for side, pixels in distances.items()},
    }
    return "/v2/generation/image-inpaint-outpaint", fields | ({"input_mask": as_text(mask)} if mask else {})


def run_graph(graph: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """Queue a graph in ComfyUI's API format and return its history entry when it has ended."""
    job_id = (yield Call("POST", "/prompt", {"prompt": graph}))["prompt_id"]
    while not (found := (yield Call("GET", f"/history/{job_id}"))):
        yield Pause(POLL_S)
    entry = found[job_id]
    if entry["status"]["status_str"] != "success":
        raise GenerationFailed(job_id, "the graph failed; see its history entry")
    return entry


def _prompts(prompts: Sequence[ImagePrompt]) -> list[dict[str, Any]]:
    return [
        {"cn_img": as_text(prompt.image), "cn_type": prompt.type, "cn_stop": prompt.stop, "cn_weight": prompt.weight}
        for prompt in prompts
    ]


def _progress(job_id: str, percent: int, text: str, preview: str | None) -> Progress:
    return Progress(job_id, percent, text, b64decode(preview) if preview else None)


def _fetched(job_id: str, results: Sequence[Mapping[str, Any]]) -> Steps[Pictures]:
    pictures = []
    for result in results:
        if result["finish_reason"] != "SUCCESS":
            raise GenerationFailed(job_id, result["finish_reason"])
        data = yield Call("GET", urlsplit(result["url"]).path, raw=True)  # from the server that was asked
        pictures.append(Picture(data, result["url"], int(result["seed"] or -1)))
    return Pictures(job_id, pictures)
