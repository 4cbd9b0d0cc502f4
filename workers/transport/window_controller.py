"""How many batches may be in flight to a neighbour on another host.

The window is the largest recent rate of credits, times the smallest recent time from a batch to its
credit, times a margin. That keeps the link full, and the margin lets a sender find out whether the
link can carry more. The smallest time counts because a time spent in a queue would ask for a longer
queue. If no sample has come close to the minimum for 30 s, the window is halved until the queue has
drained, to measure the base round-trip time again. This is the idea of BBR (Cardwell et al. 2016)
and its PROBE_RTT, with batches in place of bytes.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from protocol import Pipeline

MEMORY_NS: Final = 30 * 10**9
"""How long the minimum counts if no sample comes close to it."""
NEAR: Final = 1.1
"""A sample up to this many times the minimum is close to it."""
RATE_SAMPLES: Final = 10
"""The rate is the largest of this many samples, taken twice a second."""
STARTUP_MARGIN: Final = 2.0
"""The margin in start-up, while the window holds the sender up."""
MARGIN: Final = 1.5
"""The margin after start-up: enough for credits that usually take half as long again as the
fastest. A larger margin would only make gradients older."""


class WindowController:
    """The window of one link; `least` and `most` bound it. Times are in ns."""

    def __init__(self, least: int, most: int) -> None:
        self.window = least
        self._least = least
        self._most = max(least, most)
        self._sent: deque[tuple[int, int]] = deque(maxlen=2 * self._most)
        self._credited = 0
        self._held = False  # whether the window has held the sender up since the last update
        self._updated = 0
        self._min_rtt: int | None = None
        self._near_at = 0  # when a sample was last close to the minimum
        self._full_window = 0  # the window before it was halved, while it is halved
        self._probe = 0  # the first batch sent without a queue while the window is halved
        self._probed = False  # whether the credit of the probe has come
        self._startup = True
        self._rates: deque[float] = deque(maxlen=RATE_SAMPLES)
        self._bytes = 0

    @property
    def in_startup(self) -> bool:
        """Whether an update is due at once: in start-up the window grows every round trip."""
        return self._startup and self._credited >= self.window

    @property
    def report(self) -> list[float | None]:
        """The window, the smallest recent round-trip time in ms (None without one), and MB sent."""
        rtt_ms = None if self._min_rtt is None else self._min_rtt / 1e6
        return [self.window, rtt_ms, self._bytes / 1e6]

    def on_sent(self, batch: int, now: int, size: int) -> None:
        """`batch` has been sent; its arrays have `size` bytes."""
        self._bytes += size
        self._updated = self._updated or now
        self._sent.append((batch, now))
        if self._full_window and not self._probe and len(self._sent) <= self.window:
            self._probe = batch
        self._held = self._held or len(self._sent) >= self.window

    def on_credit(self, credit: int, now: int) -> None:
        """Batch `credit`, and all batches sent before it, have been processed."""
        if not any(batch == credit for batch, _ in self._sent):
            return
        while self._sent:
            batch, sent = self._sent.popleft()
            self._credited += 1
            self._probed = self._probed or batch == self._probe
            if batch == credit:
                if self._probed or not self._full_window:
                    self._rtt_sample(now - sent, now)
                break

    def _rtt_sample(self, rtt: int, now: int) -> None:
        """A credit came `rtt` after its batch was sent."""
        if self._min_rtt is None or rtt < self._min_rtt:
            self._min_rtt = rtt
        if rtt <= self._min_rtt * NEAR:
            self._near_at = now

    def update(self, now: int) -> int:
        """The window from now on; called at every round trip in start-up, then twice a second."""
        elapsed, self._updated = now - self._updated, now
        credited, self._credited = self._credited, 0
        held, self._held = self._held, False
        if self._min_rtt is None or not credited:
            return self.window
        if self._full_window:
            self.window, self._full_window, self._probe, self._probed = (
                self._full_window,
                0,
                0,
                False,
            )
        elif now - self._near_at > MEMORY_NS:
            self._min_rtt = None
            self._full_window, self.window = self.window, self._bounded(self.window // 2)
        else:
            self._rates.append(credited / max(1, elapsed))
            self._adapt(self._min_rtt, held)
        return self.window

    def _adapt(self, min_rtt: int, held: bool) -> None:
        """Set the window from the rates and the smallest round-trip time."""
        rate, margin = max(self._rates), MARGIN
        if self._startup:
            rate, margin = self._rates[-1], STARTUP_MARGIN if held else 1.0
        window = self._bounded(self._least // 2 + round(rate * min_rtt * margin))
        if self._startup and window <= self.window:
            self._startup = False
            self._rates.clear()
        else:
            self.window = window

    def _bounded(self, window: int) -> int:
        return min(self._most, max(self._least, window))


def controller_for(pipeline: Pipeline) -> WindowController:
    """A controller within the bounds that `pipeline` sets."""
    return WindowController(pipeline.window, pipeline.max_window)
