"""The sockets of one process: how they are opened, secured, polled and closed.

High-water marks are unlimited, because credits bound what can be in flight on an edge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import zmq

from protocol.endpoint import is_ipv6
from protocol.security.keys import KeyPair
from protocol.transport import authenticator
from protocol.transport.authenticator import IsAllowed, authenticate
from protocol.transport.curve import configure_client, configure_server
from protocol.transport.sockets import REP, Socket
from protocol.transport.warn import LimitedWarnings

MAX_BYTES: Final = 1 << 31
"""Bytes of one frame; libzmq closes a connection on which a larger one arrives."""
HANDSHAKE_MS: Final = 30_000
"""A connection whose handshake takes longer is closed; a busy worker answers late."""

Readable: TypeAlias = Socket | int
"""A socket, or a file descriptor."""


class SocketSet:
    """All sockets of a process, with one poller and one authenticator.

    With `keys` every socket is secured: `is_allowed` decides which peers may connect to those that
    bind, and connections are encrypted unless `plain`.
    """

    def __init__(
        self,
        keys: KeyPair | None = None,
        is_allowed: IsAllowed | None = None,
        plain: bool = False,
    ) -> None:
        self._keys = keys
        self._plain = plain
        self._warnings = LimitedWarnings()
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._handlers: dict[object, Callable[[], None]] = {}
        if keys and is_allowed:
            self._serve_authentication(is_allowed)

    def _serve_authentication(self, is_allowed: IsAllowed) -> None:
        """Bind the socket to which libzmq sends its authentication requests."""
        socket = self._open(REP, authenticator.ENDPOINT, 0)
        socket.bind(authenticator.ENDPOINT)

        def answer() -> None:
            decision = authenticate(socket.recv_multipart(), is_allowed)
            socket.send_multipart(decision.reply)
            if decision.warning:
                self.warn(decision.warning)

        self.register(socket, answer)

    def _open(self, kind: int, endpoint: str, linger_ms: int) -> Socket:
        socket: Socket = self._context.socket(kind)
        socket.ipv6 = is_ipv6(endpoint)
        socket.linger = linger_ms
        socket.set_hwm(0)
        socket.maxmsgsize = MAX_BYTES
        return socket

    def bind(
        self,
        kind: int,
        endpoint: str,
        domain: str,
        *,
        linger_ms: int = 0,
        descriptor: int = -1,
        handshake_ms: int = HANDSHAKE_MS,
    ) -> Socket:
        """A socket bound to `endpoint`; `domain` names it to the authenticator.

        `descriptor` is a listening file descriptor for it, -1 for none. Raises OSError if the
        endpoint cannot be bound.
        """
        socket = self._open(kind, endpoint, linger_ms)
        socket.handshake_ivl = handshake_ms
        if descriptor >= 0:
            socket.use_fd = descriptor
        if self._keys:
            configure_server(socket, self._keys, domain, self._plain)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            socket.close(linger=0)
            raise OSError(error.errno, error.strerror, endpoint) from None
        return socket

    def connect(
        self, kind: int, endpoint: str, server: str, *, linger_ms: int = 0, send_buffer: int = -1
    ) -> Socket:
        """A socket connected to `endpoint`, whose public key is `server` ("": plain text).

        `send_buffer` is the size of the kernel's buffer in bytes, -1 for the kernel's choice.
        """
        socket = self._open(kind, endpoint, linger_ms)
        socket.sndbuf = send_buffer
        if self._keys:
            configure_client(socket, self._keys, server)
        socket.connect(endpoint)
        return socket

    def register(self, which: Readable, handler: Callable[[], None] | None = None) -> None:
        """Poll `which` from now on; `handler` is called when it is readable, if there is one."""
        if handler:
            self._handlers[which] = handler
        self._poller.register(which, zmq.POLLIN)

    def poll(self, seconds: float) -> list[Readable]:
        """What is readable and has no handler, after waiting at most `seconds` for anything.

        Calls the handlers of the others, so authentication works only while this is called.
        """
        found: list[Readable] = []
        for which, _ in self._poller.poll(int(seconds * 1000)):
            if handler := self._handlers.get(which):
                handler()
            else:
                found.append(which)
        return found

    def warn(self, text: str) -> None:
        """Write a warning, up to a limit for the whole process."""
        self._warnings.warn(text)

    def close(self, linger_ms: int | None = 0) -> None:
        """Close all sockets; unsent messages are delivered first, within `linger_ms`.

        None keeps the linger time of each socket.
        """
        self._context.destroy(linger=linger_ms)
