"""A worker's sockets: the only file of the workers with zmq in it.

An inbox that this worker binds for each edge into it, an outlet for each edge out of it, and a
line to the coordinator. Queues in the sockets are unlimited because the window already bounds what
can be in flight. Large arrays go through shared memory where both ends are on one machine, else as
frames. Bytes that are no message are dropped, with a line on standard error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import zmq

from protocol import Edge, Message, WireError, decode, encode
from protocol.codec.layouts import read, write
from protocol.codec.quantization import FULL
from protocol.endpoint import is_v6, rescoped
from protocol.security import authentication
from protocol.security.keys import PLAIN, KeyPair
from workers.transport import buffers
from workers.transport.shared_memory import Incoming, Outgoing
from workers.transport.warn import complain

LINGER_MS: Final = 2000
MAX_BYTES: Final = 1 << 31
MOST_COMPLAINTS: Final = 100
MOST_AT_ONCE: Final = 256
LOOK_SECONDS: Final = 0.01
"""The longest that a busy worker hears only what is urgent."""

_send: Final = zmq.backend.Socket.send
"""`Socket.send` without what pyzmq does before it for kinds of sockets that are not used here."""
_get: Final = zmq.backend.Socket.get
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
"""Plain numbers: an operation on those of pyzmq makes an object, and takes twice as long."""


def put(
    socket: zmq.Socket[bytes],
    message: Message,
    flags: int = 0,
    shelf: Outgoing | None = None,
    copy: bool = False,
    wire: str = FULL,
) -> None:
    """Send `message`: its large array by way of the `shelf`, if there is one, others as frames.

    Its numbers are as narrow as `wire` says. Frames are sent without a copy unless `copy`; then
    nothing is read after this returns.
    """
    whole = write(message, shelf) if wire == FULL else None
    if whole is not None:
        _send(socket, whole, flags)
        return
    frames: list[Any] = encode(message, shelf, wire)
    if len(frames) == 1:
        _send(socket, frames[0], flags)
    elif copy:
        socket.send_multipart([bytes(frame) for frame in frames], flags)
    else:
        socket.send_multipart(frames, flags, copy=False)


def take(socket: zmq.Socket[bytes], shelf: Incoming | None = None) -> Message:
    """Receive a message; its arrays are views of what was received. Raises WireError.

    To ask whether frames follow takes as long as receiving one, so it is asked only where the
    header tells of some, or is refused: then they go with it.
    """
    header = socket.recv()
    try:
        return read(header, shelf) or decode((header,), shelf, lambda: _rest(socket))
    except WireError:
        _rest(socket)
        raise


def _rest(socket: zmq.Socket[bytes]) -> list[memoryview]:
    """The frames of the message in hand that have not been received yet."""
    frames = []
    more = socket.get(zmq.RCVMORE)
    while more:
        frame = socket.recv(copy=False)
        frames.append(frame.buffer)
        more = frame.more
    return frames


def _shelf_path(endpoint: str) -> Path | None:
    """Where the shelf of an inbox lies, for those on this machine."""
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or not hasattr(os, "posix_fallocate"):
        return None
    return Path(f"{path}.shelf")


class Keys(NamedTuple):
    """This worker's key pair, the coordinator's public key, and who is at the far end of each edge.

    All keys are hexadecimal; edges go by their names. All is in plain text where the coordinator
    has no key.
    """

    public: str
    secret: str
    coordinator: str
    peers: dict[str, str]

    @property
    def pair(self) -> KeyPair:
        """Both halves of this worker's own."""
        return KeyPair(self.public, self.secret)

    @property
    def plain(self) -> bool:
        """Whether nothing is encrypted."""
        return self.coordinator == PLAIN


class Links:
    """All that connects a worker to the others, who have to prove who they are where it has `keys`.

    `lifeline` is a file descriptor that becomes readable when the coordinator is gone.
    """

    def __init__(self, control: str, lifeline: int, keys: Keys | None = None) -> None:
        self._keys = keys
        self._context = zmq.Context()
        self._lifeline = lifeline
        self._poller = zmq.Poller()
        self._poller.register(lifeline, zmq.POLLIN)
        self._control = control
        self._line = self._socket(zmq.DEALER, control)
        self._line.linger = LINGER_MS
        if keys:
            keys.pair.knock(self._line, keys.coordinator)
        self._line.connect(control)
        self._door: zmq.Socket[bytes] | None = None
        if keys:
            self._door = self._socket(zmq.REP, authentication.ENDPOINT)
            self._door.bind(authentication.ENDPOINT)
            self._poller.register(self._door, zmq.POLLIN)
        self._inboxes: dict[zmq.Socket[bytes], tuple[Edge | None, Incoming | None]] = {}
        self._outlets: dict[Edge, tuple[zmq.Socket[bytes], Outgoing | None]] = {}
        self._urgent: list[zmq.Socket[bytes]] = []
        self._look = 0.0
        self._shared = False
        self._dropped = 0
        self._listen(self._line, None, None)

    def _socket(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        """A socket that is to be bound or connected to `endpoint`."""
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.ipv6 = is_v6(endpoint)
        socket.linger = 0
        socket.set_hwm(0)
        socket.maxmsgsize = MAX_BYTES
        return socket

    def _answer_door(self, door: zmq.Socket[bytes]) -> None:
        """Say who may connect, to ZeroMQ which asks for every connection."""
        peers = self._keys.peers if self._keys else {}
        verdict = authentication.judge(
            door.recv_multipart(), lambda edge, key: peers.get(edge) == key
        )
        door.send_multipart(verdict.reply)
        if verdict.refused:
            self._complain(verdict.refused)

    def _complain(self, text: str) -> None:
        self._dropped += 1
        if self._dropped <= MOST_COMPLAINTS:
            complain(text)

    def _listen(self, socket: zmq.Socket[bytes], edge: Edge | None, shelf: Incoming | None) -> None:
        self._inboxes[socket] = edge, shelf
        if edge is not None or self._keys:  # between machines the coordinator says what time it is
            self._urgent.append(socket)
        self._poller.register(socket, zmq.POLLIN)

    def bind(self, edge: Edge, endpoint: str) -> str:
        """Open the inbox at the end of `edge`; returns the address under which it is reached."""
        inbox = self._socket(zmq.PULL, endpoint)
        if endpoint.startswith("tcp:"):
            inbox.use_fd = buffers.listener(endpoint)
        if self._keys:
            self._keys.pair.guard(inbox, str(edge), self._keys.plain)
        inbox.bind(endpoint)
        path = _shelf_path(endpoint)
        self._shared = self._shared or path is not None
        self._listen(inbox, edge, Incoming(path) if path else None)
        return cast(bytes, inbox.last_endpoint).rstrip(b"\0").decode()

    def connect(self, edge: Edge, endpoint: str, window: int) -> None:
        """Open the way along `edge`, on which `window` batches may be in flight."""
        endpoint = rescoped(endpoint, self._control)
        outlet = self._socket(zmq.PUSH, endpoint)
        if endpoint.startswith("tcp:"):
            outlet.sndbuf = buffers.sending()
        if self._keys:
            peer = PLAIN if self._keys.plain else self._keys.peers[str(edge)]
            self._keys.pair.knock(outlet, peer)
        outlet.connect(endpoint)
        path = _shelf_path(endpoint)
        self._outlets[edge] = outlet, Outgoing(path, window) if path else None

    @property
    def long_ways(self) -> Iterator[Edge]:
        """The edges out of here that may leave the machine."""
        for edge, (outlet, _) in self._outlets.items():
            if cast(bytes, outlet.last_endpoint).startswith(b"tcp:"):
                yield edge

    def tell(self, message: Message, copy: bool = False) -> None:
        """Hand `message` over for the coordinator; never blocks. For `copy` see `put`."""
        put(self._line, message, zmq.NOBLOCK, copy=copy)

    def send(self, edge: Edge, message: Message, wire: str = FULL) -> None:
        """Hand `message` over, on a way of the width `wire`; never blocks.

        Where arrays come in over a shelf all that goes out is copied, for it may be a view of a
        slot that is written again after the credit that comes next.
        """
        outlet, shelf = self._outlets[edge]
        put(outlet, message, zmq.NOBLOCK, shelf, self._shared, wire)

    def _readable(self, seconds: float) -> list[Any]:
        """What has something to say, after waiting for at most `seconds` for the first.

        The poller makes a system call for each socket and one more for all. Who has other work asks
        the urgent ones alone, and the poller no sooner than `LOOK_SECONDS` after the last time.
        """
        now = time.monotonic()
        if not seconds and now < self._look:
            return [inbox for inbox in self._urgent if cast(int, _get(inbox, _EVENTS)) & _POLLIN]
        found = [which for which, _ in self._poller.poll(int(seconds * 1000))]
        self._look = (time.monotonic() if seconds else now) + LOOK_SECONDS
        return found

    def poll(self, seconds: float) -> Iterator[tuple[Edge | None, Message]]:
        """What has arrived, edge by edge, after waiting for at most `seconds` for the first.

        No more than `MOST_AT_ONCE` on an edge, so that nobody can hold up what else there is to do.
        The edge of what the coordinator says is None. Raises EOFError when it is gone.
        """
        for socket in self._readable(seconds):
            if socket == self._lifeline:
                raise EOFError
            if self._door is not None and socket == self._door:
                self._answer_door(self._door)
                continue
            edge, shelf = self._inboxes[socket]
            for taken in range(MOST_AT_ONCE):  # the first is there
                if taken and not cast(int, _get(socket, _EVENTS)) & _POLLIN:
                    break
                try:
                    yield edge, take(socket, shelf)
                except WireError as error:
                    self._complain(f"dropped a foreign message: {error}")

    def close(self, flush: bool) -> None:
        """Close all; with `flush`, what was said to the coordinator is delivered first."""
        self._context.destroy(linger=None if flush else 0)
