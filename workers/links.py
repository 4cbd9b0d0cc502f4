"""A worker's sockets: the only file of the workers with zmq in it.

Two inboxes that this worker binds, two outlets to the inboxes of its neighbours, and a line to
the coordinator. Queues in the sockets are unlimited because the window already bounds what can be
in flight. Large arrays go through shared memory where both ends are on one machine, else as frames.
Bytes that are no message are dropped, with a line on standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import zmq

from protocol import Message, Peer, WireError, decode, encode
from workers.shelf import Incoming, Outgoing

LINGER_MS: Final = 2000
MAX_BYTES: Final = 1 << 31
NEIGHBOURS: Final = (Peer.BELOW, Peer.ABOVE)
MOST_COMPLAINTS: Final = 100


def put(
    socket: zmq.Socket[bytes],
    message: Message,
    flags: int = 0,
    shelf: Outgoing | None = None,
    copy: bool = False,
) -> None:
    """Send `message`: its large array by way of the `shelf`, if there is one, others as frames.

    Frames are sent without a copy unless `copy`; then nothing is read after this returns.
    """
    frames: list[Any] = encode(message, shelf)
    if len(frames) == 1:
        socket.send(frames[0], flags)
    elif copy:
        socket.send_multipart([bytes(frame) for frame in frames], flags)
    else:
        socket.send_multipart(frames, flags, copy=False)


def take(socket: zmq.Socket[bytes], flags: int = 0, shelf: Incoming | None = None) -> Message:
    """Receive a message; its arrays are views of what was received. Raises WireError.

    To ask whether frames follow takes as long as receiving one, so it is asked only where the
    header tells of some, or is refused: then they go with it.
    """
    header = socket.recv(flags)
    try:
        return decode((header,), shelf, lambda: _rest(socket))
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


class Links:
    """All that connects a worker to the others.

    `lifeline` is a file descriptor that becomes readable when the coordinator is gone.
    """

    def __init__(self, name: str, control: str, lifeline: int) -> None:
        self._context = zmq.Context()
        self._lifeline = lifeline
        self._poller = zmq.Poller()
        self._poller.register(lifeline, zmq.POLLIN)
        self._inboxes: dict[zmq.Socket[bytes], Peer] = {}
        self._outlets: dict[Peer, zmq.Socket[bytes]] = {}
        self._incoming: dict[zmq.Socket[bytes], Incoming] = {}
        self._outgoing: dict[Peer, Outgoing] = {}
        self._dropped = 0
        line = self._socket(zmq.DEALER)
        line.routing_id = name.encode()
        line.linger = LINGER_MS
        line.connect(control)
        self._outlets[Peer.COORDINATOR] = line
        self._listen(line, Peer.COORDINATOR)

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.linger = 0
        socket.set_hwm(0)
        socket.maxmsgsize = MAX_BYTES
        return socket

    def _listen(self, socket: zmq.Socket[bytes], peer: Peer) -> None:
        self._inboxes[socket] = peer
        self._poller.register(socket, zmq.POLLIN)

    def bind(self, peer: Peer, endpoint: str) -> str:
        """Open the inbox for `peer`; returns the address under which it can be reached."""
        if not endpoint:
            return ""
        inbox = self._socket(zmq.PULL)
        inbox.bind(endpoint)
        self._listen(inbox, peer)
        if (path := _shelf_path(endpoint)) is not None:
            self._incoming[inbox] = Incoming(path)
        return cast(bytes, inbox.last_endpoint).rstrip(b"\0").decode()

    def connect(self, peer: Peer, endpoint: str, window: int) -> None:
        """Open the way to the inbox of `peer`, where there is one.

        `window` is how many batches may be in flight on it.
        """
        if endpoint:
            self._outlets[peer] = self._socket(zmq.PUSH)
            self._outlets[peer].connect(endpoint)
            if (path := _shelf_path(endpoint)) is not None:
                self._outgoing[peer] = Outgoing(path, window)

    def send(self, peer: Peer, message: Message) -> None:
        """Hand `message` over; never blocks.

        Where arrays come in over a shelf all that goes to neighbours is copied, for it may be a
        view of a slot that is written again after the credit that comes next.
        """
        shelf, copy = self._outgoing.get(peer), bool(self._incoming) and peer in NEIGHBOURS
        put(self._outlets[peer], message, zmq.NOBLOCK, shelf, copy)

    def poll(self, seconds: float) -> Iterator[tuple[Peer, Message]]:
        """What has arrived, after waiting for at most `seconds` where nothing has.

        Raises EOFError when the coordinator is gone.
        """
        for socket, _ in self._poller.poll(int(seconds * 1000)):
            if socket == self._lifeline:
                raise EOFError
            while True:
                try:
                    yield (
                        self._inboxes[socket],
                        take(socket, zmq.NOBLOCK, self._incoming.get(socket)),
                    )
                except zmq.Again:
                    break
                except WireError as error:
                    self._dropped += 1
                    if self._dropped <= MOST_COMPLAINTS:
                        print(f"dropped a foreign message: {error}", file=sys.stderr, flush=True)

    def close(self, flush: bool) -> None:
        """Close all; with `flush`, what was said to the coordinator is delivered first."""
        self._context.destroy(linger=None if flush else 0)
