"""FooocusAPI's routes for the OpenAPI document."""

from typing import Any

from api.contracts.fooocusapi.schemas import CommonRequest, Control, Message, Record, TaskList, Tasks
from api.operations import PICTURES, Answer, Detail, Operation, refusals

TAG = "FooocusAPI"
TASK_ID = "85c10c81e9e2482d90a64c3704137d3a"
FORMS = """\
Answers with one picture when the Accept header names a picture's type; else with a stream of server-sent events when
`stream_output` is true; else with a pending task at once when `async_process` is true; else with the finished task.
"""
EVENT = 'data: {"progress": 13, "preview": null, "message": "Preparing task 1/1 ...", "images": []}\r\ndata: \r\n\r\n'


def _record(**changes: Any) -> Record:
    known = {
        "id": 71,
        "task_id": TASK_ID,
        "req_params": {"prompt": "a red circle"},
        "in_queue_mills": 1720085748199,
        "start_mills": 1720085748425,
        "finish_mills": 1720085770046,
        "task_status": "finished",
        "progress": 100,
        "webhook_url": "",
        "result": ["http://127.0.0.1:8888/outputs/2024-07-04/2024-07-04_17-36-09_5201.png"],
    }
    return Record(**{**known, **changes})


def operations() -> list[Operation]:
    """Every route of the contract; what it shares with Fooocus-API stands there."""
    refused = refusals()
    unknown = Answer(description="There is no such task.", type=Detail, example=Detail("Task not found"))
    listed = {
        200: Answer(description="The tasks.", type=TaskList, example=TaskList(history=[_record()])),
        **refused,
    }
    return [
        Operation(
            method="POST",
            path="/v1/engine/generate/",
            id="generate_v1_engine_generate__post",
            tag=TAG,
            summary="Every flow: the pictures that are sent decide which",
            description=FORMS,
            body=CommonRequest,
            example={"prompt": "a red circle on a blue background", "image_number": 1},
            answers={
                200: Answer(
                    description="The task, a picture, or a stream.",
                    type=Record,
                    media=(*PICTURES, "text/event-stream"),
                    example=_record(),
                ),
                204: Answer(description="Binary form: no picture was made."),
                409: Answer(description="The queue is full.", type=Detail, example=Detail("QUEUE_IS_FULL")),
                **refusals(body=True),
            },
        ),
        Operation(
            method="POST",
            path="/v1/engine/control/",
            id="control_v1_engine_control_post",
            tag=TAG,
            summary="Stop the running task, or skip the picture it is at",
            query=Control,
            answers={
                200: Answer(description="What was done.", type=Message, example=Message("task stopped")),
                **refusals(body=True),
            },
        ),
        Operation(
            method="GET",
            path="/tasks",
            id="get_tasks_tasks_get",
            tag=TAG,
            summary="Finished, running and waiting tasks; forgets those of a window",
            query=Tasks,
            answers=listed,
        ),
        Operation(
            method="DELETE",
            path="/tasks",
            id="delete_tasks",
            tag=TAG,
            summary="Forget the finished tasks of a window",
            query=Tasks,
            answers=listed,
        ),
        Operation(
            method="GET",
            path="/tasks/{id}",
            id="get_task_tasks__task_id__get",
            tag=TAG,
            summary="One task",
            path_words={"id": "Id of the task, with or without dashes."},
            answers={
                200: Answer(description="The task.", type=Record, example=_record()),
                404: unknown,
                **{status: answer for status, answer in refused.items() if status != 422},
            },
        ),
    ]
