"""The coordinator's socket: the only file of the coordinator with zmq in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

import zmq

from protocol import ToCoordinator, ToWorker, WireError, decode, encode
from protocol.messages import Evaluated, Failed, Hello, Ping, Ready, Report, State

MAX_BYTES: Final = 1 << 31
LINGER_MS: Final = 500


class Links:
    """The line to all workers, who are known by their names.

    `processes` says which cores live in each; a worker speaks in its own name and in theirs.
    """

    def __init__(self, endpoint: str, processes: Mapping[str, Sequence[str]]) -> None:
        self._voices = {name.encode(): {name, *cores} for name, cores in processes.items()}
        self._context = zmq.Context()
        self._router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._router.linger = LINGER_MS
        self._router.set_hwm(0)
        self._router.maxmsgsize = MAX_BYTES
        try:
            self._router.bind(endpoint)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise OSError(error.errno, error.strerror, endpoint) from None

    def send(self, name: str, message: ToWorker) -> None:
        """Hand `message` over for the worker `name`; never blocks. The dead get nothing."""
        frames = cast(list[bytes], [name.encode(), *encode(message)])
        self._router.send_multipart(frames, zmq.NOBLOCK, copy=False)

    def poll(self, seconds: float) -> Iterator[ToCoordinator]:
        """What has arrived, after waiting for at most `seconds` where nothing has.

        A message in another worker's name, and bytes that are no message, are dropped.
        """
        if not self._router.poll(int(seconds * 1000)):
            return
        while True:
            try:
                sender, *frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            try:
                message = decode([frame.buffer for frame in frames])
            except WireError as error:
                print(f"dropped a foreign message: {error}", file=sys.stderr)
                continue
            match message:
                case Evaluated():
                    yield message
                case Hello() | Ready() | Report() | Failed() | State() | Ping():
                    if message.name in self._voices.get(sender.bytes, ()):
                        yield message
                case _:
                    pass

    def close(self) -> None:
        """Close; what was said before is delivered first, where there is somebody to take it."""
        self._context.destroy(linger=LINGER_MS)
