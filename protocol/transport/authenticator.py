"""Which peers may connect: the answers to ZeroMQ's authentication requests (ZAP).

libzmq sends one request for every new connection to a secured socket, before it delivers a byte of
that connection (rfc.zeromq.org/spec/27). The request names the socket's domain and the peer's key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from protocol.transport.curve import keys_from_secret

ENDPOINT: Final = "inproc://zeromq.zap.01"
KEY_BYTES: Final = 32
IsAllowed: TypeAlias = Callable[[str, str], bool]
"""Whether the peer with a public key (second, hexadecimal) may connect in a domain (first)."""


class AuthDecision(NamedTuple):
    """The frames of the reply, and the text of a warning; the text is empty for an allowed peer."""

    reply: list[bytes]
    warning: str


def authenticate(frames: Sequence[bytes], is_allowed: IsAllowed) -> AuthDecision:
    """The decision on the ZAP request in `frames`."""
    version, request, domain, address, _, mechanism, *credentials = (*frames, *[b""] * 8)[:8]
    name = domain.decode("utf-8", "replace")
    key = _proven_key(mechanism, *credentials) if version == b"1.0" else ""
    if key and is_allowed(name, key):
        return AuthDecision([b"1.0", request, b"200", b"OK", key.encode(), b""], "")
    host = address.decode("utf-8", "replace")
    warning = f"refused a connection from {host} to {name}: its key is not enrolled in this run"
    return AuthDecision([b"1.0", request, b"400", b"key not enrolled", b"", b""], warning)


def _proven_key(mechanism: bytes, first: bytes, second: bytes) -> str:
    """The public key, in hexadecimal, whose secret half the peer has; "" without proof.

    With CURVE libzmq has verified the key. With PLAIN the request holds both halves.
    """
    if mechanism == b"CURVE" and len(first) == KEY_BYTES:
        return first.hex()
    if mechanism == b"PLAIN" and len(second) == 2 * KEY_BYTES:
        try:
            keys = keys_from_secret(bytes.fromhex(second.decode()))
        except ValueError:
            return ""
        return keys.public if keys.public.encode() == first else ""
    return ""
