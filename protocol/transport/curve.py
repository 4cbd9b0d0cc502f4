"""Key pairs, and their use on sockets.

With CURVE (rfc.zeromq.org/spec/26) a connection is encrypted and both ends prove their keys. With
PLAIN (rfc.zeromq.org/spec/24) the same keys travel in plain text: a peer without a key is still
refused, but anyone who can read the traffic learns the keys.
"""

from __future__ import annotations

import zmq
import zmq.utils.z85

from protocol.security.keys import PLAIN, KeyPair
from protocol.transport.sockets import Socket


def generate_keys() -> KeyPair:
    """A new key pair."""
    return KeyPair(*(zmq.utils.z85.decode(key).hex() for key in zmq.curve_keypair()))


def keys_from_secret(secret: bytes) -> KeyPair:
    """The key pair whose secret half is `secret`, 32 bytes. Raises ValueError for another size."""
    public = zmq.curve_public(zmq.utils.z85.encode(secret))
    return KeyPair(zmq.utils.z85.decode(public).hex(), secret.hex())


def configure_client(socket: Socket, keys: KeyPair, server: str) -> None:
    """Let `socket`, before it connects, authenticate with `keys` to the peer with the key `server`.

    `server` is the peer's public key in hexadecimal, or `PLAIN` for a connection in plain text.
    """
    if server == PLAIN:
        socket.plain_username = keys.public.encode()
        socket.plain_password = keys.secret.encode()
    else:
        _set_keys(socket, keys)
        socket.curve_serverkey = bytes.fromhex(server)


def configure_server(socket: Socket, keys: KeyPair, domain: str, plain: bool) -> None:
    """Let `socket`, before it binds, accept only peers that the authenticator allows in `domain`.

    Connections are encrypted unless `plain`.
    """
    socket.zap_domain = domain.encode()
    if plain:
        socket.plain_server = True
    else:
        socket.curve_server = True
        _set_keys(socket, keys)


def _set_keys(socket: Socket, keys: KeyPair) -> None:
    socket.curve_publickey = bytes.fromhex(keys.public)
    socket.curve_secretkey = bytes.fromhex(keys.secret)
