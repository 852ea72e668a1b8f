"""Content keys: what makes two node runs the same run.

A key is a blake2b-128 digest of class, version, constants and, for each link, the source's key and slot. It stands for
everything upstream, costs the same however deep the graph is, and knows no node ids. Constants are encoded with their
types: 1, 1.0, True and "1" differ. The encoding is `marshal` version 2 (typed, no references, the same in every
process), given only values of exactly the plain types; nested ones are written out here in a canonical order.
"""

from __future__ import annotations

import marshal
import os
from hashlib import blake2b
from typing import Any

from engine.types import NodeSpec

PLAIN = frozenset({int, float, str, bool, type(None)})
KEY_BYTES = 16
MAX_PARTS = 1_000_000
"""A constant of more parts than this has no key; it bounds the work on endless (self-containing) lists."""

EXACT = PLAIN - {float}
"""Plain types of which every value equals itself."""


class Unkeyable(Exception):
    """A value that is never equal to itself or cannot be compared by content: NaN, an arbitrary object."""


def node_key(spec: NodeSpec, constants: dict[str, Any], sources: list[Any], extra: Any = None) -> bytes:
    """Make the key of one node run. Raises Unkeyable.

    constants: in the order of the class's declaration, each as `as_plain` gives it. sources: for each link its input's
    name, the source's key and the slot, one after the other. extra: what else the result depends on (fingerprint, id).
    """
    if extra is not None:
        extra = encode(extra)
    content: Any = (spec.class_type, spec.version, constants, sources, extra)
    return blake2b(marshal.dumps(content, 2), digest_size=KEY_BYTES).digest()


def unique_key() -> bytes:
    """Make a key that nothing else has: for runs that must not be found again."""
    return os.urandom(KEY_BYTES)


def as_plain(value: Any) -> Any:
    """Give a plain value as it is, a nested one as a 1-tuple of its encoding. Raises Unkeyable."""
    kind = type(value)
    if kind in PLAIN:
        if kind is float and value != value:
            raise Unkeyable
        return value
    return (encode(value),)


def encode(value: Any) -> bytes:
    """Write lists, tuples, dicts (in any key order), bytes and plain values as unambiguous bytes. Raises Unkeyable."""
    parts: list[bytes] = []
    pending = [value]
    while pending:
        if len(parts) > MAX_PARTS:
            raise Unkeyable
        item = pending.pop()
        kind = type(item)
        if kind is list or kind is tuple:
            parts.append(b"%c%d;" % (b"l" if kind is list else b"t", len(item)))
            pending.extend(reversed(item))
        elif kind is dict:
            names = {marshal.dumps(as_plain(name), 2): name for name in item}
            parts.append(b"d%d;" % len(item))
            for encoded in sorted(names, reverse=True):
                pending += (item[names[encoded]], names[encoded])
        elif kind is bytes:
            parts.append(b"b%d;" % len(item) + item)
        elif kind in PLAIN:
            parts.append(b"p" + marshal.dumps(as_plain(item), 2))
        else:
            raise Unkeyable
    return b"".join(parts)
