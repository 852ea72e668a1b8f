"""Fooocus-API's routes for the OpenAPI document."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from api import fields
from api.contracts.fooocus_api import image_schemas, replies, schemas
from api.contracts.fooocus_api.replies import AsyncJob, GeneratedImage, History, HistoryEntry, PersistentHistory
from api.operations import PICTURES, Answer, Detail, Operation, refusals

TAG = "Fooocus-API"
TOOLS = "Tools of both REST contracts"
PROMPT = "a red circle on a blue background"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
URL = "http://127.0.0.1:8888/files/2026-11-21/2026-11-21_10-00-00_1234.png"
JOB_ID = "cac3914a-926d-4b6f-a46a-83794a0ce1d4"
MODES = """\
Answers with a list of pictures when they are done; with a job at once when `async_process` is true; with one picture
when the Accept header, or the parameter `accept`, is a picture's type. A full queue and a failed job are told in
`finish_reason` with status 200, or with their own status in the binary form and under `--strict-status`.
"""


class Accepts(Struct):
    """Parameters of every generation route."""

    accept: str = ""


class DescribeQuery(Struct):
    """The type may stand in the query."""

    image_type: str | UnsetType = UNSET
    type: str | UnsetType = UNSET


class Described(Struct):
    """What a picture shows."""

    describe: str


class Message(Struct):
    """What was done."""

    message: str


class Stopped(Struct):
    """The answer of stop."""

    msg: str


class Models(Struct):
    """Names of files, as requests use them."""

    model_filenames: list[str]
    lora_filenames: list[str]


class QueueSummary(Struct):
    """How busy the server is."""

    running_size: int
    finished_size: int
    last_job_id: str | None


def operations() -> list[Operation]:
    """Every route of the contract."""
    return [*_generation(), *_jobs(), *_tools(), *_engines()]


def _generation() -> list[Operation]:
    text = {"prompt": PROMPT, "image_number": 1, "image_seed": "42"}
    picture = {"input_image": f"data:image/png;base64,{PNG}"}

    prompts = [{"cn_img": picture["input_image"], "cn_type": "ImagePrompt", "cn_stop": 0.5, "cn_weight": 0.6}]
    slots = tuple(f"cn_img{number}" for number in image_schemas.SLOTS)

    def two(name: str, id: str, summary: str, body: Any, form: Any, files: tuple[str, ...], example: Any) -> Any:
        """Version 1 takes a form, version 2 JSON; each takes the other as well."""
        spelt = {"image-inpaint-outpaint": "image-inpait-outpaint"}.get(name)
        for version in ("v1", "v2"):
            suffix = "" if version == "v1" else "_v2"
            yield _generate(
                f"/{version}/generation/{name}",
                f"{id}{suffix}_{version}_generation_{name.replace('-', '_')}_post",
                summary,
                body=body,
                form=form,
                files=files,
                example=example,
                also=(f"/{version}/generation/{spelt}",) if spelt else (),
            )

    return [
        _generate(
            "/v1/generation/text-to-image",
            "text2img_generation_v1_generation_text_to_image_post",
            "Text to image",
            body=schemas.TextToImage,
            example=text,
        ),
        _generate(
            "/v2/generation/text-to-image-with-ip",
            "text_to_img_with_ip_v2_generation_text_to_image_with_ip_post",
            "Text to image, steered by pictures",
            body=image_schemas.Prompted,
            example={**text, "image_prompts": prompts},
        ),
        *two(
            "image-upscale-vary",
            "img_upscale_or_vary",
            "Vary or upscale a picture",
            image_schemas.UpscaleVary,
            image_schemas.UpscaleVaryForm,
            ("input_image", *slots),
            {**text, **picture, "uov_method": "Upscale (Fast 2x)"},
        ),
        *two(
            "image-inpaint-outpaint",
            "img_inpaint_or_outpaint",
            "Repaint a part of a picture, or extend it",
            image_schemas.Inpaint,
            image_schemas.InpaintForm,
            ("input_image", "input_mask", *slots),
            {**text, **picture, "outpaint_selections": ["Right"]},
        ),
        *two(
            "image-prompt",
            "img_prompt",
            "Pictures that steer the result, with a picture to repaint or without",
            image_schemas.PromptedInpaint,
            image_schemas.PromptForm,
            ("input_image", "input_mask", *slots),
            {**text, "image_prompts": prompts},
        ),
        *two(
            "image-enhance",
            "img_enhance",
            "Find parts of a picture and repaint them, stage by stage",
            image_schemas.Enhance,
            image_schemas.EnhanceForm,
            ("enhance_input_image",),
            {
                **text,
                "enhance_input_image": picture["input_image"],
                "enhance_uov_method": "Disabled",
                "enhance_ctrlnets": [{"enhance_enabled": True, "enhance_mask_model": "u2net"}],
            },
        ),
    ]


def _generate(path: str, id: str, summary: str, **more: Any) -> Operation:
    image = GeneratedImage(None, URL, "42", "SUCCESS")
    answers = {
        200: Answer(
            description="The pictures, a job, or one picture.",
            type=list[GeneratedImage] | AsyncJob,
            media=PICTURES,
            example=[image],
        ),
        204: Answer(description="Binary form: there was nothing to do, and there is no picture."),
        400: Answer(description="Binary form: the job was stopped.", media=("text/plain",), example="USER_CANCEL"),
        409: Answer(description="Binary form: the queue is full.", media=("text/plain",), example="QUEUE_IS_FULL"),
        500: Answer(description="Binary form: the job failed.", media=("text/plain",), example="ERROR"),
        **refusals(body=True),
    }
    return Operation(
        method="POST",
        path=path,
        id=id,
        tag=TAG,
        summary=summary,
        description=MODES,
        query=Accepts,
        answers=answers,
        **more,
    )


def _jobs() -> list[Operation]:
    refused = refusals()
    waiting = AsyncJob(JOB_ID, "Text to Image", "WAITING", 0, None, None, None)
    summary = QueueSummary(1, 3, JOB_ID)
    return [
        Operation(
            method="GET",
            path="/v1/generation/query-job",
            id="query_job_v1_generation_query_job_get",
            tag=TAG,
            summary="Progress and result of a job",
            query=schemas.QueryJob,
            answers={
                200: Answer(description="The job.", type=AsyncJob, example=waiting),
                404: Answer(description="There is no such job.", type=AsyncJob, example=replies.NOT_FOUND_JOB),
                **refused,
            },
        ),
        Operation(
            method="POST",
            path="/v1/generation/query-job",
            id="query_job_post",
            tag=TAG,
            summary="The same with the parameters in the body",
            body=schemas.QueryJob,
            example={"job_id": JOB_ID},
            answers={
                200: Answer(description="The job.", type=AsyncJob, example=waiting),
                404: Answer(description="There is no such job.", type=AsyncJob, example=replies.NOT_FOUND_JOB),
                **refusals(body=True),
            },
        ),
        Operation(
            method="GET",
            path="/v1/generation/job-queue",
            id="job_queue_v1_generation_job_queue_get",
            tag=TAG,
            summary="How many jobs wait, run and are finished",
            answers={200: Answer(description="The numbers.", type=QueueSummary, example=summary), **_few(refused)},
            also=("/v1/engines/job-queue",),
        ),
        Operation(
            method="GET",
            path="/v1/generation/job-history",
            id="get_history_v1_generation_job_history_get",
            tag=TAG,
            summary="Waiting and finished jobs; removes one",
            query=schemas.JobHistory,
            answers={
                200: Answer(
                    description="What waits and what is finished, with more under --persistent; or what was done.",
                    type=History,
                    others=(PersistentHistory, Message),
                    example=History([], [HistoryEntry(JOB_ID, 1763719200000, 1763719200009, 1763719204000, True)]),
                ),
                **refused,
            },
        ),
        Operation(
            method="POST",
            path="/v1/generation/stop",
            id="stop_v1_generation_stop_post",
            tag=TAG,
            summary="End the running job",
            answers={200: Answer(description="Done.", type=Stopped, example=Stopped("success")), **_few(refused)},
        ),
        Operation(
            method="GET",
            path="/v1/engines/jobs/{id}/graph",
            id="job_graph",
            tag=TAG,
            summary="The graph a job was compiled to; POST /prompt takes it",
            path_words={"id": "Id of the job, with or without dashes."},
            answers={
                200: Answer(description="The graph.", type=dict[str, Any], example={}),
                404: Answer(description="There is no such job.", type=Detail, example=Detail("There is no such job.")),
                **_few(refused),
            },
        ),
    ]


def _tools() -> list[Operation]:
    unreadable = Answer(description="The form cannot be read.", type=Detail, example=Detail("Invalid multipart data."))
    refused = {400: unreadable, **refusals(body=True)}
    picture = f"data:image/png;base64,{PNG}"
    return [
        Operation(
            method="POST",
            path="/v1/tools/describe-image",
            id="describe_image_v1_tools_describe_image_post",
            tag=TOOLS,
            summary="Say what a picture shows",
            query=DescribeQuery,
            body=fields.Describe,
            form=fields.Describe,
            files=("image",),
            example={"image": picture, "image_type": "Photo"},
            answers={
                200: Answer(description="The words.", type=Described, example=Described("a red circle")),
                **refused,
            },
        ),
        Operation(
            method="POST",
            path="/v1/tools/generate_mask",
            id="generate_mask_v1_tools_generate_mask_post",
            tag=TOOLS,
            summary="Find a mask in a picture",
            body=fields.GenerateMask,
            form=fields.GenerateMask,
            files=("image",),
            example={"image": picture, "mask_model": "u2net"},
            answers={200: Answer(description="Base64 of a PNG.", type=str, example=PNG), **refused},
        ),
    ]


def _engines() -> list[Operation]:
    few = _few(refusals())
    models = Models(["focal-tiny-sdxl.safetensors"], [])

    def get(path: str, id: str, summary: str, answer: Answer, **more: Any) -> Operation:
        return Operation(method="GET", path=path, id=id, tag=TAG, summary=summary, answers={200: answer, **few}, **more)

    return [
        get(
            "/v1/engines/all-models",
            "all_models_v1_engines_all_models_get",
            "Checkpoints and LoRAs",
            Answer(description="Names of the files.", type=Models, example=models),
        ),
        Operation(
            method="POST",
            path="/v1/engines/refresh-models",
            id="refresh_models_v1_engines_refresh_models_post",
            tag=TAG,
            summary="Look at the model folders again",
            answers={200: Answer(description="Names of the files.", type=Models, example=models), **few},
        ),
        get(
            "/v1/engines/styles",
            "all_styles_v1_engines_styles_get",
            "Styles",
            Answer(description="Names of the styles.", type=list[str], example=["Fooocus V2"]),
        ),
        get(
            "/v1/engines/clean_vram",
            "clean_vram_v1_engines_clean_vram_get",
            "Unload models",
            Answer(description="Done.", type=Message, example=Message("ok")),
        ),
        get(
            "/ping",
            "ping_ping_get",
            "Is the server there?",
            Answer(description="Yes.", type=str, example="pong"),
            key=False,
        ),
    ]


def _few(refused: dict[int, Answer]) -> dict[int, Answer]:
    """Of routes that read nothing."""
    return {status: answer for status, answer in refused.items() if status != 422}
