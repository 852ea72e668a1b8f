"""ComfyUI's routes for the OpenAPI document. Graphs and node descriptions are open objects, as in the original."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from api.operations import PICTURES, Answer, Operation, refusals

TAG = "ComfyUI graphs"
GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "focal-tiny-sdxl.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a red circle"}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": ""}},
    "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
    "5": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["1", 0],
            "positive": ["2", 0],
            "negative": ["3", 0],
            "latent_image": ["4", 0],
            "seed": 1,
            "steps": 20,
            "cfg": 4.0,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "denoise": 1.0,
        },
    },
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "example"}},
}


class PromptBody(Struct):
    """A graph in API format, and who sends it."""

    prompt: dict[str, Any]
    client_id: str | None = None
    prompt_id: str | None = None
    number: float | None = None
    front: bool | None = None
    extra_data: dict[str, Any] | None = None
    partial_execution_targets: list[str] | None = None


class PromptQueued(Struct):
    """Where a graph stands in the queue."""

    prompt_id: str
    number: float
    node_errors: dict[str, Any]


class PromptRefused(Struct):
    """Why a graph cannot run, as a whole and by node."""

    error: Any
    node_errors: Any


class Remaining(Struct):
    """The answer of GET /prompt."""

    exec_info: dict[str, int]


class Queue(Struct):
    """What runs and what waits: number, id, graph, extra data, outputs of each."""

    queue_running: list[list[Any]]
    queue_pending: list[list[Any]]


class Selection(Struct):
    """Entries to remove: all of them, or those named."""

    clear: bool | UnsetType = UNSET
    delete: list[str] | UnsetType = UNSET


class Interrupt(Struct):
    """Which job to end; any that runs when absent."""

    prompt_id: str | UnsetType = UNSET


class Free(Struct):
    """What to let go of."""

    unload_models: bool | UnsetType = UNSET
    free_memory: bool | UnsetType = UNSET


class HistoryQuery(Struct):
    """A part of the history."""

    max_items: int | UnsetType = UNSET
    offset: int | UnsetType = UNSET


class ViewQuery(Struct):
    """Which picture, and in which form."""

    filename: str
    subfolder: str = ""
    type: str = "output"
    preview: str = ""
    channel: str = "rgba"


class Upload(Struct):
    """A picture for LoadImage."""

    image: str
    subfolder: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    overwrite: str | UnsetType = UNSET


class Uploaded(Struct):
    """Under which name it is kept."""

    name: str
    subfolder: str
    type: str


def operations() -> list[Operation]:
    """Every HTTP route of the contract; each also answers below /api."""
    refused = refusals(body=True)
    trouble = {403: refused[403], 503: _in_graph_shape(refused[503])}
    large = {**trouble, **{status: _in_graph_shape(refused[status]) for status in (413, 422)}}
    nothing = Answer(description="Done; the body is empty.")

    def get(path: str, id: str, summary: str, answer: Answer, **more: Any) -> Operation:
        answers = {200: answer, **trouble, **more.pop("answers", {})}
        return Operation(method="GET", path=path, id=id, tag=TAG, summary=summary, answers=answers, **more)

    def post(path: str, id: str, summary: str, body: Any, answer: Answer = nothing, **more: Any) -> Operation:
        answers = {200: answer, **large, **more.pop("answers", {})}
        return Operation(method="POST", path=path, id=id, tag=TAG, summary=summary, body=body, answers=answers, **more)

    missing = {404: Answer(description="There is no such thing.")}
    anything = dict[str, Any]
    return [
        post(
            "/prompt",
            "post_prompt",
            "Queue a graph",
            PromptBody,
            Answer(
                description="The graph is queued.",
                type=PromptQueued,
                example=PromptQueued("0d2b1b5e-3f1c-4c57-9f4e-6c8b9d6f2a11", 1, {}),
            ),
            example={"prompt": GRAPH, "client_id": "me"},
            answers={
                400: Answer(description="The graph cannot run; every reason is listed.", type=PromptRefused),
                409: Answer(description="The queue is full, or the id is taken.", type=PromptRefused),
            },
        ),
        get(
            "/prompt",
            "get_prompt",
            "How many graphs wait or run",
            Answer(description="The number.", type=Remaining, example={"exec_info": {"queue_remaining": 0}}),
        ),
        get(
            "/queue",
            "get_queue",
            "What runs and what waits",
            Answer(description="The queue.", type=Queue, example={"queue_running": [], "queue_pending": []}),
        ),
        post("/queue", "post_queue", "Remove waiting jobs", Selection, example={"clear": True}),
        post("/interrupt", "interrupt", "End the running job", Interrupt, example={}),
        post("/free", "free", "Unload models, forget results", Free, example={"unload_models": True}),
        get(
            "/history",
            "history",
            "What was run",
            Answer(description="Finished jobs by id.", type=anything, example={}),
            query=HistoryQuery,
        ),
        get(
            "/history/{id}",
            "history_of",
            "One finished job",
            Answer(description="The entry by its id; empty while unknown or unfinished.", type=anything, example={}),
            path_words={"id": "Id of the job."},
        ),
        post("/history", "post_history", "Forget finished jobs", Selection, example={"delete": []}),
        get(
            "/object_info",
            "object_info",
            "Every node",
            Answer(description="Nodes by class name.", type=anything, example={}),
        ),
        get(
            "/object_info/{name}",
            "object_info_of",
            "One node",
            Answer(description="The node by its name; empty when unknown.", type=anything, example={}),
            path_words={"name": "Class name of the node."},
        ),
        get(
            "/models",
            "model_kinds",
            "Kinds of model files",
            Answer(description="Names of the kinds.", type=list[str], example=["checkpoints", "loras"]),
        ),
        get(
            "/models/{kind}",
            "model_files",
            "Model files of a kind",
            Answer(description="Names of the files.", type=list[str], example=["focal-tiny-sdxl.safetensors"]),
            path_words={"kind": "Name of the kind."},
            answers=missing,
        ),
        get(
            "/embeddings",
            "embeddings",
            "Textual inversion embeddings",
            Answer(description="Names without ending.", type=list[str], example=[]),
        ),
        get(
            "/features",
            "features",
            "What the server understands",
            Answer(description="Features.", type=anything, example={"supports_preview_metadata": True}),
        ),
        get(
            "/system_stats",
            "system_stats",
            "Versions and devices",
            Answer(description="The system.", type=anything, example={"system": {}, "devices": []}),
        ),
        get(
            "/view",
            "view",
            "One picture",
            Answer(description="The picture.", media=PICTURES),
            query=ViewQuery,
            answers={400: Answer(description="The name is no name of a picture."), **missing},
        ),
        Operation(
            method="POST",
            path="/upload/image",
            id="upload_image",
            tag=TAG,
            summary="Keep a picture for LoadImage",
            form=Upload,
            files=("image",),
            answers={
                200: Answer(description="It is kept.", type=Uploaded, example=Uploaded("a.png", "", "input")),
                400: Answer(description="It is no picture, or the name is no name."),
                **large,
            },
        ),
    ]


def _in_graph_shape(answer: Answer) -> Answer:
    """The same status with the body that graph clients read."""
    return Answer(description=answer.description, type=PromptRefused)
