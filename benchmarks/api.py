"""What REST costs beside the pictures: one generation over HTTP and in the worker alone, submissions, polling.

    python -m benchmarks.api [--rounds 30] [--submissions 1500] [--pairs 4] [--images 6] [--json FILE]

Needs Linux, two cores and the embedded tiny model; starts a server, and a worker of its own, over a temporary folder.
Takes two to three minutes on a machine that is otherwise idle.

1. generation: the same graph, a new seed each time, over POST /v1/generation/text-to-image and, in turn, straight in a
   worker process; the difference of each pair is what accepting, compiling, storing, dispatching and answering take.
   Then the same with one seed, so that both workers find the picture in their cache and only write the file: there the
   difference is not hidden by how long sampling happens to take. Then that request again after a while without any.
2. submissions: 16 clients submit with async_process while the worker is busy with a job.
3. polling: a job alone, and while 200 clients each ask query-job for it, preview included, once a second.

Beside the wall times stand processor times: of the server's process without its worker, over the measured requests only
(what the benchmark looks up for itself is left out), and of the polling clients, who on a real network have a machine
of their own. They change less than wall times when the machine has other work to do. The load averages before and after
are part of the result: above the number of cores, wall times say little.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from api.demo import free_port
from api.engine_room import worker_config
from api.library import Library
from api.settings import Settings
from engine.jobs.messages import Run
from engine.jobs.supervisor import Supervisor

TARGET_OVERHEAD_MS = 15.0
TARGET_PER_SECOND, TARGET_P99_MS = 150.0, 100.0
TARGET_SLOWER_PERCENT = 5.0
CLIENTS, POLLERS, POLL_EVERY_S = 16, 200, 1.0
IDLE_S, IDLE_ROUNDS = 12.0, 2  # longer than a kept-alive connection or a thread of the server's pool waits for work
SETTLE_S = 0.05  # what the server still does for a request after its answer
PROMPT = "a red circle on a blue background"
TEXT = "/v1/generation/text-to-image"
PROCESS_CLOCK = 2  # CPUCLOCK_SCHED: of such a number and a process id Linux makes a clock, as clock_getcpuclockid does
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def request(method: str, path: str, body: Any = None) -> bytes:
    """A request as it goes over the wire."""
    sent = b"" if body is None else json.dumps(body).encode()
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(sent)}\r\n\r\n".encode() + sent


class Connection:
    """One kept-alive HTTP connection: no library, so that the clients take little of the two cores."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and give the JSON of the answer; raises when its status is not 200."""
        return json.loads(await self.exchange(request(method, path, body)))

    async def exchange(self, sent: bytes) -> bytes:
        """Send a whole request and give the body of the answer; raises when its status is not 200."""
        if self._streams is None or self._streams[0].at_eof():  # the server closes what was idle for five seconds
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(int(LENGTH.search(head)[1]))  # type: ignore[index]
        assert head.startswith(b"HTTP/1.1 200 "), head + answer[:300]
        return answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


class Server:
    """`focal serve` in a process of its own. first_s: how long its first picture took, models not yet loaded."""

    def __init__(self, data: Path) -> None:
        self.port = free_port()
        self.first_s = 0.0
        command = [sys.executable, "-m", "api.cli", "serve", "--data", str(data), "--port", str(self.port)]
        log = (data / "server.log").open("wb")
        self.process = subprocess.Popen([*command, "--queue-size", "100000"], stdout=log, stderr=log)

    def cpu_ms(self) -> float:
        """Processor time of the server's process so far; its worker is another one."""
        return time.clock_gettime(~self.process.pid << 3 | PROCESS_CLOCK) * 1e3

    def kill(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[tuple[Server, Connection]]:
    """A server that has made its first picture."""
    folder.mkdir()
    server = Server(folder)
    connection = Connection(server.port)
    try:
        while True:
            try:
                await connection.ask("GET", "/ping")
                break
            except OSError:
                connection._streams = None
                await asyncio.sleep(0.1)
        begun = time.perf_counter()
        await connection.ask("POST", TEXT, {"prompt": PROMPT, "image_seed": 0})
        server.first_s = time.perf_counter() - begun
        yield server, connection
    finally:
        connection.close()
        server.kill()


class Pair:
    """The server, and a worker alone that runs the same graphs."""

    def __init__(self, server: Server, connection: Connection, worker: Supervisor) -> None:
        self._server = server
        self._connection = connection
        self._worker = worker
        self.rest_ms: list[float] = []
        self.alone_ms: list[float] = []
        self.cpu_ms: list[float] = []

    async def run(self, seed: int) -> None:
        """Draw one picture both ways."""
        sent = request("POST", TEXT, {"prompt": PROMPT, "image_seed": seed, "advanced_params": {"overwrite_step": 4}})
        cpu, begun = self._server.cpu_ms(), time.perf_counter()
        await self._connection.exchange(sent)
        self.rest_ms.append((time.perf_counter() - begun) * 1e3)
        await asyncio.sleep(SETTLE_S)
        self.cpu_ms.append(self._server.cpu_ms() - cpu)
        last = await self._connection.ask("GET", "/v1/generation/job-queue")
        graph = await self._connection.ask("GET", f"/v1/engines/jobs/{last['last_job_id']}/graph")
        outputs = tuple(id for id, node in graph.items() if node["class_type"] == "SaveGeneration")
        begun = time.perf_counter()
        await self._worker.run(Run(f"alone-{len(self.rest_ms)}", 1, graph, outputs, {"previews": True}), lambda _: None)
        self.alone_ms.append((time.perf_counter() - begun) * 1e3)

    def forget(self) -> None:
        """Begin a new series; what came before was to warm up."""
        for series in (self.rest_ms, self.alone_ms, self.cpu_ms):
            series.clear()

    def figures(self) -> dict[str, float]:
        """Medians of the series."""
        added = [rest - alone for rest, alone in zip(self.rest_ms, self.alone_ms, strict=True)]
        return {
            "rest_ms": statistics.median(self.rest_ms),
            "alone_ms": statistics.median(self.alone_ms),
            "added_ms": statistics.median(added),
            "server_cpu_ms": statistics.median(self.cpu_ms),
        }


async def generation(server: Server, connection: Connection, folder: Path, rounds: int) -> dict[str, Any]:
    """Milliseconds of a generation over REST and in a worker alone, in turn, with the same graphs."""
    settings = Settings(data=folder)
    folder.mkdir()
    worker = Supervisor(worker_config(settings, Library(settings), warm=True), log_path=folder / "worker.log")
    await worker.start()
    await worker.wait_ready()
    pair = Pair(server, connection, worker)
    found: dict[str, Any] = {}
    for number in range(rounds + 3):
        await pair.run(1000 + number)
        if number == 2:
            pair.forget()
    found["drawn"] = pair.figures()
    pair.forget()
    for _ in range(rounds):
        await pair.run(1000)
    found["cached"] = pair.figures()
    pair.forget()
    for _ in range(IDLE_ROUNDS):
        await asyncio.sleep(IDLE_S)
        await pair.run(1000)
    found["idle"] = pair.figures()
    await worker.close()
    return found


async def submissions(server: Server, connection: Connection, count: int) -> dict[str, float]:
    """Accepted submissions per second, and how long one takes, while the worker works."""
    busy = {"prompt": PROMPT, "image_number": 32, "advanced_params": {"overwrite_step": 200}, "async_process": True}
    await connection.ask("POST", TEXT, busy)
    waits: list[float] = []
    numbers = iter(range(count))

    async def client() -> None:
        own = Connection(server.port)
        for number in numbers:
            body = {"prompt": PROMPT, "image_seed": number, "async_process": True}
            begun = time.perf_counter()
            answer = await own.ask("POST", TEXT, body)
            waits.append((time.perf_counter() - begun) * 1e3)
            assert answer["job_stage"] == "WAITING"
        own.close()

    cpu, begun = server.cpu_ms(), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    seconds = time.perf_counter() - begun
    waits.sort()
    return {
        "per_second": count / seconds,
        "median_ms": waits[count // 2],
        "p99_ms": waits[int(count * 0.99)],
        "server_cpu_ms": (server.cpu_ms() - cpu) / count,
    }


async def polling(server: Server, connection: Connection, pairs: int, images: int) -> dict[str, float]:
    """How much longer a job runs while it is polled: the median over pairs of one alone and one polled."""
    slower: list[float] = []
    cpu_ms, own_ms, waits = 0.0, 0.0, []
    for pair in range(pairs):
        alone = await _run_of_job(connection, _long(10_000 + pair * 100, images))
        over = asyncio.Event()
        job_id = (await connection.ask("POST", TEXT, _long(10_050 + pair * 100, images)))["job_id"]

        async def poller(number: int, job_id: str = job_id, over: asyncio.Event = over) -> None:
            own = Connection(server.port)
            sent = request("GET", f"/v1/generation/query-job?job_id={job_id}&require_step_preview=true")
            await asyncio.sleep(number * POLL_EVERY_S / POLLERS)
            while not over.is_set():
                begun = time.perf_counter()
                await own.exchange(sent)
                waits.append((time.perf_counter() - begun) * 1e3)
                await asyncio.sleep(POLL_EVERY_S)
            own.close()

        cpu, own = server.cpu_ms(), time.process_time()
        pollers = [asyncio.create_task(poller(number)) for number in range(POLLERS)]
        polled = await _until_ended(connection, job_id)
        over.set()
        await asyncio.gather(*pollers)
        cpu_ms += server.cpu_ms() - cpu
        own_ms += (time.process_time() - own) * 1e3
        slower.append((polled / alone - 1) * 100)
    polls = len(waits)
    waits.sort()
    return {
        "slower_percent": statistics.median(slower),
        "polls": polls,
        "poll_median_ms": waits[polls // 2],
        "server_cpu_ms": cpu_ms / polls,
        "client_cpu_ms": own_ms / polls,
    }


async def _run_of_job(connection: Connection, body: dict[str, Any]) -> float:
    return await _until_ended(connection, (await connection.ask("POST", TEXT, body))["job_id"])


async def _until_ended(connection: Connection, job_id: str) -> float:
    """How long the job ran, as its record says."""
    while True:
        task = await connection.ask("GET", f"/tasks/{job_id}")
        if task["task_status"] not in ("pending", "running"):
            assert task["task_status"] == "finished", task["task_status"]
            return task["finish_mills"] - task["start_mills"]
        await asyncio.sleep(0.5)


def _long(seed: int, images: int) -> dict[str, Any]:
    return {"prompt": PROMPT, "image_seed": seed, "image_number": images, "async_process": True}


async def measure(rounds: int, count: int, pairs: int, images: int) -> dict[str, Any]:
    """Run all three, the last on a server whose queue is empty."""
    found: dict[str, Any] = {"load_before": os.getloadavg()[0], "cores": os.cpu_count(), "machine": _machine()}
    with tempfile.TemporaryDirectory() as folder:
        async with started(Path(folder) / "server") as (server, connection):
            found["first_s"] = server.first_s
            found["generation"] = await generation(server, connection, Path(folder) / "direct", rounds)
            found["polling"] = await polling(server, connection, pairs, images)
            found["submissions"] = await submissions(server, connection, count)
    return found | {"load_after": os.getloadavg()[0], "date": time.strftime("%Y-%m-%d %H:%M")}


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, Python {platform.python_version()}"


def table(found: dict[str, Any]) -> str:
    """The figures beside their targets."""
    many, polled = found["submissions"], found["polling"]
    rows = [
        ("the first picture, models not loaded", f"{found['first_s']:.1f} s", ""),
        *_generation_rows("a picture of 4 steps", found["generation"]["drawn"], f"<= {TARGET_OVERHEAD_MS:g} ms"),
        *_generation_rows("one that is cached", found["generation"]["cached"], f"<= {TARGET_OVERHEAD_MS:g} ms"),
        *_generation_rows(f"that after {IDLE_S:g} s of silence", found["generation"]["idle"], ""),
        ("accepted submissions", f"{many['per_second']:.0f} /s", f">= {TARGET_PER_SECOND:g} /s"),
        ("  median, p99", f"{many['median_ms']:.1f}, {many['p99_ms']:.1f} ms", f"p99 <= {TARGET_P99_MS:g} ms"),
        ("  the server's processor time", f"{many['server_cpu_ms']:.2f} ms", ""),
        (f"a job polled by {POLLERS} clients", f"{polled['slower_percent']:+.1f} %", f"<= {TARGET_SLOWER_PERCENT:g} %"),
        ("  a poll, median", f"{polled['poll_median_ms']:.1f} ms", ""),
        ("  the server's processor time", f"{polled['server_cpu_ms']:.2f} ms", ""),
        ("  the clients' own", f"{polled['client_cpu_ms']:.2f} ms", ""),
    ]
    lines = [f"{name:38} {figure:>16}  {target}" for name, figure, target in rows]
    load = f"load {found['load_before']:.1f} before, {found['load_after']:.1f} after, on {found['cores']} cores"
    return "\n".join([*lines, f"{found['date']}, {found['machine']}; {load}"])


def _generation_rows(name: str, one: dict[str, float], target: str) -> list[tuple[str, str, str]]:
    return [
        (f"{name}, over REST", f"{one['rest_ms']:.1f} ms", ""),
        ("  in the worker alone", f"{one['alone_ms']:.1f} ms", ""),
        ("  REST adds, median of pairs", f"{one['added_ms']:.1f} ms", target),
        ("  the server's processor time", f"{one['server_cpu_ms']:.1f} ms", ""),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--submissions", type=int, default=1500)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--images", type=int, default=6, help="of the job that is polled")
    parser.add_argument("--json", type=Path, help="write the result there as well")
    given = parser.parse_args()
    found = asyncio.run(measure(given.rounds, given.submissions, given.pairs, given.images))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
