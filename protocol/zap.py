"""Who may speak on a socket: the answers to ZeroMQ's questions (ZAP, rfc.zeromq.org/spec/27).

ZeroMQ asks for every connection before it lets a byte of it through, and is told by the domain of
the socket and the key of the peer. The sockets themselves are elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

ENDPOINT: Final = "inproc://zeromq.zap.01"
Allowed: TypeAlias = Callable[[str, bytes], bool]
"""Whether a key (32 bytes) may connect to the sockets of a domain."""


class Verdict(NamedTuple):
    """The frames of the answer, and what to tell the log where it is a refusal."""

    reply: list[bytes]
    refused: str


def judge(frames: Sequence[bytes], allowed: Allowed) -> Verdict:
    """The answer to the question in `frames`."""
    version, request, domain, address, _, mechanism, *credentials = (*frames, *[b""] * 7)[:7]
    key = credentials[0]
    name = domain.decode("utf-8", "replace")
    if version == b"1.0" and mechanism == b"CURVE" and len(key) == 32 and allowed(name, key):
        return Verdict([b"1.0", request, b"200", b"OK", key.hex().encode(), b""], "")
    where = address.decode("utf-8", "replace")
    why = f"refused {where} at {name or 'the head'}: no key that is enrolled here"
    return Verdict([b"1.0", request, b"400", b"no enrolled key", b"", b""], why)
