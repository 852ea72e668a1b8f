"""A small client for a Focal server: `Client` for scripts, `AsyncClient` for asyncio.

from api.client import Client

client = Client("http://127.0.0.1:8888")
client.text_to_image("a red circle on a blue background").save("a.png")
client.upscale("a.png", "Upscale (2x)", on_progress=print).save("b.png")
"""

from api.client.errors import ClientError, GenerationFailed, Rejected, Unreachable
from api.client.pictures import Picture, Pictures, Source
from api.client.protocol import ImagePrompt, Options, Progress
from api.client.sessions import AsyncClient, Client

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "GenerationFailed",
    "ImagePrompt",
    "Options",
    "Picture",
    "Pictures",
    "Progress",
    "Rejected",
    "Source",
    "Unreachable",
]
