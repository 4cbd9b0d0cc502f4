"""Find single messages, and collect what is recorded about each."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from coordinator.traces.events import NEVER, Numbers, RecordFilter
from coordinator.traces.message_accounting import loss_reason
from coordinator.traces.messages import DROPPED, MISSING, OUTCOMES, UNSENT, WAITING, Messages
from coordinator.traces.run import Traces
from protocol import Edge
from protocol import trace_format as form


class MessageRow(NamedTuple):
    """One message. Times are ns since the start of the run; None if the event did not occur.

    For a dropped message `used` is the time of the drop. `reason` explains why the message was
    dropped or lost; it is empty for other messages.
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
    outcome: str
    reason: str
    cause: str

    @property
    def first(self) -> int:
        """The time of the first recorded event."""
        return next(t for t in (self.sent, self.received, self.used, 0) if t is not None)

    @property
    def delay(self) -> int | None:
        """The ns from sending to use, at least 0; None if one of the two did not occur."""
        if self.sent is None or self.used is None:
            return None
        return max(0, self.used - self.sent)


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Selects messages by stage, edge, kinds, first and last batch, and outcomes.

    A field that is None or empty selects all messages. `stage` selects messages from and to it.
    """

    stage: str | None = None
    edge: str | None = None
    kinds: tuple[int, ...] = ()
    batches: tuple[int, int] | None = None
    outcomes: tuple[int, ...] = ()

    @property
    def record_filter(self) -> RecordFilter | None:
        """The filter for trace records; None if all records are needed."""
        if not self.kinds and self.batches is None:
            return None
        return self._accepts

    def _accepts(self, records: form.Records) -> Numbers:
        accepted: Numbers = np.ones(len(records), bool)
        if self.kinds:
            accepted &= np.isin(records["kind"], self.kinds)
        if self.batches is not None:
            first, last = self.batches
            accepted &= (records["batch"] >= first) & (records["batch"] <= last)
        return accepted

    def accepts_edge(self, edge: Edge) -> bool:
        """Whether messages on `edge` may be selected."""
        return self.stage in (None, *edge) and self.edge in (None, str(edge))

    def indices(self, messages: Messages) -> Numbers:
        """The indices of the messages with a selected outcome."""
        if not self.outcomes:
            return np.arange(len(messages))
        return np.flatnonzero(np.isin(messages.outcome, self.outcomes))


def find_messages(
    traces: Traces, choice: MessageFilter, limit: int | None = None
) -> tuple[list[MessageRow], int]:
    """The first `limit` selected messages in order of time, and the number of selected messages.

    `traces` must have been opened with `choice.record_filter`.
    """
    found: list[list[MessageRow]] = []
    count = 0
    for edge in filter(choice.accepts_edge, traces.edges):
        for messages in traces.messages(edge):
            indices = choice.indices(messages)
            count += len(indices)
            first = np.argsort(_first_times(messages)[indices], kind="stable")[:limit]
            found.append(list(message_rows(traces, messages, indices[first])))
    ordered = heapq.merge(*found, key=lambda row: row.first)
    return [row for row, _ in zip(ordered, range(limit or count), strict=False)], count


def _first_times(messages: Messages) -> Numbers:
    """The time of the first recorded event of each message."""
    known = np.where(messages.received < 0, messages.used, messages.received)
    return np.where(messages.sent < 0, known, messages.sent)


_TIMES = ("sent", "received", "used", "end")
_FIELDS = ("batch", "bytes", "queue", "staleness", "version", "used_version")


def message_rows(traces: Traces, messages: Messages, indices: Numbers) -> Iterator[MessageRow]:
    """The messages at `indices` as rows."""
    edge, kind = str(messages.edge), form.KINDS[messages.kind]
    lost = loss_reason(traces, messages.edge)
    causes = ("", *messages.edges)
    times = [_since(getattr(messages, name)[indices], traces.start) for name in _TIMES]
    numbers = [getattr(messages, name)[indices].tolist() for name in _FIELDS]
    codes = [getattr(messages, name)[indices].tolist() for name in ("outcome", "reason", "cause")]
    rows = (zip(*columns, strict=True) for columns in (times, numbers, codes))
    for time, number, code in zip(*rows, strict=True):
        sent, received, used, end = time
        batch, size, queue, staleness, version, used_version = number
        outcome, reason, cause = code
        yield MessageRow(
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
            outcome=OUTCOMES[outcome],
            reason=lost if outcome in (WAITING, MISSING) else form.DROP_REASONS[reason],
            cause=causes[cause],
        )


def _since(times: Numbers, start: int) -> list[int | None]:
    return [None if time == NEVER else time - start for time in times.tolist()]


class UnusedMessages(NamedTuple):
    """Messages of one kind on an edge that were not used, for one reason.

    `first` and `last` are batches.
    """

    edge: str
    kind: str
    outcome: str
    reason: str
    messages: int
    first: int
    last: int


def unused_messages(traces: Traces) -> list[UnusedMessages]:
    """All messages that were not used, by edge, kind, outcome and reason.

    Edges to stages whose traces are still on other hosts are left out.
    """
    edges = [edge for edge in traces.edges if edge.receiver not in traces.remote_stages]
    return [
        row
        for edge in edges
        for messages in traces.messages(edge)
        for outcome in (DROPPED, UNSENT, WAITING, MISSING)
        for row in _unused(messages, outcome, loss_reason(traces, edge))
    ]


def _unused(messages: Messages, outcome: int, lost: str) -> Iterator[UnusedMessages]:
    chosen = messages.outcome == outcome
    for reason in np.unique(messages.reason[chosen]).tolist():
        batches = messages.batch[chosen & (messages.reason == reason)]
        yield UnusedMessages(
            str(messages.edge),
            form.KINDS[messages.kind],
            OUTCOMES[outcome],
            form.DROP_REASONS[reason] or lost,
            len(batches),
            int(batches.min()),
            int(batches.max()),
        )
