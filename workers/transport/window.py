"""How many batches should be under way to a neighbour that is far off.

As many as were credited at best, of late, in the time that a credit needs to come back, and some
more: that keeps the way full, and lets a sender that could do more find out. The quickest credit
tells that time; one that waited in a queue would ask for a longer queue. Where none has been about
as quick for long, either all wait or the way has become longer: the window is half until the queue
is gone and a credit has come since, to see. It is the idea of BBR (Cardwell et al. 2016), with
batches in place of bytes.
"""

from __future__ import annotations

from collections import deque
from typing import Final

MEMORY_NS: Final = 30 * 10**9
"""How long the quickest time counts when no other comes near it."""
NEAR: Final = 1.1
"""How much longer a time may be to count as about as quick."""
LOOKS: Final = 10
"""The best rate is that of so many looks, twice a second each."""
FIRST_MARGIN: Final = 2.0
"""How many times what seems needed the window is at first, while it holds the sender up."""
MARGIN: Final = 1.5
"""The same later: enough for credits that usually need half as long again as the quickest. More
only makes gradients older."""


class Way:
    """The batches on the way to one neighbour; `least` and `most` bound the window. Times in ns."""

    def __init__(self, least: int, most: int) -> None:
        self.window = least
        self._least = least
        self._most = max(least, most)
        self._sent: deque[tuple[int, int]] = deque(maxlen=2 * self._most)
        self._credited = 0
        self._held = False
        self._since = 0
        self._quickest: int | None = None
        self._seen = 0  # when a credit was about as quick as the quickest
        self._before = 0  # the window before it was halved, while it is
        self._probe = 0  # the first batch that was then sent with no queue before it
        self._probed = False  # whether its credit has come
        self._starting = True
        self._rates: deque[float] = deque(maxlen=LOOKS)
        self._bytes = 0

    @property
    def eager(self) -> bool:
        """Whether a look is due already: at first the window grows with every round trip."""
        return self._starting and self._credited >= self.window

    @property
    def report(self) -> list[float | None]:
        """The window, the quickest round trip of late in ms, None for none yet, and MB sent."""
        took = None if self._quickest is None else self._quickest / 1e6
        return [self.window, took, self._bytes / 1e6]

    def sends(self, batch: int, now: int, size: int) -> None:
        """`batch` is under way, in so many bytes."""
        self._bytes += size
        self._since = self._since or now
        self._sent.append((batch, now))
        if self._before and not self._probe and len(self._sent) <= self.window:
            self._probe = batch
        self._held = self._held or len(self._sent) >= self.window

    def credited(self, credit: int, now: int) -> None:
        """Batch `credit` has arrived and been dealt with, and so have all that were sent before."""
        if not any(batch == credit for batch, _ in self._sent):
            return
        while self._sent:
            batch, sent = self._sent.popleft()
            self._credited += 1
            self._probed = self._probed or batch == self._probe
            if batch == credit:
                if self._probed or not self._before:
                    self._took(now - sent, now)
                break

    def _took(self, time: int, now: int) -> None:
        """A credit came after so long."""
        if self._quickest is None or time < self._quickest:
            self._quickest = time
        if time <= self._quickest * NEAR:
            self._seen = now

    def look(self, now: int) -> int:
        """The window from now on; called twice a second or so."""
        elapsed, self._since = now - self._since, now
        credited, self._credited = self._credited, 0
        held, self._held = self._held, False
        if self._quickest is None or not credited:
            return self.window
        if self._before:
            self.window, self._before, self._probe, self._probed = self._before, 0, 0, False
            return self.window
        if now - self._seen > MEMORY_NS:
            self._quickest = None
            self._before, self.window = self.window, self._bounded(self.window // 2)
            return self.window
        self._rates.append(credited / max(1, elapsed))
        rate, margin = max(self._rates), MARGIN
        if self._starting:
            rate, margin = self._rates[-1], FIRST_MARGIN if held else 1.0
        window = self._bounded(self._least // 2 + round(rate * self._quickest * margin))
        if self._starting and window <= self.window:
            self._starting = False
            self._rates.clear()
        else:
            self.window = window
        return self.window

    def _bounded(self, window: int) -> int:
        return min(self._most, max(self._least, window))
