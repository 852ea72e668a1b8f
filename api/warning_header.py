"""X-Warning: what was left out of a request or replaced, said in a header that every client may ignore."""

from collections.abc import Sequence

from starlette.responses import Response

LONGEST = 4000  # characters; servers and proxies give headers 8 KiB


def with_warnings(response: Response, warnings: Sequence[str]) -> Response:
    """Put the warnings into the header; without any there is none."""
    if warnings:
        text = "; ".join(warnings).encode("ascii", "replace").decode()
        response.headers["X-Warning"] = "".join(c if c.isprintable() else " " for c in text)[:LONGEST]
    return response
