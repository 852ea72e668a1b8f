"""Which addresses a request may make the server talk to: public ones, unless the operator said otherwise."""

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from api.settings import Settings


async def may_call(url: str, settings: Settings) -> bool:
    """Whether a URL that came inside a request may be asked.

    A server that listens on loopback only trusts its callers, who are this machine's own. Hosts named by
    `allow_hosts` are always allowed. Otherwise every address of the host has to be a public one.
    """
    if settings.loopback:
        return True
    host = urlsplit(url).hostname or ""
    if host in {name.strip() for name in settings.allow_hosts.split(",")}:
        return True
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(_is_public(entry[4][0]) for entry in found)


def _is_public(address: str | int) -> bool:
    known = ipaddress.ip_address(str(address).partition("%")[0])
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped:
        known = known.ipv4_mapped
    return known.is_global and not known.is_multicast
