"""Statistics of each edge: amounts, rates, delays and staleness."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from coordinator.traces.events import Numbers
from coordinator.traces.message_accounting import EdgeCounts, count_messages, edge_counts
from coordinator.traces.messages import USED, Messages
from coordinator.traces.run import Traces
from protocol import Edge
from protocol import trace_format as form

PERCENTILES: Final = (50, 95, 100)


@dataclass(frozen=True, slots=True)
class Distribution:
    """The number of values, their median, 95th percentile and maximum."""

    count: int
    p50: float
    p95: float
    max: float

    @classmethod
    def from_values(cls, values: Numbers) -> Distribution | None:
        """The distribution of `values`; None if there are none."""
        if not len(values):
            return None
        return cls(len(values), *map(float, np.percentile(values, PERCENTILES)))


@dataclass(frozen=True, slots=True)
class EdgeStats:
    """The statistics of one edge.

    Delays are ns, with an error of at most `bound`; delays and staleness are those of activations
    and gradients. `recorded` is the number of sendings that are still recorded, and `seconds` the
    time from the first of them to the last. Without the sender's or the receiver's trace the
    numbers that it counts are unknown.
    """

    edge: Edge
    counts: tuple[EdgeCounts, ...]
    seconds: float
    recorded: int
    transit: Distribution | None
    wait: Distribution | None
    delay: Distribution | None
    staleness: Distribution | None
    bound: int
    sender_known: bool = True
    receiver_known: bool = True

    @property
    def messages(self) -> int:
        """The number of messages sent since the start of the run."""
        return sum(c.sent for c in self.counts)

    @property
    def bytes(self) -> int:
        """The number of bytes sent since the start of the run."""
        return sum(c.bytes for c in self.counts)

    @property
    def rate(self) -> float:
        """Messages per second, from the recorded sendings."""
        return self.recorded / self.seconds if self.seconds else 0.0

    @property
    def dropped(self) -> int:
        """The number of messages that the receiver dropped, or the sender before sending."""
        return sum(sum(c.dropped.values()) + c.unsent for c in self.counts)

    @property
    def lost_messages(self) -> int:
        """The number of messages that were sent and neither used nor dropped."""
        return sum(c.lost_messages for c in self.counts)


@dataclass(slots=True)
class _Samples:
    """Collects values from the messages of an edge, kind by kind."""

    counts: list[EdgeCounts] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    recorded: int = 0
    transit: list[Numbers] = field(default_factory=list)
    wait: list[Numbers] = field(default_factory=list)
    delay: list[Numbers] = field(default_factory=list)
    staleness: list[Numbers] = field(default_factory=list)

    def add(self, messages: Messages) -> None:
        self.counts.append(count_messages(messages))
        sent = messages.sent[messages.sent >= 0]
        self.recorded += len(sent)
        if len(sent):
            self.times += [int(sent.min()), int(sent.max())]
        if messages.kind in form.WORK:
            self._add_delays(messages)

    def _add_delays(self, messages: Messages) -> None:
        sent, received = messages.sent >= 0, messages.received >= 0
        used = messages.outcome == USED
        self.transit.append(elapsed(messages.sent, messages.received, sent & received))
        self.wait.append(elapsed(messages.received, messages.used, used & received))
        self.delay.append(elapsed(messages.sent, messages.used, used & sent))
        if messages.kind != form.TEST:
            self.staleness.append(messages.staleness[used])


def elapsed(start: Numbers, end: Numbers, where: Numbers) -> Numbers:
    """The ns from `start` to `end`, at least 0: a negative value is an error of the clocks."""
    result: Numbers = np.maximum(end[where] - start[where], 0)
    return result


def edge_stats(traces: Traces) -> list[EdgeStats]:
    """The statistics of all edges."""
    complete = not any(file.first for file in traces.files.values())
    totals = [] if complete else edge_counts(traces)
    return [_stats(traces, edge, [c for c in totals if c.edge == edge]) for edge in traces.edges]


def _stats(traces: Traces, edge: Edge, totals: list[EdgeCounts]) -> EdgeStats:
    samples = _Samples()
    for messages in traces.messages(edge):
        samples.add(messages)
    return EdgeStats(
        edge=edge,
        counts=tuple(totals or samples.counts),
        seconds=(max(samples.times) - min(samples.times)) / 1e9 if samples.times else 0.0,
        recorded=samples.recorded,
        transit=_distribution(samples.transit),
        wait=_distribution(samples.wait),
        delay=_distribution(samples.delay),
        staleness=_distribution(samples.staleness),
        bound=traces.bound(edge),
        sender_known=edge.sender in traces.files,
        receiver_known=edge.receiver in traces.files,
    )


def _distribution(parts: list[Numbers]) -> Distribution | None:
    return Distribution.from_values(np.concatenate(parts)) if parts else None
