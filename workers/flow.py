"""How much of what was sent along one edge is still under way."""

from __future__ import annotations

from collections import deque


class Flow:
    """The batches in flight on an edge: sent, and not yet credited by the receiver.

    Credits are batch numbers: one settles all batches up to it, so a later one makes up for any
    that was lost. A credit for what was never sent settles nothing more.
    """

    def __init__(self, window: int) -> None:
        self.newest = 0
        self.credit = 0
        self._window = window
        self._in_flight: deque[int] = deque()

    @property
    def open(self) -> bool:
        """Whether another batch may be sent."""
        return len(self._in_flight) < self._window

    @property
    def dry(self) -> bool:
        """Whether the receiver has nothing to do."""
        return not self._in_flight

    def send(self, batch: int) -> None:
        """`batch` is under way; numbers ascend."""
        self.newest = batch
        self._in_flight.append(batch)

    def settle(self, credit: int) -> None:
        """The receiver is done with all batches up to `credit`."""
        while self._in_flight and self._in_flight[0] <= credit:
            self.credit = self._in_flight.popleft()
