"""The server's side of the control socket, polled by the loop of a run; no call blocks."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from coordinator.control.address import ControlAddress
from coordinator.control.messages import (
    MAX_REQUEST_BYTES,
    ControlRequest,
    RevokeRequest,
    StatusRequest,
    StopRequest,
    decode_request,
    encode_line,
)
from coordinator.control.snapshot import Snapshot
from coordinator.run_folder.layout import CONTROL
from protocol import did_you_mean

MAX_CONNECTIONS: Final = 4
"""Connections that are served at once; others wait in the queue of the socket."""
CONNECTION_SECONDS: Final = 10.0
"""How long a connection may take to send its request and to take the reply."""


class ControlServer:
    """Serves the control socket of the run in the folder `run`.

    The socket is in `sockets`, a folder that only this user can enter. `snapshot` is called for
    each status request. `cluster` says whether workers may be on other hosts. Raises OSError.
    """

    def __init__(
        self, sockets: Path, run: Path, snapshot: Callable[[], Snapshot], cluster: bool = False
    ) -> None:
        self._snapshot = snapshot
        self._file = run / CONTROL
        self._address = ControlAddress.new(sockets, cluster)
        self._connections: list[_Connection] = []
        self._requests: list[ControlRequest] = []
        self._listener = _listener(self._address.socket)
        try:
            self._address.write(run)
        except BaseException:
            self._listener.close()
            raise

    def poll(self) -> list[ControlRequest]:
        """Answer status requests; return the other requests that have arrived."""
        self._accept()
        for connection in self._connections:
            self._serve(connection)
        self._connections = [peer for peer in self._connections if not peer.closed]
        requests, self._requests = self._requests, []
        return requests

    def _accept(self) -> None:
        while len(self._connections) < MAX_CONNECTIONS:
            try:
                peer, _ = self._listener.accept()
            except OSError:  # nobody is waiting, the client has left, or no descriptor is free
                return
            self._connections.append(_Connection(peer))

    def _serve(self, connection: _Connection) -> None:
        line = connection.request()
        if line:
            request = decode_request(line, self._address.key)
            if request is None:
                connection.close()
            else:
                connection.reply(encode_line(self._answer(request)))
        connection.flush()

    def _answer(self, request: StatusRequest | ControlRequest) -> dict[str, object]:
        match request:
            case StatusRequest():
                return {"status": self._snapshot().as_dict()}
            case RevokeRequest(host=host):
                names = self._snapshot().revocable
                if host not in names:
                    hint = did_you_mean(host, names) if names else "; no host has joined"
                    return {"refused": f"{host}: no such host in this run{hint}"}
            case StopRequest():
                pass
        self._requests.append(request)
        return {}

    def fileno(self) -> int:
        """The descriptor that is readable when a client connects, for `select`."""
        return self._listener.fileno()

    def close(self) -> None:
        """Close the socket and remove the file that leads to it."""
        for connection in self._connections:
            connection.close()
        self._listener.close()
        with suppress(OSError):
            self._file.unlink()


class _Connection:
    """One client: a request of one line, and a reply."""

    def __init__(self, peer: socket.socket) -> None:
        peer.setblocking(False)
        self._peer = peer
        self._received = b""
        self._reply: memoryview | None = None
        self._deadline = time.monotonic() + CONNECTION_SECONDS
        self.closed = False

    def request(self) -> bytes:
        """The request when it is complete, once; until then, and after that, empty."""
        if self._reply is not None or self.closed:
            return b""
        try:
            part = self._peer.recv(MAX_REQUEST_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            self.close()
            return b""
        self._received += part
        line, end, rest = self._received.partition(b"\n")
        if end and not rest:
            return line
        if not part or end or len(self._received) > MAX_REQUEST_BYTES:
            self.close()
        return b""

    def reply(self, data: bytes) -> None:
        """Send `data` and close, in as many calls of `flush` as that takes."""
        self._reply = memoryview(data)

    def flush(self) -> None:
        """Send what the client takes now; close when all is sent, or too late."""
        if self.closed:
            return
        try:
            while self._reply:
                self._reply = self._reply[self._peer.send(self._reply) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        sent = self._reply is not None and not self._reply
        if sent or time.monotonic() > self._deadline:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self.closed = True
        self._peer.close()


def _listener(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(path)
        listener.listen()
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror or str(error), path) from None
    return listener
