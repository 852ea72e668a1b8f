"""A real server in a process of its own, with the real nodes and the embedded tiny model."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.demo import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 150.0  # a busy machine is slow, not wrong
TEXT_TO_IMAGE = "/v1/generation/text-to-image"


class Server:
    """`focal serve` over a data folder; can be killed and started again."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE_S)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "api.cli", "serve", "--data", str(self.data), "--port", str(self.port)]
        with (self.data / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        self.until(self._answers, PATIENCE_S, "answer /ping")

    def kill(self) -> None:
        """As the system does it: without any warning."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def worker_pid(self) -> int | None:
        """The server's only child."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def cpu_s(self) -> float:
        """Processor time that the server itself has used."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def submit(self, **body: Any) -> str:
        """Queue a text-to-image job; gives its id."""
        return self.client.post(TEXT_TO_IMAGE, json={**body, "async_process": True}).json()["job_id"]

    def query(self, job_id: str) -> dict[str, Any]:
        return self.client.get("/v1/generation/query-job", params={"job_id": job_id}).json()

    def until_sampling(self, job_id: str) -> None:
        self.until(lambda: "Step" in (self.query(job_id)["job_status"] or ""), PATIENCE_S, "sample")

    def until_ended(self, job_id: str) -> dict[str, Any]:
        self.until(lambda: self.query(job_id)["job_stage"] in ("SUCCESS", "ERROR"), PATIENCE_S, "end")
        return self.query(job_id)

    def picture(self, url: str) -> bytes:
        return self.client.get(url).content

    def until(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"did not {what} within {limit_s} s:\n{self.log()}"
            assert self.process is None or self.process.poll() is None, f"the server died:\n{self.log()}"
            time.sleep(0.02)

    def log(self) -> str:
        """The end of what the server wrote."""
        return (self.data / "server.log").read_text(errors="replace")[-3000:]

    def _answers(self) -> bool:
        with contextlib.suppress(httpx2.TransportError):
            return self.client.get("/ping").status_code == 200
        return False


def ends_within(pid: int, limit_s: float) -> bool:
    """Wait for a process that is not our child to end."""
    deadline = time.monotonic() + limit_s
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it running."""
    with _open(tmp_path_factory.mktemp("data")) as running:
        running.start()
        yield running


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that the test starts and ends itself."""
    with _open(tmp_path) as made:
        yield made


@contextlib.contextmanager
def _open(data: Path) -> Iterator[Server]:
    made = Server(data)
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.stop()
        made.client.close()


def kill_hard(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
