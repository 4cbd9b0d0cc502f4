"""How much of what was sent along one edge is still under way."""

from __future__ import annotations

from collections import deque


class Flow:
    """The batches in flight on an edge: sent, and not yet credited by the receiver.

    A credit names a batch. It settles that one and all that were sent before it, so a later one
    makes up for any that was lost; one for a batch that is not in flight settles nothing.

    Where the way is long the window grows, up to `most`: a receiver that is idle while the window
    holds us up could do more. It grows by a quarter at a time, and again only when as many batches
    have been settled as it holds, for sooner the effect cannot be seen.
    """

    def __init__(self, window: int) -> None:
        self.credit = 0
        self.window = window
        self.most = window
        self._in_flight: deque[int] = deque()
        self._settled = 0  # since the window grew

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
            while True:
                self._settled += 1
                if self._in_flight.popleft() == credit:
                    break

    def idle(self) -> None:
        """The receiver has nothing to do."""
        if not self.open and self._settled >= self.window:
            self.window = min(self.most, self.window + max(1, self.window // 4))
            self._settled = 0
