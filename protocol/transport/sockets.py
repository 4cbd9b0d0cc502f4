"""One message into a socket and one out of it, and what sockets here have in common.

Sending and receiving are the hot path of training, so both avoid pyzmq's wrappers where these cost
more than the operation itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias, cast

import zmq

from protocol.codec.arrays import Place, View, WireError
from protocol.codec.frames import decode, encode
from protocol.codec.quantization import FLOAT32
from protocol.messages import Message

Socket: TypeAlias = zmq.Socket[bytes]

DEALER: Final = int(zmq.DEALER)
ROUTER: Final = int(zmq.ROUTER)
PULL: Final = int(zmq.PULL)
PUSH: Final = int(zmq.PUSH)
REP: Final = int(zmq.REP)
NOBLOCK: Final = int(zmq.NOBLOCK)

_send: Final = zmq.backend.Socket.send
"""`Socket.send` without pyzmq's checks for draft socket types."""
_get: Final = zmq.backend.Socket.get
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
"""Plain integers: operations on pyzmq's enumerations create objects and take twice as long."""


def is_readable(socket: Socket) -> int:
    """Whether a message can be received from `socket` without waiting; 0 if not."""
    return cast(int, _get(socket, _EVENTS)) & _POLLIN


def readable_of(sockets: Iterable[Socket]) -> list[Socket]:
    """Those of `sockets` from which a message can be received without waiting."""
    return [socket for socket in sockets if cast(int, _get(socket, _EVENTS)) & _POLLIN]


def bound_endpoint(socket: Socket) -> str:
    """The endpoint of `socket` as libzmq reports it, with the real port after a bind to any."""
    return cast(bytes, socket.last_endpoint).rstrip(b"\0").decode()


def send(
    socket: Socket,
    message: Message,
    flags: int = 0,
    place: Place | None = None,
    copy: bool = False,
    edge_dtype: str = FLOAT32,
) -> None:
    """Send `message`; see `encode` for `place` and `edge_dtype`.

    Frames are sent without a copy unless `copy`; with `copy` no array is read after this function
    returns.
    """
    frames: list[Any] = encode(message, place, edge_dtype)
    if len(frames) == 1:
        _send(socket, frames[0], flags)
    elif copy:
        socket.send_multipart([bytes(frame) for frame in frames], flags)
    else:
        socket.send_multipart(frames, flags, copy=False)


def receive(socket: Socket, view: View | None = None) -> Message:
    """Receive one message; its arrays are views of what was received. Raises WireError.

    Asking whether frames follow takes as long as receiving one, so this function asks only if the
    header announces frames or is refused; the frames of a refused header are dropped with it.
    """
    header = socket.recv()
    try:
        return decode((header,), view, lambda: remaining_frames(socket))
    except WireError:
        remaining_frames(socket)
        raise


def remaining_frames(socket: Socket) -> list[memoryview]:
    """The frames of the current message that have not been received yet."""
    frames = []
    more = socket.get(zmq.RCVMORE)
    while more:
        frame = socket.recv(copy=False)
        frames.append(frame.buffer)
        more = frame.more
    return frames


def receive_frames(socket: Socket) -> list[zmq.Frame] | None:
    """All frames of the next message of a ROUTER, the routing id first; None if there is none."""
    try:
        return socket.recv_multipart(zmq.NOBLOCK, copy=False)
    except zmq.Again:
        return None


def send_frames(socket: Socket, frames: list[Any]) -> bool:
    """Send `frames` without waiting and without a copy; False if the socket cannot take them."""
    try:
        socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
    except zmq.Again:
        return False
    return True
