"""Flow control by credits: the batches in flight on an edge, and the credits owed for others.

A batch is in flight on an edge from the moment it is sent until its credit comes back. A credit
names one batch and covers all batches that were sent before it, so a later credit makes up for a
lost one.
"""

from __future__ import annotations

from collections import deque


class CreditWindow:
    """The batches in flight on one edge out of a stage: sent and not yet credited.

    `window` is the largest number of them; on an edge between hosts it changes during the run.
    `credit` is the last batch that was credited. A credit for a batch that is not in flight is
    ignored.
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
    def empty(self) -> bool:
        """Whether no batch is in flight, so that the receiver has nothing to do."""
        return not self._in_flight

    def send(self, batch: int) -> None:
        """Count `batch` as in flight."""
        self._in_flight.append(batch)

    def acknowledge(self, credit: int) -> None:
        """Remove batch `credit`, and all batches sent before it, from those in flight."""
        if credit in self._in_flight:
            self.credit = credit
            while self._in_flight.popleft() != credit:
                pass


class OwedCredit:
    """The credit that a stage owes to one neighbour.

    `batch` is the newest batch that the stage is done with, `sent` the last one it credited.
    """

    def __init__(self) -> None:
        self.batch = 0
        self.sent = 0

    def pay(self) -> int:
        """The credit to send now."""
        self.sent = self.batch
        return self.batch
