"""Key pairs, and sockets that only those can use who have one.

Where a server's key is known all is encrypted, and both ends are sure of each other (CURVE,
rfc.zeromq.org/spec/26). Without one the same keys travel in plain text (PLAIN, spec/24): who cannot
listen in is still kept out, who can is not.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import zmq
import zmq.utils.z85

PLAIN: Final = ""
"""In place of a server's key: what is said there can be read on the way."""


class KeyPair(NamedTuple):
    """A CURVE key pair, in hexadecimal."""

    public: str
    secret: str

    @classmethod
    def new(cls) -> KeyPair:
        """A fresh one."""
        return cls(*(zmq.utils.z85.decode(key).hex() for key in zmq.curve_keypair()))

    @classmethod
    def of(cls, secret: bytes) -> KeyPair:
        """The pair of which `secret`, of 32 bytes, is the secret half."""
        public = zmq.curve_public(zmq.utils.z85.encode(secret))
        return cls(zmq.utils.z85.decode(public).hex(), secret.hex())

    def knock(self, socket: zmq.Socket[bytes], server: str) -> None:
        """Let `socket`, which will connect, show this pair to none but who has the key `server`."""
        if server == PLAIN:
            socket.plain_username = self.public.encode()
            socket.plain_password = self.secret.encode()
        else:
            self._set_on(socket)
            socket.curve_serverkey = bytes.fromhex(server)

    def guard(self, socket: zmq.Socket[bytes], domain: str, plain: bool) -> None:
        """Have ZAP asked (`authentication`) who may connect to `socket`, which will bind."""
        socket.zap_domain = domain.encode()
        if plain:
            socket.plain_server = True
        else:
            socket.curve_server = True
            self._set_on(socket)

    def _set_on(self, socket: zmq.Socket[bytes]) -> None:
        socket.curve_publickey = bytes.fromhex(self.public)
        socket.curve_secretkey = bytes.fromhex(self.secret)
