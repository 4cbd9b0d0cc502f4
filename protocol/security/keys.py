"""Key pairs as data; `protocol.transport.curve` makes them and sets them on sockets."""

from __future__ import annotations

from typing import Final, NamedTuple

PLAIN: Final = ""
"""In place of a server's public key: the connection is not encrypted."""


class KeyPair(NamedTuple):
    """A CURVE key pair; both halves are 64 hexadecimal digits."""

    public: str
    secret: str
