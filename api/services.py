"""What handlers ask for: the settings, the queue, the worker, what is installed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

from api.library import Library
from api.progress_board import ProgressBoard
from api.settings import Settings

if TYPE_CHECKING:
    from api.contracts.comfy.socket import Hub
    from engine.jobs.queue import JobService
    from engine.jobs.supervisor import Supervisor


@dataclass(frozen=True)
class Services:
    """One per application, made by `api.app`."""

    settings: Settings
    jobs: "JobService"
    worker: "Supervisor"
    library: Library
    progress: ProgressBoard
    hub: "Hub"

    @property
    def outputs_dir(self) -> Path:
        return self.settings.outputs_dir

    @property
    def input_dir(self) -> Path:
        return self.settings.input_dir

    @property
    def temp_dir(self) -> Path:
        return self.settings.temp_dir


def services(connection: HTTPConnection) -> Services:
    """The services of the application that answers this request."""
    return connection.app.state.services
