"""Who may speak on a socket: the answers to ZeroMQ's questions (ZAP, rfc.zeromq.org/spec/27).

ZeroMQ asks for every connection before it lets a byte of it through, and is told by the domain of
the socket and the key of the peer. See `protocol.security.keys`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from protocol.security.keys import KeyPair

ENDPOINT: Final = "inproc://zeromq.zap.01"
KEY_BYTES: Final = 32
Allowed: TypeAlias = Callable[[str, str], bool]
"""Whether who has a key (hexadecimal) may connect to the sockets of a domain."""


class Verdict(NamedTuple):
    """The frames of the answer, and what to tell the log where it is a refusal."""

    reply: list[bytes]
    refused: str


def judge(frames: Sequence[bytes], allowed: Allowed) -> Verdict:
    """The answer to the question in `frames`."""
    version, request, domain, address, _, mechanism, *credentials = (*frames, *[b""] * 8)[:8]
    name = domain.decode("utf-8", "replace")
    key = _proved(mechanism, *credentials) if version == b"1.0" else ""
    if key and allowed(name, key):
        return Verdict([b"1.0", request, b"200", b"OK", key.encode(), b""], "")
    where = address.decode("utf-8", "replace")
    why = f"refused {where} at {name}: no key that is enrolled here"
    return Verdict([b"1.0", request, b"400", b"no enrolled key", b"", b""], why)


def _proved(mechanism: bytes, first: bytes, second: bytes) -> str:
    """The public key of which a peer has the secret half, or "".

    With CURVE ZeroMQ has made sure of that; with PLAIN both halves are in the question.
    """
    if mechanism == b"CURVE" and len(first) == KEY_BYTES:
        return first.hex()
    if mechanism == b"PLAIN" and len(second) == 2 * KEY_BYTES:
        try:
            pair = KeyPair.of(bytes.fromhex(second.decode()))
        except ValueError:
            return ""
        return pair.public if pair.public.encode() == first else ""
    return ""
