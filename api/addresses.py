"""Which addresses a request may make the server talk to: public ones, unless the operator said otherwise."""

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from api.settings import Settings

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


async def may_call(url: str, settings: Settings) -> bool:
    """Whether a URL that came inside a request may be asked.

    A server that listens on loopback only trusts its callers, who are this machine's own. Hosts named by
    `allow_hosts` are always allowed. Otherwise every address of the host has to be a public one.
    """
    return await address_of(url, settings) is not None


async def address_of(url: str, settings: Settings) -> str | None:
    """Where to connect for a URL that came inside a request; None when it may not be asked.

    A trusted host is given back as it is, to be looked up by whoever connects. Of any other it is an address that was
    checked, so that a name which changes its answer in between leads nowhere else.
    """
    host = urlsplit(url).hostname or ""
    if settings.loopback or (host and host in {name.strip() for name in settings.allow_hosts.split(",")}):
        return host
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    addresses = [str(entry[4][0]) for entry in found]
    return addresses[0] if addresses and all(map(_is_public, addresses)) else None


def _is_public(address: str) -> bool:
    known = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(known, ipaddress.IPv6Address):
        known = known.ipv4_mapped or known.sixtofour or _translated(known) or known
    return known.is_global and not known.is_multicast


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a NAT64 gateway makes of it (RFC 6052)."""
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else None
