"""`make demo`: a prompt goes to a server over REST and comes back as a picture.

Starts `focal serve` on a free loopback port, watches the job as any client would, saves the picture, stops the server.
"""

import argparse
import json
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from api.cli.terminal import ProgressLine

PROMPT = "a red circle on a blue background"
START_S, JOB_S, POLL_S = 30.0, 300.0, 0.15
TAIL_LINES = 25


class DemoFailed(Exception):
    """What went wrong, for the person who typed `make demo`."""


def main() -> int:
    """Run the demo. Exit status 0 with a picture, 1 without."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("prompt", nargs="?", default=PROMPT)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--output", type=Path, default=None, help="where the picture goes (DATA/demo.png)")
    asked = parser.parse_args()
    output = asked.output or asked.data / "demo.png"
    try:
        with server(asked.data) as base_url:
            picture = generate(base_url, asked.prompt)
    except DemoFailed as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        return 1
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(picture)
    print(f"\nThe picture: {output.resolve()}\n")
    print(f"The same by hand: start the server with `make serve`, then\n\n{curl(asked.prompt)}\n")
    return 0


@contextmanager
def server(data: Path) -> Iterator[str]:
    """Run `focal serve` for the length of the block; gives its address."""
    port = free_port()
    log_path = data / "logs" / "demo-server.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "api.cli", "serve", "--data", str(data), "--port", str(port)]
    with log_path.open("wb") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            base_url = f"http://127.0.0.1:{port}"
            print(f"Starting the server on {base_url} ...", flush=True)
            wait_for_ping(base_url, child, log_path)
            yield base_url
        except httpx2.HTTPError as error:
            raise DemoFailed(f"the server does not answer ({error}).\n{tail(log_path)}") from error
        finally:
            stop(child)


def generate(base_url: str, prompt: str) -> bytes:
    """Post the prompt, show the progress, fetch the picture."""
    print(f"POST /v1/generation/text-to-image  {json.dumps({'prompt': prompt})}", flush=True)
    line = ProgressLine(sys.stdout)
    with httpx2.Client(base_url=base_url, timeout=30) as client:
        reply = client.post("/v1/generation/text-to-image", json={"prompt": prompt, "async_process": True})
        if reply.status_code != 200:
            raise DemoFailed(f"the request was refused: {reply.text}")
        job = follow(client, reply.json(), line)
        image = job["job_result"][0]
        picture = client.get(urlsplit(image["url"]).path)
        picture.raise_for_status()
    print(f"Finished with seed {image['seed']}.")
    return picture.content


def follow(client: httpx2.Client, job: dict[str, Any], line: ProgressLine) -> dict[str, Any]:
    """Poll query-job until the job has ended."""
    started = time.monotonic()
    while job["job_stage"] in ("WAITING", "RUNNING"):
        if time.monotonic() - started > JOB_S:
            raise DemoFailed(f"the job did not finish within {JOB_S:g} s; its last words: {job['job_status']}")
        time.sleep(POLL_S)
        job = client.get("/v1/generation/query-job", params={"job_id": job["job_id"]}).json()
        line.show(job["job_progress"], job["job_status"] or "Waiting for the model ...")
    line.end()
    if job["job_stage"] != "SUCCESS":
        raise DemoFailed(job["job_status"] or "the job ended with an error")
    return job


def wait_for_ping(base_url: str, child: "subprocess.Popen[bytes]", log_path: Path) -> None:
    """Wait until the server answers; say what it wrote when it does not."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise DemoFailed(f"the server ended with status {child.returncode}. It wrote:\n{tail(log_path)}")
        try:
            httpx2.get(f"{base_url}/ping", timeout=2)
            return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise DemoFailed(f"the server did not answer within {START_S:g} s. It wrote:\n{tail(log_path)}")


def curl(prompt: str, base_url: str = "http://127.0.0.1:8888") -> str:
    """The command line that does the same."""
    body = shlex.quote(json.dumps({"prompt": prompt}, ensure_ascii=False))
    return (
        f"  curl -s {base_url}/v1/generation/text-to-image -H 'Content-Type: application/json' \\\n"
        f"    -H 'Accept: image/png' -d {body} -o picture.png"
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def stop(child: "subprocess.Popen[bytes]") -> None:
    """End the server: politely, then for certain."""
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def tail(log_path: Path) -> str:
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])


if __name__ == "__main__":
    sys.exit(main())
