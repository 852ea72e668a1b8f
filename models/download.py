"""Model files from the web: whole, unchanged and under their name only when both are sure. No torch.

A file grows as `NAME.part` and is renamed when its size and, where one is known, its SHA-256 are right. What an earlier
run left is continued, if the server still has the same file.
"""

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx2

from models.errors import ModelError

HUB = "https://huggingface.co"
MIRRORS = ("HF_ENDPOINT", "HF_MIRROR")  # environment variables that name another host with the hub's paths
CHUNK_BYTES = 1 << 20
MAX_REDIRECTS = 5
TIMEOUT_S = 30.0  # to connect, and between two pieces of a body
ATTEMPTS = 5
PAUSE_S = 1.0  # before the second attempt; doubled before each further one
DISK_RESERVE_BYTES = 256 << 20  # left free
HEADERS = {"User-Agent": "Focal", "Accept-Encoding": "identity"}
WEB_PAGE = "text/html"
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")

Progress = Callable[[int, int], None]
"""(bytes there, bytes in all; 0 while unknown)"""


class DownloadFailed(ModelError):
    """A file could not be fetched."""

    code = "download_failed"


class WrongHash(DownloadFailed):
    """What arrived is not what was published."""

    code = "wrong_hash"


class _TryAgain(Exception):
    """The connection or the server failed in a way that may pass."""


@dataclass(frozen=True)
class Source:
    """Where a reply came from. sha256 and size: as the hub tells of its large files, "" and 0 where it does not."""

    url: str
    sha256: str = ""
    size: int = 0


def download(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    progress: Progress = lambda done, total: None,
    environment: Mapping[str, str] = os.environ,
    attempts: int = ATTEMPTS,
    pause_s: float = PAUSE_S,
) -> Path:
    """Fetch a file to `target`, continuing where an earlier attempt ended. Raises DownloadFailed, WrongHash.

    sha256: 64 hex digits that the file must have; without it, those that the hub tells are taken. environment: may name
    a mirror of the hub.
    """
    address = mirrored(url, environment)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    client = httpx2.Client(timeout=TIMEOUT_S, follow_redirects=False, headers=HEADERS)
    with client, part.open("ab", buffering=0) as file:  # unbuffered: its size says what is there
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DownloadFailed(f"{target.name} is being downloaded by another process.", "Wait for it.") from None
        try:
            source = _persistently(lambda: _attempt(client, address, file, part, progress), address, attempts, pause_s)
            _check(part, sha256.lower() or source.sha256, target.name)
            os.fsync(file.fileno())
            part.replace(target)
        finally:
            if not os.fstat(file.fileno()).st_size:
                part.unlink(missing_ok=True)
                _memo(part).unlink(missing_ok=True)
    _memo(part).unlink(missing_ok=True)
    return target


def _persistently(attempt: Callable[[], Source], address: str, attempts: int, pause_s: float) -> Source:
    """Try until it succeeds, with longer and longer pauses."""
    for number in range(1, attempts + 1):
        try:
            return attempt()
        except (_TryAgain, httpx2.TransportError) as error:
            if number == attempts:
                raise DownloadFailed(
                    f"{address} could not be read to the end: {error}.", "Run the command again; it continues."
                ) from error
        time.sleep(pause_s * 2 ** (number - 1))
    raise ValueError("at least one attempt is needed")


def mirrored(url: str, environment: Mapping[str, str]) -> str:
    """The address at the hub's mirror, if the environment names one. Raises DownloadFailed for what is not http(s)."""
    mirror = next((environment[name].rstrip("/") for name in MIRRORS if environment.get(name)), "")
    if mirror and url.startswith(f"{HUB}/"):
        url = mirror + url.removeprefix(HUB)
    return _web(url)


def _web(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DownloadFailed(f"{url[:200]!r} is no web address.", "Only http and https are fetched.")
    return url


def _attempt(client: httpx2.Client, url: str, file: FileIO, part: Path, progress: Progress) -> Source:
    """Ask for what is missing and append it. Raises _TryAgain when the connection ends early."""
    source = Source(url)
    for _ in range(MAX_REDIRECTS + 1):
        have = os.fstat(file.fileno()).st_size
        headers = {"Range": f"bytes={have}-", "If-Range": tag} if have and (tag := _known_tag(part)) else {}
        with client.stream("GET", source.url, headers=headers) as reply:
            source = _told(source, reply)
            if reply.has_redirect_location:
                source = Source(_redirect(source.url, reply.headers["location"]), source.sha256, source.size)
                continue
            if reply.status_code == httpx2.codes.RANGE_NOT_SATISFIABLE and have:
                if _complete_size(reply) == have:  # an earlier run ended between the last byte and the new name
                    return source
                _begin_anew(file, part)
                continue
            _refuse(reply, source.url)
            start = _start(reply, have)
            if start != have:
                _begin_anew(file, part)
            _remember(part, reply)
            _append(reply, file, start, progress)
        return source
    raise DownloadFailed(f"{url} redirects more than {MAX_REDIRECTS} times.")


def _redirect(url: str, location: str) -> str:
    onward = _web(urljoin(url, location))
    if url.startswith("https:") and not onward.startswith("https:"):
        raise DownloadFailed(f"{url} leads to an unprotected address.", "Name the address itself, if it is meant.")
    return onward


def _told(source: Source, reply: httpx2.Response) -> Source:
    """What the hub tells on the way: the SHA-256 and size of a large file."""
    found = _SHA256.fullmatch(reply.headers.get("x-linked-etag", ""))
    size = reply.headers.get("x-linked-size", "")
    return Source(source.url, found[1] if found else source.sha256, int(size) if size.isdigit() else source.size)


def _refuse(reply: httpx2.Response, url: str) -> None:
    """Say what an unusable reply means. Raises _TryAgain, DownloadFailed."""
    status = reply.status_code
    if status == httpx2.codes.TOO_MANY_REQUESTS or status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        raise _TryAgain(f"the server answered {status}")
    if status == httpx2.codes.NOT_FOUND:
        raise DownloadFailed(f"There is no file at {url} (404).", "It was moved or the address is wrong.")
    if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
        raise DownloadFailed(f"{url} is not open to everyone ({status}).", "Download it by hand.")
    if not reply.is_success:
        raise DownloadFailed(f"{url} answered {status}.")
    if reply.headers.get("content-type", "").startswith(WEB_PAGE):
        raise DownloadFailed(f"{url} answered with a web page instead of a file.", "Look at it in a browser.")


def _start(reply: httpx2.Response, have: int) -> int:
    """Where in the file the reply begins: 0 from a server that gives all of it again."""
    if reply.status_code != httpx2.codes.PARTIAL_CONTENT:
        return 0
    match = _RANGE.fullmatch(reply.headers.get("content-range", ""))
    return have if match and match[1] == str(have) else -1


def _complete_size(reply: httpx2.Response) -> int:
    match = _RANGE.fullmatch(reply.headers.get("content-range", ""))
    return int(match[2]) if match and match[2].isdigit() else -1


def _append(reply: httpx2.Response, file: FileIO, start: int, progress: Progress) -> None:
    if start < 0:
        raise _TryAgain("the server continued at another place")
    length = int(reply.headers.get("content-length", "0"))
    total, done = (start + length if length else 0), start
    free = shutil.disk_usage(Path(file.name).parent).free
    if length > free - DISK_RESERVE_BYTES:
        missing = (length - free + DISK_RESERVE_BYTES) / 2**30
        raise DownloadFailed(f"There is no room for {Path(file.name).stem}: {missing:.1f} GiB are missing.")
    progress(done, total)
    for chunk in reply.iter_raw():  # unbuffered: what came before a cut is kept
        file.write(chunk)
        done += len(chunk)
        progress(done, total)

    if total and done != total:
        raise _TryAgain(f"it ended after {done} of {total} bytes")


def _begin_anew(file: FileIO, part: Path) -> None:
    file.truncate(0)
    _memo(part).unlink(missing_ok=True)


def _memo(part: Path) -> Path:
    """Beside a part: which version of the file it is of."""
    return part.with_name(f"{part.name}.etag")


def _remember(part: Path, reply: httpx2.Response) -> None:
    tag = reply.headers.get("etag", "")
    if tag and not tag.startswith("W/"):
        _memo(part).write_text(tag)


def _known_tag(part: Path) -> str:
    with suppress(OSError):
        return _memo(part).read_text()
    return ""


def _check(part: Path, sha256: str, name: str) -> None:
    if not sha256:
        return
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while block := file.read(CHUNK_BYTES):
            digest.update(block)
    if digest.hexdigest() != sha256:
        part.unlink()
        _memo(part).unlink(missing_ok=True)
        raise WrongHash(
            f"{name} arrived changed: its SHA-256 is {digest.hexdigest()}, not {sha256}.",
            "It was removed; run the command again.",
        )
