"""The coordinator's and the agents' ends of the control connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias, cast

from protocol import Ping, Pong, ToCoordinator, ToWorker, WireError, decode, encode
from protocol.messages import (
    DatasetReady,
    Died,
    Enrol,
    Evaluated,
    Failed,
    FromAgent,
    Goodbye,
    Hello,
    Ready,
    Report,
    State,
    ToAgent,
    Upload,
)
from protocol.security.keys import PLAIN, KeyPair
from protocol.transport.socket_set import SocketSet
from protocol.transport.sockets import (
    DEALER,
    ROUTER,
    bound_endpoint,
    receive_frames,
    send_frames,
)

DOMAIN: Final = "the head"
LINGER_MS: Final = 500
HANDSHAKE_MS: Final = 5000
MAX_PER_POLL: Final = 1000
"""Messages that one call takes, so that a flood of them does not hold up everything else."""

MaySpeak: TypeAlias = Callable[[str, str], bool]
"""Whether a peer may use a name (first) with its public key (second; "" for none)."""
MayConnect: TypeAlias = Callable[[str], bool]
"""Whether the peer with a public key may connect."""


class Received(NamedTuple):
    """A message, the routing id of its connection, and the public key of its sender."""

    connection: bytes
    key: str
    message: ToCoordinator | FromAgent


class CoordinatorTransport:
    """Connections to all workers, and to the agents of a cluster.

    With `keys` only peers whose key passes `may_connect` can connect, and connections are encrypted
    unless `plain`.
    """

    def __init__(
        self,
        endpoint: str,
        may_speak: MaySpeak,
        keys: KeyPair | None = None,
        may_connect: MayConnect = lambda _: True,
        plain: bool = False,
    ) -> None:
        """Bind to `endpoint`. Raises OSError if that is not possible."""
        self._may_speak = may_speak
        self._secured = keys is not None
        self._connections: dict[str, bytes] = {}
        self._sockets = SocketSet(keys, lambda _, key: may_connect(key), plain)
        try:
            self._router = self._sockets.bind(
                ROUTER, endpoint, DOMAIN, linger_ms=LINGER_MS, handshake_ms=HANDSHAKE_MS
            )
        except OSError:
            self._sockets.close()
            raise
        self._sockets.register(self._router)

    @property
    def endpoint(self) -> str:
        """The endpoint to which the socket is bound, with its real port."""
        return bound_endpoint(self._router)

    def send(self, name: str, message: ToWorker | ToAgent) -> None:
        """Queue `message` for a worker or an agent; never blocks.

        A message to a peer that is gone, or that has not sent anything yet, is dropped.
        """
        if name in self._connections:
            self.answer(self._connections[name], message)

    def answer(self, connection: bytes, message: ToWorker | ToAgent) -> None:
        """Queue `message` for the peer behind `connection`, which may have no name yet."""
        send_frames(self._router, [connection, *encode(message)])

    def receive(self, seconds: float) -> Iterator[Received]:
        """What has arrived, after waiting at most `seconds` if nothing has.

        Drops messages in a name that their sender may not use, and bytes that are no message.
        Answers each Ping with a Pong.
        """
        if self._router in self._sockets.poll(seconds):
            for _ in range(MAX_PER_POLL):
                frames = receive_frames(self._router)
                if frames is None:
                    return
                if received := self._accepted(frames):
                    yield received

    def _accepted(self, frames: list[Any]) -> Received | None:
        """The message in `frames` if it is one and its sender may send it."""
        connection, *rest = frames
        key = str(connection.get("User-Id")) if self._secured else ""
        try:
            message = decode([frame.buffer for frame in rest])
        except WireError as error:
            self._sockets.warn(f"dropped a foreign message: {error}")
            return None
        received = Received(connection.bytes, key, cast(ToCoordinator | FromAgent, message))
        match message:
            case Enrol():
                return received
            case Ping(name=name, sent_at=sent_at) if self._owns(name, received):
                self.send(name, Pong(sent_at, time.monotonic_ns()))
                return received
            case (
                Hello(name=name)
                | DatasetReady(name=name)
                | Ready(name=name)
                | Report(name=name)
                | Evaluated(name=name)
                | Failed(name=name)
                | State(name=name)
                | Died(name=name)
                | Upload(name=name)
                | Goodbye(name=name)
            ) if self._owns(name, received):
                return received
            case _:
                return None

    def _owns(self, name: str, received: Received) -> bool:
        """Whether the sender may use `name`, which from then on belongs to its connection.

        A sender with a key keeps its names when it connects anew.
        """
        if not self._may_speak(name, received.key):
            return False
        if received.key:
            self._connections[name] = received.connection
        return self._connections.setdefault(name, received.connection) == received.connection

    def close(self) -> None:
        """Close; queued messages are delivered first if their receivers are still there."""
        self._sockets.close(LINGER_MS)


class AgentTransport:
    """An agent's connection to the head at `endpoint`, whose public key is `head` ("": plain)."""

    def __init__(self, endpoint: str, keys: KeyPair, head: str) -> None:
        self._sockets = SocketSet(keys, plain=head == PLAIN)
        self._socket = self._sockets.connect(DEALER, endpoint, head, linger_ms=LINGER_MS)
        self._sockets.register(self._socket)

    def send(self, message: FromAgent) -> None:
        """Queue `message`; never blocks. A head that refused this agent gets nothing."""
        send_frames(self._socket, encode(message))

    def receive(self, seconds: float) -> Iterator[ToAgent]:
        """Messages of the head, after waiting at most `seconds` for the first."""
        if not self._sockets.poll(seconds):
            return
        while frames := receive_frames(self._socket):
            try:
                message = decode([frame.buffer for frame in frames])
            except WireError:
                continue
            yield cast(ToAgent, message)

    def close(self, seconds: float) -> None:
        """Close; queued messages are delivered first, within `seconds`."""
        self._sockets.close(int(seconds * 1000))
