"""A control server that a thread polls, as the loop of a run does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from coordinator.control.messages import ControlRequest
from coordinator.control.server import ControlServer


@contextmanager
def serving(server: ControlServer) -> Iterator[list[ControlRequest]]:
    """Polls `server` until the block ends; the requests that have arrived so far."""
    requests: list[ControlRequest] = []
    over = threading.Event()

    def poll() -> None:
        while not over.wait(0.01):
            requests.extend(server.poll())

    thread = threading.Thread(target=poll)
    with closing(server):
        thread.start()
        try:
            yield requests
        finally:
            over.set()
            thread.join()
