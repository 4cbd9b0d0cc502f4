"""What went over each edge: how much, how fast, how old when it was used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from coordinator.traces.events import Numbers
from coordinator.traces.message_accounting import Account, account, books
from coordinator.traces.messages import USED, Messages
from coordinator.traces.run import Traces
from protocol import Edge
from protocol import trace_format as form

QUANTILES: Final = (50, 95, 100)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, the 95th percentile and the largest of some numbers, and how many these are."""

    count: int
    p50: float
    p95: float
    max: float

    @classmethod
    def of(cls, numbers: Numbers) -> Spread | None:
        """The spread of `numbers`; None where there are none."""
        if not len(numbers):
            return None
        return cls(len(numbers), *map(float, np.percentile(numbers, QUANTILES)))


@dataclass(frozen=True, slots=True)
class EdgeStats:
    """One edge. Delays are ns, and wrong by at most `bound`; `seconds` lie between the first and
    the last sending that is on record. Delays and staleness are of activations and gradients.
    What the sender counts is known if it `told`, what the receiver counts if it `heard`: if there
    is a trace of it.
    """

    edge: Edge
    accounts: tuple[Account, ...]
    seconds: float
    on_record: int
    transit: Spread | None
    waited: Spread | None
    delay: Spread | None
    staleness: Spread | None
    bound: int
    told: bool = True
    heard: bool = True

    @property
    def messages(self) -> int:
        """Sent since the beginning."""
        return sum(a.sent for a in self.accounts)

    @property
    def bytes(self) -> int:
        """Sent since the beginning."""
        return sum(a.bytes for a in self.accounts)

    @property
    def rate(self) -> float:
        """Messages a second, of those on record."""
        return self.on_record / self.seconds if self.seconds else 0.0

    @property
    def dropped(self) -> int:
        """By the receiver, or by the sender in its stead."""
        return sum(sum(a.dropped.values()) + a.unsent for a in self.accounts)

    @property
    def lost(self) -> int:
        """Neither used nor dropped."""
        return sum(a.lost for a in self.accounts)


@dataclass(slots=True)
class _Found:
    """What the messages of an edge have to say, kind by kind."""

    accounts: list[Account] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    on_record: int = 0
    transit: list[Numbers] = field(default_factory=list)
    waited: list[Numbers] = field(default_factory=list)
    delay: list[Numbers] = field(default_factory=list)
    staleness: list[Numbers] = field(default_factory=list)

    def add(self, messages: Messages) -> None:
        self.accounts.append(account(messages))
        sent = messages.sent[messages.sent >= 0]
        self.on_record += len(sent)
        if len(sent):
            self.times += [int(sent.min()), int(sent.max())]
        if messages.kind in form.WORK:
            self._add_delays(messages)

    def _add_delays(self, messages: Messages) -> None:
        arrived = (messages.sent >= 0) & (messages.received >= 0)
        taken = messages.fate == USED
        waited, whole = taken & (messages.received >= 0), taken & (messages.sent >= 0)
        self.transit.append(not_before(messages.sent, messages.received, arrived))
        self.waited.append(not_before(messages.received, messages.used, waited))
        self.delay.append(not_before(messages.sent, messages.used, whole))
        if messages.kind != form.TEST:
            self.staleness.append(messages.staleness[taken])


def not_before(cause: Numbers, effect: Numbers, where: Numbers) -> Numbers:
    """The ns from each cause to its effect: at least 0, for what is less is the clocks' error."""
    later: Numbers = np.maximum(effect[where] - cause[where], 0)
    return later


def stats(traces: Traces) -> list[EdgeStats]:
    """A row an edge."""
    whole = not any(file.first for file in traces.files.values())
    totals = [] if whole else books(traces)
    return [_stats(traces, edge, [a for a in totals if a.edge == edge]) for edge in traces.edges]


def _stats(traces: Traces, edge: Edge, totals: list[Account]) -> EdgeStats:
    found = _Found()
    for messages in traces.messages(edge):
        found.add(messages)
    return EdgeStats(
        edge=edge,
        accounts=tuple(totals or found.accounts),
        seconds=(max(found.times) - min(found.times)) / 1e9 if found.times else 0.0,
        on_record=found.on_record,
        transit=_spread(found.transit),
        waited=_spread(found.waited),
        delay=_spread(found.delay),
        staleness=_spread(found.staleness),
        bound=traces.bound(edge),
        told=edge.sender in traces.files,
        heard=edge.receiver in traces.files,
    )


def _spread(parts: list[Numbers]) -> Spread | None:
    return Spread.of(np.concatenate(parts)) if parts else None
