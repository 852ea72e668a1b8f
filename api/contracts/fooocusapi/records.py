"""Jobs in FooocusAPI's one shape, whichever contract they came by. Files are named in the store, addressed here."""

import base64
import uuid
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, UnsetType

from api import results
from api.contracts.fooocusapi import presets
from api.contracts.fooocusapi.pictures import Pictures
from api.contracts.fooocusapi.retold import common_params
from api.contracts.fooocusapi.schemas import CommonRequest, Record
from api.contracts.fooocusapi.translate import PLAIN_PROMPT, Flow, plain, stored
from api.input_images import ReadImage
from api.progress_board import Shown
from api.settings import Settings
from api.settled import request_of
from engine.jobs.job import Job, JobState
from graphs.image_prompts import DEFAULTS
from graphs.presets import Preset
from graphs.request import GenerationRequest

CONTRACT = "fooocusapi"
STATUS: dict[JobState, Any] = {
    JobState.QUEUED: "pending",
    JobState.RUNNING: "running",
    JobState.SUCCEEDED: "finished",
    JobState.CANCELLED: "stop",
    JobState.FAILED: "error",
}
PICTURES = ("uov_input_image", "inpaint_input_image", "inpaint_mask_image_upload", "enhance_input_image")
NOT_YET = -1


def params_of(
    body: CommonRequest, asked: GenerationRequest, pictures: Pictures, flow: Flow, preset: Preset
) -> dict[str, Any]:
    """What was asked, in full, for the record: pictures by their names, what the preset filled by its values."""
    filled = presets.values(preset)
    params = filled | plain(body) | {name: filled[name] for name in presets.left_open(body)}
    params |= {
        "image_seed": asked.seed,
        "image_number": asked.image_number,
        "current_tab": flow.tab,
        "adm_scaler_positive": asked.adm_scaler_positive,
        "adm_scaler_negative": asked.adm_scaler_negative,
        "adm_scaler_end": asked.adm_scaler_end,
        "uov_input_image": _name(pictures.uov),
        "inpaint_input_image": _name(pictures.inpaint),
        "inpaint_mask_image_upload": _name(pictures.mask),
        "enhance_input_image": _name(pictures.enhance),
        "controlnet_image": [
            {
                "cn_img": image.stored.name,
                "cn_stop": _number(prompt.cn_stop, prompt.cn_type, 0),
                "cn_weight": _number(prompt.cn_weight, prompt.cn_type, 1),
                "cn_type": prompt.cn_type,
            }
            for prompt, image in pictures.prompts
        ],
    }
    return {name: params[name] for name in CommonRequest.__struct_fields__ if name in params}


def record(job: Job, settings: Settings, progress: Shown | None = None) -> Record:
    """A job as a task. progress: of a job that may be running; its record then has a preview."""
    running = job.state is JobState.RUNNING
    shown = progress or Shown()
    preview: str | UnsetType | None = UNSET
    if running:
        preview = base64.b64encode(shown.preview).decode() if shown.preview else None
    return Record(
        id=job.seq,
        task_id=task_id(job),
        req_params=_params(job, settings),
        in_queue_mills=job.created_ms,
        start_mills=job.started_ms or NOT_YET,
        finish_mills=job.finished_ms or NOT_YET,
        task_status=STATUS[job.state],
        progress=100 if job.is_final else shown.percent if running else 0,
        preview=preview,
        webhook_url=job.webhook_url or "",
        result=urls(job, settings) if job.is_final else [],
    )


def accepted(job: Job) -> Record:
    """The answer to async_process."""
    return Record(
        id=NOT_YET,
        task_id=task_id(job),
        req_params={},
        in_queue_mills=NOT_YET,
        start_mills=NOT_YET,
        finish_mills=NOT_YET,
        task_status="pending",
        progress=NOT_YET,
        preview="",
        webhook_url="",
        result=[],
    )


def urls(job: Job, settings: Settings) -> list[str]:
    """The addresses of the pictures made so far."""
    return [results.url_of(job, image.file, settings, prefix=results.OUTPUTS) for image in results.made(job)]


def task_id(job: Job) -> str:
    """A job's id without dashes; one that is no UUID stays as it is."""
    try:
        return uuid.UUID(job.id).hex
    except ValueError:
        return job.id


def _params(job: Job, settings: Settings) -> dict[str, Any]:
    """The request, its pictures as addresses; {} for a graph that somebody posted."""
    params = _own_params(job) if job.contract == CONTRACT else _retold_params(job)
    if not params:
        return {}
    for name in PICTURES:
        params[name] = _address(params[name], settings)
    params["controlnet_image"] = [
        {**prompt, "cn_img": _address(prompt["cn_img"], settings)} for prompt in params["controlnet_image"]
    ]
    return params


def _own_params(job: Job) -> dict[str, Any]:
    return dict(job.request["params"]) if isinstance(job.request, Mapping) else {}


def _retold_params(job: Job) -> dict[str, Any]:
    request = request_of(job)
    return common_params(request) if request else {}


def _address(name: str, settings: Settings) -> str:
    return results.input_url(name, settings) if name else ""


def _name(image: ReadImage | None) -> str:
    kept = stored(image)
    return kept.name if kept else ""


def _number(sent: float | UnsetType | None, kind: str, which: int) -> float:
    """Stop (0) or weight (1) of an image prompt as it counts."""
    if isinstance(sent, UnsetType) and kind == "ImagePrompt":
        return PLAIN_PROMPT[which]
    return DEFAULTS[kind][which] if isinstance(sent, UnsetType) else sent or DEFAULTS[kind][which]
