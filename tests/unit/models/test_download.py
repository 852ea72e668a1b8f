"""Downloads against a server on this machine that plays the hub: cut connections, redirects, hashes, refusals."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from models.download import DownloadFailed, WrongHash, download, mirrored

CONTENT = bytes(range(256)) * 1200
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "/lllyasviel/misc/resolve/main/a.safetensors"


@dataclass
class Hub:
    """What the server does. cuts: bytes after which the next replies break off. requests: (path, headers) seen."""

    content: bytes = CONTENT
    etag: str = '"one"'
    sha256: str = ""
    cuts: list[int] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    ranges: bool = True
    location: str = "/cdn/a"
    kind: str = "application/octet-stream"
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, state)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def answer(request: BaseHTTPRequestHandler, hub: Hub) -> None:
    """Redirect like the hub, then give the file, or the rest of it when the version is the same."""
    hub.requests.append((request.path, {name.lower(): value for name, value in request.headers.items()}))
    if hub.failures:
        request.send_response(hub.failures.pop(0))
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    if request.path == PATH:
        request.send_response(302)
        request.send_header("Location", hub.location)
        if hub.sha256:
            request.send_header("X-Linked-Etag", f'"{hub.sha256}"')
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    if request.path != "/cdn/a":
        request.send_error(404)
        return
    start = 0
    asked = request.headers.get("Range", "")
    if asked and hub.ranges and request.headers.get("If-Range") == hub.etag:
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
    body = hub.content[start:]
    request.send_response(206 if start else 200)
    request.send_header("Content-Type", hub.kind)
    request.send_header("Content-Length", str(len(body)))
    request.send_header("ETag", hub.etag)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(hub.content) - 1}/{len(hub.content)}")
    request.end_headers()
    if hub.cuts:
        request.wfile.write(body[: hub.cuts.pop(0)])
        request.close_connection = True
        return
    request.wfile.write(body)


def fetch(hub: Hub, folder: Path, **options: Any) -> Path:
    return download(hub.url + PATH, folder / "loras" / "a.safetensors", environment={}, pause_s=0.0, **options)


def test_a_file_arrives_through_a_redirect_under_its_name_alone(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(hub, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["a.safetensors"]
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_cut_connection_is_continued_where_it_ended(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = [100_000, 50_000]
    assert fetch(hub, tmp_path).read_bytes() == CONTENT
    ranges = [headers.get("range") for path, headers in hub.requests if path == "/cdn/a"]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_run_continues_what_an_earlier_one_left(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = [100_000]
    with pytest.raises(DownloadFailed, match="it continues"):
        fetch(hub, tmp_path, attempts=1)
    assert not (tmp_path / "loras" / "a.safetensors").exists()
    assert fetch(hub, tmp_path).read_bytes() == CONTENT
    assert hub.requests[-1][1]["range"] == "bytes=100000-"


def test_a_file_that_changed_meanwhile_is_begun_anew(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = [100_000]
    with pytest.raises(DownloadFailed):
        fetch(hub, tmp_path, attempts=1)
    hub.content, hub.etag = CONTENT[::-1], '"two"'
    assert fetch(hub, tmp_path).read_bytes() == CONTENT[::-1]


def test_a_server_that_knows_no_ranges_gives_the_file_whole_again(hub: Hub, tmp_path: Path) -> None:
    hub.cuts, hub.ranges = [100_000], False
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_a_passing_failure_is_tried_again(hub: Hub, tmp_path: Path) -> None:
    hub.failures = [503, 429]
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_a_failure_that_does_not_pass_ends_it(hub: Hub, tmp_path: Path) -> None:
    hub.failures = [503] * 9
    with pytest.raises(DownloadFailed, match="503"):
        fetch(hub, tmp_path, attempts=3)
    assert len(hub.requests) == 3


@pytest.mark.parametrize("told_by", ["caller", "hub"])
def test_the_right_hash_is_taken_and_a_wrong_one_removes_the_file(hub: Hub, tmp_path: Path, told_by: str) -> None:
    def attempt(sha256: str) -> Path:
        hub.sha256 = sha256 if told_by == "hub" else ""
        return fetch(hub, tmp_path, sha256=sha256 if told_by == "caller" else "")

    with pytest.raises(WrongHash, match=SHA256):
        attempt("0" * 64)
    assert list((tmp_path / "loras").iterdir()) == []
    assert attempt(SHA256).read_bytes() == CONTENT


def test_a_hash_is_of_the_whole_file_also_when_it_came_in_pieces(hub: Hub, tmp_path: Path) -> None:
    hub.cuts, hub.sha256 = [10], SHA256
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_a_missing_file_is_said_to_be_missing_with_its_address(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"no file at http://127\.0\.0\.1.*/nothing \(404\)"):
        download(f"{hub.url}/nothing", tmp_path / "a", environment={})


@pytest.mark.parametrize("status", [401, 403])
def test_a_closed_file_is_not_tried_again(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.failures = [status]
    with pytest.raises(DownloadFailed, match="not open to everyone"):
        fetch(hub, tmp_path)
    assert len(hub.requests) == 1


def test_a_web_page_is_no_model(hub: Hub, tmp_path: Path) -> None:
    hub.kind = "text/html; charset=utf-8"
    with pytest.raises(DownloadFailed, match="web page"):
        fetch(hub, tmp_path)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:text/plain,x"])
def test_a_redirect_never_leaves_the_web(hub: Hub, tmp_path: Path, location: str) -> None:
    hub.location = location
    with pytest.raises(DownloadFailed, match="no web address"):
        fetch(hub, tmp_path)
    assert not (tmp_path / "loras" / "a.safetensors").exists()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/etc/passwd", "http://", "gopher://a/b"])
def test_only_web_addresses_are_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadFailed, match="no web address"):
        download(url, tmp_path / "a", environment={})


def test_a_circle_of_redirects_ends(hub: Hub, tmp_path: Path) -> None:
    hub.location = PATH
    with pytest.raises(DownloadFailed, match="redirects more than"):
        fetch(hub, tmp_path)


def test_a_full_disk_is_known_before_anything_is_written(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("models.download.DISK_RESERVE_BYTES", 1 << 60)
    with pytest.raises(DownloadFailed, match="no room"):
        fetch(hub, tmp_path)
    assert list((tmp_path / "loras").iterdir()) == []


def test_two_processes_do_not_write_one_file(hub: Hub, tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "loras").mkdir()
    with (tmp_path / "loras" / "a.safetensors.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadFailed, match="another process"):
            fetch(hub, tmp_path)
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("variable", ["HF_ENDPOINT", "HF_MIRROR"])
def test_a_mirror_takes_the_place_of_the_hub_alone(variable: str) -> None:
    mirror = {variable: "https://mirror.example/"}
    assert mirrored(f"https://huggingface.co{PATH}", mirror) == f"https://mirror.example{PATH}"
    assert mirrored("https://github.com/a/b", mirror) == "https://github.com/a/b"
    assert mirrored("https://huggingface.co.evil/a", mirror) == "https://huggingface.co.evil/a"
