"""GET /system_stats: versions, memory, devices."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.json_response import Json
from api.services import services

PROTOCOL_VERSION = "0.3.64"  # of ComfyUI, whose graph protocol is spoken here


async def system_stats(request: Request) -> Response:
    """GET /system_stats → what the machine is and has."""
    ready = services(request).worker.about
    total, free = memory_bytes()
    system = {
        "os": os.name,
        "ram_total": total,
        "ram_free": free,
        "comfyui_version": PROTOCOL_VERSION,
        "focal_version": package_version("focal"),
        "python_version": sys.version,
        "pytorch_version": package_version("torch"),
        "embedded_python": False,
        "argv": [],
    }
    return Json({"system": system, "devices": [_device(ready.about if ready else {})]})


def memory_bytes() -> tuple[int, int]:
    """Total and available main memory."""
    page = os.sysconf("SC_PAGE_SIZE")
    return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")


def package_version(name: str) -> str:
    """A distribution's version without importing it; "" when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _device(about: dict[str, Any]) -> dict[str, Any]:
    kind = str(about.get("device", "cpu"))
    total, free = memory_bytes()
    return {
        "name": about.get("name") or (platform.processor() or platform.machine()),
        "type": kind.partition(":")[0],
        "index": int(kind.partition(":")[2] or 0) if kind != "cpu" else None,
        "vram_total": about.get("vram_total", total),
        "vram_free": about.get("vram_free", free),
        "torch_vram_total": about.get("vram_total", total),
        "torch_vram_free": about.get("vram_free", free),
    }
