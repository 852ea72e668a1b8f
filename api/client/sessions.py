"""The two clients: the same calls, blocking and asynchronous."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, TypeVar, Unpack

import httpx2

from api.client import protocol
from api.client.errors import Rejected, Unreachable
from api.client.pictures import Pictures, Source, as_text
from api.client.protocol import Call, ImagePrompt, OnProgress, Options, Pause, Side, Steps, UovMethod

DEFAULT_URL = "http://127.0.0.1:8888"
T = TypeVar("T")


class Client:
    """A connection to one server. timeout_s: for one answer, not for a whole job.

    Every method that makes pictures takes the contract's other fields as keywords (`Options`), and `on_progress`.
    Raises Rejected for a refused request, GenerationFailed for a failed job, Unreachable without an answer.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str = "",
        timeout_s: float = 60,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._http = httpx2.Client(
            base_url=url, headers=_headers(api_key), timeout=timeout_s, transport=transport, follow_redirects=False
        )

    def text_to_image(
        self,
        prompt: str,
        *,
        image_prompts: Sequence[ImagePrompt] = (),
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Pictures:
        """Make pictures from words, steered by other pictures if there are any."""
        return self._run(protocol.generate(*protocol.text_to_image(prompt, image_prompts), options, on_progress))

    def vary(
        self,
        image: Source,
        method: Literal["Vary (Subtle)", "Vary (Strong)"] = "Vary (Subtle)",
        *,
        prompt: str = "",
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Pictures:
        """Make variations of a picture."""
        asked = protocol.vary_or_upscale(image, method, prompt, None)
        return self._run(protocol.generate(*asked, options, on_progress))

    def upscale(
        self,
        image: Source,
        method: UovMethod = "Upscale (2x)",
        *,
        factor: float | None = None,
        prompt: str = "",
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Pictures:
        """Enlarge a picture. factor: 1 to 5, with Upscale (Custom)."""
        asked = protocol.vary_or_upscale(image, method, prompt, factor)
        return self._run(protocol.generate(*asked, options, on_progress))

    def inpaint(
        self,
        image: Source,
        mask: Source,
        *,
        prompt: str = "",
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Pictures:
        """Repaint a picture where the mask is white."""
        asked = protocol.inpaint(image, mask, prompt, (), {})
        return self._run(protocol.generate(*asked, options, on_progress))

    def outpaint(
        self,
        image: Source,
        *sides: Side,
        distances: Mapping[Side, int] | None = None,
        prompt: str = "",
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Pictures:
        """Extend a picture. distances: pixels by side; a side without one grows by 30 %."""
        asked = protocol.inpaint(image, None, prompt, sides, distances or {})
        return self._run(protocol.generate(*asked, options, on_progress))

    def describe(self, image: Source, image_type: Literal["Photo", "Anime"] = "Photo") -> str:
        """Say what a picture shows."""
        return self.call("POST", "/v1/tools/describe-image", {"image": as_text(image), "image_type": image_type})[
            "describe"
        ]

    def run_graph(self, graph: Mapping[str, Any]) -> dict[str, Any]:
        """Run a graph in ComfyUI's API format. Returns its history entry."""
        return self._run(protocol.run_graph(graph))

    def job_graph(self, job_id: str) -> dict[str, Any]:
        """Return the graph that a job was compiled to; `run_graph` takes it."""
        return self.call("GET", f"/v1/engines/jobs/{job_id}/graph")

    def models(self) -> dict[str, list[str]]:
        """Return the names of checkpoints and LoRAs."""
        return self.call("GET", "/v1/engines/all-models")

    def styles(self) -> list[str]:
        """Return the names of all styles."""
        return self.call("GET", "/v1/engines/styles")

    def stop(self) -> None:
        """End the job that runs."""
        self.call("POST", "/v1/generation/stop")

    def call(self, method: str, path: str, json: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """Call any route of the server and return the parsed answer."""
        return self._answered(Call(method, path, json, query or {}))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self, steps: Steps[T]) -> T:
        answer = None
        try:
            while True:
                step = steps.send(answer)
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    answer = None
                else:
                    answer = self._answered(step)
        except StopIteration as end:
            return end.value

    def _answered(self, call: Call) -> Any:
        try:
            reply = self._http.request(call.method, call.path, params=dict(call.query), **_content(call))
        except httpx2.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error
        return _read(reply, call)


class AsyncClient:
    """The same for asyncio; `async with AsyncClient() as client`."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str = "",
        timeout_s: float = 60,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx2.AsyncClient(
            base_url=url, headers=_headers(api_key), timeout=timeout_s, transport=transport, follow_redirects=False
        )

    async def text_to_image(
        self,
        prompt: str,
        *,
        image_prompts: Sequence[ImagePrompt] = (),
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Pictures:
        """Make pictures from words, steered by other pictures if there are any."""
        return await self._run(protocol.generate(*protocol.text_to_image(prompt, image_prompts), options, on_progress))

    async def vary(
        self,
        image: Source,
        method: Literal["Vary (Subtle)", "Vary (Strong)"] = "Vary (Subtle)",
        *,
        prompt: str = "",
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Pictures:
        """Make variations of a picture."""
        asked = protocol.vary_or_upscale(image, method, prompt, None)
        return await self._run(protocol.generate(*asked, options, on_progress))

    async def upscale(
        self,
        image: Source,
        method: UovMethod = "Upscale (2x)",
        *,
        factor: float | None = None,
        prompt: str = "",
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Pictures:
        """Enlarge a picture. factor: 1 to 5, with Upscale (Custom)."""
        asked = protocol.vary_or_upscale(image, method, prompt, factor)
        return await self._run(protocol.generate(*asked, options, on_progress))

    async def inpaint(
        self,
        image: Source,
        mask: Source,
        *,
        prompt: str = "",
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Pictures:
        """Repaint a picture where the mask is white."""
        asked = protocol.inpaint(image, mask, prompt, (), {})
        return await self._run(protocol.generate(*asked, options, on_progress))

    async def outpaint(
        self,
        image: Source,
        *sides: Side,
        distances: Mapping[Side, int] | None = None,
        prompt: str = "",
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Pictures:
        """Extend a picture. distances: pixels by side; a side without one grows by 30 %."""
        asked = protocol.inpaint(image, None, prompt, sides, distances or {})
        return await self._run(protocol.generate(*asked, options, on_progress))

    async def describe(self, image: Source, image_type: Literal["Photo", "Anime"] = "Photo") -> str:
        """Say what a picture shows."""
        body = {"image": as_text(image), "image_type": image_type}
        return (await self.call("POST", "/v1/tools/describe-image", body))["describe"]

    async def run_graph(self, graph: Mapping[str, Any]) -> dict[str, Any]:
        """Run a graph in ComfyUI's API format. Returns its history entry."""
        return await self._run(protocol.run_graph(graph))

    async def job_graph(self, job_id: str) -> dict[str, Any]:
        """Return the graph that a job was compiled to; `run_graph` takes it."""
        return await self.call("GET", f"/v1/engines/jobs/{job_id}/graph")

    async def models(self) -> dict[str, list[str]]:
        """Return the names of checkpoints and LoRAs."""
        return await self.call("GET", "/v1/engines/all-models")

    async def styles(self) -> list[str]:
        """Return the names of all styles."""
        return await self.call("GET", "/v1/engines/styles")

    async def stop(self) -> None:
        """End the job that runs."""
        await self.call("POST", "/v1/generation/stop")

    async def call(self, method: str, path: str, json: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """Call any route of the server and return the parsed answer."""
        return await self._answered(Call(method, path, json, query or {}))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _run(self, steps: Steps[T]) -> T:
        answer = None
        try:
            while True:
                step = steps.send(answer)
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    answer = None
                else:
                    answer = await self._answered(step)
        except StopIteration as end:
            return end.value

    async def _answered(self, call: Call) -> Any:
        try:
            reply = await self._http.request(call.method, call.path, params=dict(call.query), **_content(call))
        except httpx2.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error
        return _read(reply, call)


def _headers(api_key: str) -> dict[str, str]:
    return {"X-API-KEY": api_key} if api_key else {}


def _content(call: Call) -> dict[str, Any]:
    return {} if call.json is None else {"json": call.json}


def _unreachable(url: object, error: Exception) -> Unreachable:
    return Unreachable(f"{url} gives no answer ({error!r}). Is the server running? Start it with: focal serve")


def _read(reply: httpx2.Response, call: Call) -> Any:
    if call.raw and reply.status_code == 200:
        return reply.content
    try:
        body = reply.json() if reply.content else None
    except ValueError:
        body = reply.text
    if reply.status_code >= 400:
        raise Rejected(reply.status_code, body.get("detail", body) if isinstance(body, dict) else body)
    return body
