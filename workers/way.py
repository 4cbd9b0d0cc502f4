"""How many batches should be under way to a neighbour that is far off.

As many as are credited in the time that a credit needs to come back, and half of the usual window
on top: that keeps the way full, and lets a sender that could do more find out. The quickest credit
of the last while tells that time; one that waited in a queue would ask for a longer queue. As all
wait while the queue is never empty, the window is small now and then, for a moment, to see.
"""

from __future__ import annotations

from collections import deque
from typing import Final

MEMORY_NS: Final = 30 * 10**9
"""How long a time that was seen counts, and how often the way is emptied to see a new one."""
MARGIN: Final = 2.0
"""More than seems needed, while the window holds the sender up: a way that is shared, by machines
or by cores, is seldom as quick as it can be. A queue at its end holds no more than the way does."""


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
        self._emptied = 0
        self._quickest: int | None = None
        self._before = 0  # the window before the way was emptied, while it is
        self._starting = True
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
        self._held = self._held or len(self._sent) >= self.window

    def credited(self, credit: int, now: int) -> None:
        """Batch `credit` has arrived and been dealt with, and so have all that were sent before."""
        if not any(batch == credit for batch, _ in self._sent):
            return
        while self._sent:
            batch, sent = self._sent.popleft()
            self._credited += 1
            if batch == credit:
                took = now - sent
                if self._quickest is None or took < self._quickest:
                    self._quickest = took
                break

    def look(self, now: int) -> int:
        """The window from now on; called twice a second or so."""
        elapsed, self._since = now - self._since, now
        credited, self._credited = self._credited, 0
        held, self._held = self._held, False
        if self._quickest is None or not credited:
            return self.window
        if self._before:
            self.window, self._before = self._before, 0
            return self.window
        self._emptied = self._emptied or now
        if now - self._emptied > MEMORY_NS:
            self._emptied, self._quickest = now, None
            self._before, self.window = self.window, self._least
            return self.window
        needed = credited / elapsed * self._quickest * (MARGIN if held else 1.0)
        window = self._bounded(self._least // 2 + round(needed))
        self._starting = self._starting and window > self.window
        self.window = window
        return window

    def _bounded(self, window: int) -> int:
        return min(self._most, max(self._least, window))
