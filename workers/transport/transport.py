"""A worker's connections: one inbox per incoming edge, one socket per outgoing edge, and control.

Queues in the sockets are unlimited, because the window already bounds what can be in flight. Large
arrays go through shared memory between workers of one host, else as frames. Bytes that are no
message are dropped with a warning.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, cast

from protocol import Edge, Message, WireError
from protocol.codec.arrays import Place, View
from protocol.codec.quantization import FLOAT32
from protocol.endpoint import with_interface_of
from protocol.security.keys import PLAIN, KeyPair
from protocol.transport.socket_set import Readable, SocketSet
from protocol.transport.sockets import (
    DEALER,
    NOBLOCK,
    PULL,
    PUSH,
    Socket,
    bound_endpoint,
    is_readable,
    readable_of,
    receive,
    send,
)
from workers.transport import socket_buffers
from workers.transport.shared_memory import RingReader, RingWriter

LINGER_MS: Final = 2000
MAX_PER_POLL: Final = 256
"""Messages of one edge that one call takes, so that no edge holds up the others."""
FULL_POLL_SECONDS: Final = 0.01
"""A busy worker polls everything at this interval, and its edges alone in between."""


def _ring_path(endpoint: str) -> Path | None:
    """The path of the shared memory beside an inbox; None for an inbox of another host."""
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or not hasattr(os, "posix_fallocate"):
        return None
    return Path(f"{path}.ring")


class WorkerKeys(NamedTuple):
    """This worker's key pair, the coordinator's public key, and by edge the key of the neighbour.

    All keys are hexadecimal; edges are given by name. The coordinator's key is `PLAIN` if nothing
    is encrypted.
    """

    public: str
    secret: str
    coordinator: str
    peers: dict[str, str]

    @property
    def pair(self) -> KeyPair:
        """The worker's own key pair."""
        return KeyPair(self.public, self.secret)

    @property
    def encrypted(self) -> bool:
        """Whether connections are encrypted."""
        return self.coordinator != PLAIN

    def socket_set(self) -> SocketSet:
        """Sockets that only the neighbours of this worker can use."""
        return SocketSet(
            self.pair, lambda edge, key: self.peers.get(edge) == key, not self.encrypted
        )


class WorkerTransport:
    """All connections of a worker; with `keys` every peer must prove its own.

    `lifeline` is a file descriptor that becomes readable when the coordinator is gone. `sockets`
    are those to use in place of new ones.
    """

    lossless = False  # a connection may be made again

    def __init__(
        self,
        control: str,
        lifeline: int,
        keys: WorkerKeys | None = None,
        sockets: SocketSet | None = None,
    ) -> None:
        self._keys = keys
        self._sockets = sockets or (keys.socket_set() if keys else SocketSet())
        self._lifeline = lifeline
        self._sockets.register(lifeline)
        self._endpoint = control
        server = keys.coordinator if keys else PLAIN
        self._control = self._sockets.connect(DEALER, control, server, linger_ms=LINGER_MS)
        self._inboxes: dict[Readable, tuple[Edge | None, View | None]] = {}
        self._outgoing: dict[Edge, tuple[Socket, str, Place | None]] = {}
        self._urgent: list[Socket] = []
        self._full_poll_due = 0.0
        self._shared = False
        self._listen(self._control, None, None)

    def _listen(self, socket: Socket, edge: Edge | None, view: View | None) -> None:
        self._inboxes[socket] = edge, view
        if edge is not None or self._keys:  # in a cluster, Pong measures the clock: never late
            self._urgent.append(socket)
        self._sockets.register(socket)

    def bind(self, edge: Edge, endpoint: str) -> str:
        """Open the inbox at the end of `edge`; returns the endpoint at which it is reached."""
        descriptor = socket_buffers.listen(endpoint) if endpoint.startswith("tcp:") else -1
        inbox = self._sockets.bind(PULL, endpoint, str(edge), descriptor=descriptor)
        path = _ring_path(endpoint)
        self._shared = self._shared or path is not None
        self._listen(inbox, edge, RingReader(path).view if path else None)
        return bound_endpoint(inbox)

    def connect(self, edge: Edge, endpoint: str, window: int) -> None:
        """Open the outlet of `edge`, on which `window` batches may be in flight."""
        endpoint = with_interface_of(endpoint, self._endpoint)
        encrypted = self._keys is not None and self._keys.encrypted
        peer = self._keys.peers[str(edge)] if self._keys and encrypted else PLAIN
        size = socket_buffers.send_buffer() if endpoint.startswith("tcp:") else -1
        outlet = self._sockets.connect(PUSH, endpoint, peer, send_buffer=size)
        path = _ring_path(endpoint)
        self._outgoing[edge] = outlet, endpoint, RingWriter(path, window).write if path else None

    @property
    def remote_edges(self) -> Iterator[Edge]:
        """The outgoing edges whose receiver may be on another host."""
        for edge, (_, endpoint, _) in self._outgoing.items():
            if endpoint.startswith("tcp:"):
                yield edge

    def report(self, message: Message, copy: bool = False) -> None:
        """Queue `message` for the coordinator; never blocks. For `copy` see `sockets.send`."""
        send(self._control, message, NOBLOCK, copy=copy)

    def send(self, edge: Edge, message: Message, edge_dtype: str = FLOAT32) -> None:
        """Queue `message` for the receiver of `edge`; never blocks.

        Its first array travels in the format `edge_dtype`. If arrays come in through shared memory
        everything that goes out is copied, because it may be a view of a slot that is written again
        after the next credit.
        """
        outlet, _, place = self._outgoing[edge]
        send(outlet, message, NOBLOCK, place, self._shared, edge_dtype)

    def _readable(self, seconds: float) -> list[Readable]:
        """What is readable, after waiting at most `seconds` for anything.

        The poller makes a system call per socket and one more for all. A busy worker (`seconds` is
        0) therefore asks only its urgent sockets, and the poller every `FULL_POLL_SECONDS`.
        """
        now = time.monotonic()
        if not seconds and now < self._full_poll_due:
            return list(readable_of(self._urgent))
        found = self._sockets.poll(seconds)
        self._full_poll_due = (time.monotonic() if seconds else now) + FULL_POLL_SECONDS
        return found

    def poll(self, seconds: float) -> Iterator[tuple[Edge | None, Message]]:
        """What has arrived, edge by edge, after waiting at most `seconds` for the first message.

        Yields at most `MAX_PER_POLL` messages of an edge. The edge is None for a message of the
        coordinator. Raises EOFError when the coordinator is gone.
        """
        for which in self._readable(seconds):
            if which == self._lifeline:
                raise EOFError
            edge, view = self._inboxes[which]
            socket = cast(Socket, which)
            for count in range(MAX_PER_POLL):  # the first is known to be there
                if count and not is_readable(socket):
                    break
                try:
                    yield edge, receive(socket, view)
                except WireError as error:
                    self._sockets.warn(f"dropped a foreign message: {error}")

    def close(self, flush: bool) -> None:
        """Close; with `flush`, messages queued for the coordinator are delivered first."""
        self._sockets.close(None if flush else 0)
