"""Pictures from http(s) addresses that stand in requests."""

import asyncio
import re
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import httpx2
from anyio import to_thread

from api.addresses import address_of
from api.errors import NotFound
from api.files import stored
from api.settings import Settings

TIMEOUT_S = 20.0  # for everything, redirects included
MAX_REDIRECTS = 5
HEADERS = {"User-Agent": "Mozilla/5.0 (compatible; Focal)", "Accept": "image/*,*/*;q=0.5"}
_RESULT = re.compile(r"/(?:files|outputs)/([^/]+)/([^/]+)")
_INPUT = re.compile(r"/inputs/([^/]+)")


class CannotFetch(Exception):
    """The address gives no bytes; the text says why, without what a private server may have answered."""


async def fetch(url: str, settings: Settings) -> bytes:
    """The bytes behind an address: at most `max_upload` of them. Raises CannotFetch.

    The server's own results and inputs are read from the disk. Each redirect is checked like the address itself.
    """
    try:
        own = _own_result(url, settings)
        if own is not None:
            return await to_thread.run_sync(own.read_bytes)
        async with asyncio.timeout(TIMEOUT_S):
            return await _follow(url, settings)
    except (httpx2.InvalidURL, ValueError) as error:
        raise CannotFetch("the address is not a valid one") from error
    except (NotFound, FileNotFoundError) as error:
        raise CannotFetch("this server has no such file") from error
    except TimeoutError as error:
        raise CannotFetch(f"it did not answer within {TIMEOUT_S:g} seconds") from error
    except (OSError, httpx2.HTTPError) as error:
        raise CannotFetch(f"it cannot be reached ({type(error).__name__})") from error


def _own_result(url: str, settings: Settings) -> Path | None:
    """The picture that a URL of this very server names. Raises NotFound when there is none of that name."""
    parts = urlsplit(url)
    own = {urlsplit(settings.public_url).netloc, *(f"{host}:{settings.port}" for host in ("127.0.0.1", "localhost"))}
    path = parts.path.rstrip("/")
    if parts.netloc in own and (match := _RESULT.fullmatch(path)):
        return stored(settings.outputs_dir, unquote(match[1]), unquote(match[2]))
    if parts.netloc in own and (match := _INPUT.fullmatch(path)):
        return stored(settings.input_dir, unquote(match[1]))
    return None


async def _follow(url: str, settings: Settings) -> bytes:
    async with httpx2.AsyncClient(follow_redirects=False, trust_env=False, timeout=TIMEOUT_S) as client:
        for _ in range(MAX_REDIRECTS + 1):
            if not url.lower().startswith(("http://", "https://")):
                raise CannotFetch("it leads to an address that is not http")
            address = await address_of(url, settings)
            if address is None:
                raise CannotFetch("its host is not a public one; --allow-hosts can name it")
            found = await one_reply(client, httpx2.URL(url), address, settings.max_upload)
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
    raise CannotFetch(f"it redirects more than {MAX_REDIRECTS} times")


async def one_reply(client: httpx2.AsyncClient, url: httpx2.URL, address: str, limit: int) -> bytes | str:
    """The body, or where a redirect leads. The connection goes to `address`, whatever the name means by now."""
    headers = {**HEADERS, "Host": url.netloc.decode("ascii")}
    extensions = {"sni_hostname": url.raw_host.decode("ascii")} if url.scheme == "https" else {}
    pinned = url.copy_with(host=address)
    async with client.stream("GET", pinned, headers=headers, extensions=extensions) as reply:
        if reply.has_redirect_location:
            return reply.headers["location"]
        if not reply.is_success:
            raise CannotFetch(f"it answered {reply.status_code}")
        body = bytearray()
        async for chunk in reply.aiter_bytes():
            body += chunk
            if len(body) > limit:
                raise CannotFetch(f"it gives more than {limit} bytes")
    return bytes(body)
