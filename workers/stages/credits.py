"""How much of what was sent along one edge is still under way."""

from __future__ import annotations

from collections import deque


class Flow:
    """The batches in flight on an edge: sent, and not yet credited by the receiver.

    A credit names a batch. It settles that one and all that were sent before it, so a later one
    makes up for any that was lost; one for a batch that is not in flight settles nothing. Where the
    way is long `window` changes while batches are in flight.
    """

    def __init__(self, window: int) -> None:
        self.credit = 0
        self.window = window
        self._in_flight: deque[int] = deque()

    @property
    def open(self) -> bool:
        """Whether another batch may be sent."""
        return len(self._in_flight) < self.window

    @property
    def dry(self) -> bool:
        """Whether the receiver has nothing to do."""
        return not self._in_flight

    def send(self, batch: int) -> None:
        """`batch` is under way."""
        self._in_flight.append(batch)

    def settle(self, credit: int) -> None:
        """The receiver is done with batch `credit`, and with all before it."""
        if credit in self._in_flight:
            self.credit = credit
            while self._in_flight.popleft() != credit:
                pass
