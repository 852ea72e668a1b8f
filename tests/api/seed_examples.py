"""The Python examples of the documents that Fooocus-API's clients were written after, run as they stand.

Only the host and the paths of the pictures are replaced, and `job-history`, which no Python can define.
"""

import base64
import inspect
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

HERE = Path(__file__).parent / "examples"
DOCUMENTS = ("documents_000_001.md", "document_002.md", "document_003.md")
HOST = "http://127.0.0.1:8888"
_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def examples(document: str) -> list[str]:
    """Every example of a document that asks the server; the other one is a webhook's receiver, for FastAPI."""
    blocks = _BLOCK.findall((HERE / document).read_text(encoding="utf-8"))
    return [block for block in blocks if "requests." in block]


def run_example(code: str, host: str, pictures: Path, job_id: str) -> list[Any]:
    """Run one example, and the functions that it only defines. Gives everything that the server answered."""
    answers: list[Any] = []

    def kept(call: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
        def asked(*args: Any, **options: Any) -> requests.Response:
            reply = call(*args, **options)
            answers.append((reply.status_code, reply.json()))
            return reply

        return asked

    class Recorded:
        get = staticmethod(kept(requests.get))
        post = staticmethod(kept(requests.post))

    def open_picture(path: str, mode: str) -> Any:
        return io.BytesIO((pictures / Path(path).name).read_bytes())  # the examples never close theirs

    code = code.replace(HOST, host).replace("def job-history(", "def job_history(")
    space: dict[str, Any] = {"requests": Recorded, "json": json, "base64": base64, "open": open_picture}
    space["print"] = lambda *words: None
    exec(compile(code, "<example>", "exec"), space)
    defined = [
        value for value in space.values() if inspect.isfunction(value) and value.__code__.co_filename == "<example>"
    ]
    if not answers:
        for function in defined:
            named = {"image": (pictures / "bear.jpg").read_bytes(), "task_id": job_id}
            function(**{name: named[name] for name in inspect.signature(function).parameters if name in named})
    return answers
