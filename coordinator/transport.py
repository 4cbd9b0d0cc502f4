"""The coordinator's sockets; with workers.transport.sockets the only code with zmq in it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias, cast

import zmq

from protocol import Ping, Pong, ToCoordinator, ToWorker, WireError, decode, encode
from protocol.endpoint import is_v6
from protocol.messages import (
    Described,
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
from protocol.printable import printable
from protocol.security import authentication
from protocol.security.keys import KeyPair

DOMAIN: Final = "the head"
MAX_BYTES: Final = 1 << 31
LINGER_MS: Final = 500
MOST_COMPLAINTS: Final = 100
HANDSHAKE_MS: Final = 5000
MOST_AT_ONCE: Final = 1000
"""Messages that are taken before other things have their turn again, however many come."""

Voice: TypeAlias = Callable[[str, str], bool]
"""Whether a peer may speak in this name, with this key ("" for none)."""
Knows: TypeAlias = Callable[[str], bool]
"""Whether who has this key may connect."""


class Heard(NamedTuple):
    """A message, by which connection it came, and the key of who is at its far end."""

    connection: bytes
    key: str
    message: ToCoordinator | FromAgent


class Links:
    """The line to all workers, and to agents where there are any.

    With `keys` only those whose key the coordinator `knows` can connect, and all is encrypted
    unless it is to be `plain`.
    """

    def __init__(
        self,
        endpoint: str,
        voice: Voice,
        keys: KeyPair | None = None,
        knows: Knows | None = None,
        plain: bool = False,
    ) -> None:
        self._voice = voice
        self._keys = keys
        self._knows: Knows = knows or (lambda _: True)
        self._dropped = 0
        self._connections: dict[str, bytes] = {}
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._door: zmq.Socket[bytes] = self._context.socket(zmq.REP)
        self._router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._router.linger = LINGER_MS
        self._router.set_hwm(0)
        self._router.maxmsgsize = MAX_BYTES
        self._router.handshake_ivl = HANDSHAKE_MS
        self._router.ipv6 = is_v6(endpoint)
        try:
            if keys:
                self._door.bind(authentication.ENDPOINT)
                keys.guard(self._router, DOMAIN, plain)
            self._router.bind(endpoint)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise OSError(error.errno, error.strerror, endpoint) from None
        for socket in (self._door, self._router):
            self._poller.register(socket, zmq.POLLIN)

    @property
    def endpoint(self) -> str:
        """Where the socket is bound, its port known."""
        return cast(bytes, self._router.last_endpoint).rstrip(b"\0").decode()

    def send(self, name: str, message: ToWorker | ToAgent) -> None:
        """Hand `message` over for a worker or agent; never blocks.

        The dead, and who has not said a word yet, get nothing.
        """
        if name in self._connections:
            self.answer(self._connections[name], message)

    def answer(self, connection: bytes, message: ToWorker | ToAgent) -> None:
        """The same for a peer that may be nobody yet."""
        frames = cast(list[bytes], [connection, *encode(message)])
        self._router.send_multipart(frames, zmq.NOBLOCK, copy=False)

    def hear(self, seconds: float) -> Iterator[Heard]:
        """What has arrived, after waiting for at most `seconds` where nothing has.

        A message in another's name, and bytes that are no message, are dropped. Who asked what
        time it is has been told.
        """
        for socket, _ in self._poller.poll(int(seconds * 1000)):
            if socket == self._door:
                self._answer_door()
            else:
                yield from self._hear_all()

    def poll(self, seconds: float) -> Iterator[ToCoordinator]:
        """The same, of workers alone."""
        for _, _, message in self.hear(seconds):
            if not isinstance(message, Enrol | Died | Upload | Ping | Goodbye):
                yield message

    def _answer_door(self) -> None:
        verdict = authentication.judge(self._door.recv_multipart(), lambda _, key: self._knows(key))
        self._door.send_multipart(verdict.reply)
        if verdict.refused:
            self._complain(verdict.refused)

    def _hear_all(self) -> Iterator[Heard]:
        for _ in range(MOST_AT_ONCE):
            try:
                connection, *frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            key = str(connection.get("User-Id")) if self._keys else ""
            try:
                message = decode([frame.buffer for frame in frames])
            except WireError as error:
                self._complain(f"dropped a foreign message: {error}")
                continue
            heard = Heard(connection.bytes, key, cast(ToCoordinator | FromAgent, message))
            match message:
                case Enrol():
                    yield heard
                case Ping(name=name, asked=asked) if self._is_own(name, heard):
                    self.send(name, Pong(asked, time.monotonic_ns()))
                    yield heard
                case (
                    Hello(name=name)
                    | Described(name=name)
                    | Ready(name=name)
                    | Report(name=name)
                    | Evaluated(name=name)
                    | Failed(name=name)
                    | State(name=name)
                    | Died(name=name)
                    | Upload(name=name)
                    | Goodbye(name=name)
                ) if self._is_own(name, heard):
                    yield heard
                case _:
                    pass

    def _is_own(self, name: str, heard: Heard) -> bool:
        """Whether who was heard may speak in this name, which then belongs to its connection.

        Who can prove itself takes its names along to a new connection.
        """
        if not self._voice(name, heard.key):
            return False
        if heard.key:
            self._connections[name] = heard.connection
        return self._connections.setdefault(name, heard.connection) == heard.connection

    def _complain(self, text: str) -> None:
        self._dropped += 1
        if self._dropped <= MOST_COMPLAINTS:
            with suppress(OSError, ValueError):
                print(printable(text), file=sys.stderr)

    def close(self) -> None:
        """Close; what was said before is delivered first, where there is somebody to take it."""
        self._context.destroy(linger=LINGER_MS)


class Line:
    """An agent's line to the head at `endpoint`, whose public key is `head`; "" for plain text."""

    def __init__(self, endpoint: str, keys: KeyPair, head: str) -> None:
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._socket.linger = LINGER_MS
        self._socket.set_hwm(0)
        self._socket.maxmsgsize = MAX_BYTES
        self._socket.ipv6 = is_v6(endpoint)
        keys.knock(self._socket, head)
        self._socket.connect(endpoint)

    def tell(self, message: FromAgent) -> None:
        """Hand `message` over; never blocks. To a head that refused us nothing goes."""
        frames = cast(list[bytes], encode(message))
        with suppress(zmq.Again):
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)

    def hear(self, seconds: float) -> Iterator[ToAgent]:
        """What the head says, after waiting for at most `seconds`."""
        if not self._socket.poll(int(seconds * 1000)):
            return
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            with suppress(WireError):
                yield cast(ToAgent, decode(frames))

    def close(self, seconds: float) -> None:
        """Close; what was said before is delivered first, within `seconds`."""
        self._context.destroy(linger=int(seconds * 1000))
