"""Estimates the coordinator's clock, for a worker on another host.

A worker that shares the coordinator's clock sends no pings. Any other worker sends some before it
begins, so that its trace has the coordinator's time from the start, and then one per heartbeat. Of
the answers within an interval, the one with the shortest round trip is the most exact.
"""

from __future__ import annotations

from typing import Final

from protocol import Ping, Pong
from protocol.clock import ClockSample, clock_name, clock_sample

INITIAL_PINGS: Final = 5
"""The number of pings before a worker begins."""
INTERVAL_NS: Final = 10 * 10**9
"""The time in nanoseconds in which the best estimate is chosen."""


class ClockSync:
    """Estimates for the worker `name`; `reference` is the name of the coordinator's clock."""

    def __init__(self, name: str, reference: str) -> None:
        self.shared = reference == clock_name()
        self._name = name
        self._pinged = -1
        self._since = 0
        self._best: ClockSample | None = None

    def ping(self, now: int) -> Ping:
        """The ping to send at the time `now`."""
        self._pinged = now
        return Ping(self._name, now)

    def on_pong(self, pong: Pong, now: int) -> ClockSample | None:
        """The estimate from `pong`, or None if it does not answer the latest ping."""
        if pong.sent_at != self._pinged:
            return None
        self._pinged = -1
        return clock_sample(pong.sent_at, pong.time, now)

    def best_of_interval(self, found: ClockSample, now: int) -> ClockSample | None:
        """The best estimate of the interval that ends now, or None if it goes on."""
        if self._best is None or found.bound < self._best.bound:
            self._best = found
        if now - self._since < INTERVAL_NS:
            return None
        self._since, best, self._best = now, self._best, None
        return best
