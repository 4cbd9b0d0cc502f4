"""What time it is at the coordinator, for a worker that has another clock.

One that has the same clock never asks. Another asks some times before it begins, so that what it
records has a time from the start, and then with every beat: of the answers of some time the one
that came back soonest tells best.
"""

from __future__ import annotations

from typing import Final

from protocol import Ping, Pong
from protocol.clock import Estimate, clock_name, estimate

FIRST: Final = 5
"""How often it asks before it begins."""
EACH_NS: Final = 10 * 10**9
"""How long the answers are gathered of which the best is kept."""


class Clock:
    """Asks on behalf of the worker `name`; `reference` is the name of the coordinator's clock."""

    def __init__(self, name: str, reference: str) -> None:
        self.shared = reference == clock_name()
        self._name = name
        self._asked = -1
        self._since = 0
        self._best: Estimate | None = None

    def ask(self, now: int) -> Ping:
        """The question, at the moment `now`."""
        self._asked = now
        return Ping(self._name, now)

    def answered(self, pong: Pong, now: int) -> Estimate | None:
        """What the answer says, or None where it was not to the newest question."""
        if pong.asked != self._asked:
            return None
        self._asked = -1
        return estimate(pong.asked, pong.time, now)

    def kept(self, found: Estimate, now: int) -> Estimate | None:
        """The best estimate of the last while, when it is over; till then None."""
        if self._best is None or found.bound < self._best.bound:
            self._best = found
        if now - self._since < EACH_NS:
            return None
        self._since, best, self._best = now, self._best, None
        return best
