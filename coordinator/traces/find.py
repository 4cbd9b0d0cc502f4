"""Single messages: which of them, and what is known of each."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from coordinator.traces.events import NEVER, Keep, Numbers
from coordinator.traces.message_accounting import why_lost
from coordinator.traces.messages import FATES, MISSING, UNSENT, WAITING, Messages
from coordinator.traces.run import Traces
from protocol import Edge
from protocol import trace_format as form

DATA: Final = (form.ACTIVATION, form.GRADIENT, form.TEST)


class Entry(NamedTuple):
    """One message. Times are ns since the run's start, None where there is none.

    Of a dropped message `used` is the moment of that, and `why` the reason; of one that was lost,
    why it was.
    """

    edge: str
    kind: str
    batch: int
    bytes: int
    sent: int | None
    received: int | None
    used: int | None
    end: int | None
    queue: int
    staleness: int
    version: int
    used_version: int
    fate: str
    why: str
    cause: str

    @property
    def first(self) -> int:
        """The first moment that is known of it."""
        return next(t for t in (self.sent, self.received, self.used, 0) if t is not None)

    @property
    def delay(self) -> int | None:
        """From sending to use, ns; never less than nothing."""
        if self.sent is None or self.used is None:
            return None
        return max(0, self.used - self.sent)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which messages: those that touch the core, of the edge, the kinds, the batches, the fates.

    None leaves everything open. `batches` are the first and the last.
    """

    core: str | None = None
    edge: str | None = None
    kinds: tuple[int, ...] = ()
    batches: tuple[int, int] | None = None
    fates: tuple[int, ...] = ()

    @property
    def keep(self) -> Keep | None:
        """Which records have to be looked at."""
        if not self.kinds and self.batches is None:
            return None
        return self._kept

    def _kept(self, records: form.Records) -> Numbers:
        kept: Numbers = np.ones(len(records), bool)
        if self.kinds:
            kept &= np.isin(records["kind"], self.kinds)
        if self.batches is not None:
            kept &= (records["batch"] >= self.batches[0]) & (records["batch"] <= self.batches[1])
        return kept

    def touches(self, edge: Edge) -> bool:
        """Whether messages on `edge` may be among them."""
        return self.core in (None, *edge) and self.edge in (None, str(edge))

    def of(self, messages: Messages) -> Numbers:
        """The places of those chosen."""
        if not self.fates:
            return np.arange(len(messages))
        return np.flatnonzero(np.isin(messages.fate, self.fates))


def find(traces: Traces, choice: Choice, most: int | None = None) -> tuple[list[Entry], int]:
    """The chosen messages in order of time, at most the first `most`; and how many there are.

    `traces` must have been opened with `choice.keep`.
    """
    found: list[list[Entry]] = []
    count = 0
    for edge in filter(choice.touches, traces.edges):
        for messages in traces.messages(edge):
            places = choice.of(messages)
            count += len(places)
            first = np.argsort(_begins(messages)[places], kind="stable")[:most]
            found.append(list(entries(traces, messages, places[first])))
    ordered = heapq.merge(*found, key=lambda entry: entry.first)
    return [entry for entry, _ in zip(ordered, range(most or count), strict=False)], count


def _begins(messages: Messages) -> Numbers:
    """The first moment that is known of each."""
    known = np.where(messages.received < 0, messages.used, messages.received)
    return np.where(messages.sent < 0, known, messages.sent)


def entries(traces: Traces, messages: Messages, places: Numbers) -> Iterator[Entry]:
    """What is known of the messages at these places."""
    edge, kind = str(messages.edge), form.KINDS[messages.kind]
    lost = why_lost(traces, messages.edge)
    causes = ("", *messages.edges)
    columns = [
        _since(messages.sent[places], traces.start),
        _since(messages.received[places], traces.start),
        _since(messages.used[places], traces.start),
        _since(messages.end[places], traces.start),
    ]
    names = ("batch", "bytes", "queue", "staleness", "version", "used_version", "fate", "why")
    rest = [getattr(messages, name)[places].tolist() for name in (*names, "cause")]
    for times, row in zip(zip(*columns, strict=True), zip(*rest, strict=True), strict=True):
        sent, received, used, end = times
        batch, size, queue, staleness, version, used_version, fate, why, cause = row
        yield Entry(
            edge=edge,
            kind=kind,
            batch=batch,
            bytes=size,
            sent=sent,
            received=received,
            used=used,
            end=end,
            queue=queue,
            staleness=staleness,
            version=version,
            used_version=used_version,
            fate=FATES[fate],
            why=lost if fate in (WAITING, MISSING) else form.DROP_REASONS[why],
            cause=causes[cause],
        )


def _since(times: Numbers, start: int) -> list[int | None]:
    return [None if time == NEVER else time - start for time in times.tolist()]


class Loss(NamedTuple):
    """Messages of one kind on an edge that were never used, for one reason."""

    edge: str
    kind: str
    fate: str
    why: str
    messages: int
    first: int
    last: int


def lost(traces: Traces) -> list[Loss]:
    """What was never used, and why; `first` and `last` are batches.

    Nothing is known yet of the edges to the cores whose traces are away.
    """
    found = []
    for edge in (edge for edge in traces.edges if edge.receiver not in traces.away):
        for messages in traces.messages(edge):
            reason = why_lost(traces, edge)
            for fate in (FATES.index("dropped"), UNSENT, WAITING, MISSING):
                for why in np.unique(messages.why[messages.fate == fate]).tolist():
                    batches = messages.batch[(messages.fate == fate) & (messages.why == why)]
                    text = form.DROP_REASONS[why] or reason
                    ends = int(batches.min()), int(batches.max())
                    kind = form.KINDS[messages.kind]
                    found.append(Loss(str(edge), kind, FATES[fate], text, len(batches), *ends))
    return found
