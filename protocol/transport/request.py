"""One request to a socket that `SocketSet.serve` answers, and its reply."""

from __future__ import annotations

import zmq


def request(endpoint: str, text: bytes, seconds: float) -> bytes:
    """The reply to `text` from `endpoint`. Raises TimeoutError after `seconds` without one."""
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        socket.send(text)
        if not socket.poll(int(seconds * 1000)):
            raise TimeoutError(f"no reply from {endpoint} within {seconds:g} s")
        return socket.recv()
