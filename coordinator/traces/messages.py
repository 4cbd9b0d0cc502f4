"""Match the records of the two ends of an edge: every message from its sending to its use.

Messages of one kind on an edge are identified by their number. If a number occurs more than once,
as in credits, the n-th occurrence at one end matches the n-th at the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from coordinator.traces.clocks import Times
from coordinator.traces.events import NEVER, Columns, Numbers, StageEvents, empty_columns
from coordinator.traces.matching import match_numbers
from protocol import Edge
from protocol import trace_format as form

OUTCOMES: Final = ("used", "dropped", "unsent", "waiting", "missing", "overwritten")
"""What became of a message.

used         the receiver used it
dropped      the receiver dropped it
unsent       the sender dropped it, because the receiver was a whole window behind
waiting      received, and neither used nor dropped so far
missing      sent, and not received so far
overwritten  sent; the receiver's ring no longer holds records of that time"""
USED, DROPPED, UNSENT, WAITING, MISSING, OVERWRITTEN = range(6)

Index: TypeAlias = Numbers | slice
Assignment: TypeAlias = tuple[Index, Numbers | int]


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """The messages of one kind on an edge, in the order in which they were sent.

    Each column has one entry per message. Times are ns on the coordinator's clock, NEVER if the
    event did not occur; `used` is the time of use or of the drop, `end` the time when all work on
    the message was done. `version` belongs to the sender's weights, `used_version` to the
    receiver's. `cause` is 1 + the index in `edges` of the edge whose message of the same batch led
    to this message, 0 for none.
    """

    edge: Edge
    kind: int
    batch: Numbers
    sent: Times
    received: Times
    used: Times
    end: Times
    bytes: Numbers
    queue: Numbers
    staleness: Numbers
    version: Numbers
    used_version: Numbers
    outcome: Numbers
    reason: Numbers
    cause: Numbers
    edges: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.batch)


@dataclass(frozen=True, slots=True)
class EdgeRecords:
    """The records of the two ends of an edge; None for an end without a trace.

    `sender_clock` and `receiver_clock` convert times to the coordinator's clock. `edges` are the
    edges of the sender.
    """

    sender: StageEvents | None
    receiver: StageEvents | None
    sender_clock: Callable[[Numbers], Times]
    receiver_clock: Callable[[Numbers], Times]
    edges: tuple[str, ...] = ()

    @property
    def horizon(self) -> int:
        """The time before which the receiver's records have been overwritten, else 0."""
        if self.receiver is None or not self.receiver.horizon:
            return 0
        return int(self.receiver_clock(np.array([self.receiver.horizon]))[0])

    def sent(self, edge: Edge, event: int) -> Columns:
        """The sender's records of `event`."""
        return self.sender.columns(edge, event) if self.sender else empty_columns(event)

    def received(self, edge: Edge, event: int) -> Columns:
        """The receiver's records of `event`."""
        return self.receiver.columns(edge, event) if self.receiver else empty_columns(event)


def kinds_on(edge: Edge, records: EdgeRecords) -> list[int]:
    """The kinds of messages that were recorded on `edge`."""
    seen = [records.sent(edge, event)["kind"] for event in (form.SENT, form.DROPPED)]
    seen += [records.received(edge, event)["kind"] for event in (form.RECEIVED, form.USED)]
    return [int(kind) for kind in np.unique(np.concatenate(seen))]


def match_messages(records: EdgeRecords, edge: Edge, kind: int) -> Messages:
    """The messages of `kind` on `edge`."""
    sent, unsent = (
        _of_kind(records.sent(edge, event), kind) for event in (form.SENT, form.DROPPED)
    )
    received, used, dropped = (
        _of_kind(records.received(edge, event), kind)
        for event in (form.RECEIVED, form.USED, form.DROPPED)
    )
    index = _MessageIndex(sent, unsent, received, used, dropped)
    column, start, finish = index.column, records.sender_clock, records.receiver_clock
    times, versions = {}, {}
    times["sent"] = column(NEVER, "i8", (index.sent, start(sent["time"])))
    times["received"] = column(NEVER, "i8", (index.received, finish(received["time"])))
    times["used"] = column(
        NEVER,
        "i8",
        (index.used, finish(used["time"])),
        (index.dropped, finish(dropped["time"])),
        (index.unsent, start(unsent["time"])),
    )
    end = np.where(used["end"] == 0, NEVER, finish(used["end"]))
    times["end"] = column(NEVER, "i8", (index.used, end))
    by_sender = ((index.sent, sent), (index.unsent, unsent))
    by_receiver = ((index.used, used), (index.dropped, dropped))
    versions["version"] = column(0, "u8", *((at, c["version"]) for at, c in by_sender))
    versions["used_version"] = column(0, "u8", *((at, c["version"]) for at, c in by_receiver))
    reasons = (index.dropped, dropped["reason"]), (index.unsent, unsent["reason"])
    return Messages(
        edge=edge,
        kind=kind,
        batch=index.numbers,
        **times,
        bytes=column(0, "u4", (index.sent, sent["bytes"])),
        queue=column(0, "u2", (index.received, received["queue"])),
        staleness=column(0, "u4", (index.used, used["staleness"])),
        **versions,
        outcome=index.outcomes(start(sent["time"]) < records.horizon),
        reason=column(0, "u1", *reasons),
        cause=column(0, "u1", *((at, c["cause"]) for at, c in by_sender)),
        edges=records.edges,
    )


class _MessageIndex:
    """All messages that occur in any of five tables, and the index of each table's rows in them."""

    def __init__(
        self, sent: Columns, unsent: Columns, received: Columns, used: Columns, dropped: Columns
    ) -> None:
        self.numbers = sent["batch"]
        self.sent = slice(0, len(self.numbers))
        self.received = self._match(received["batch"])
        self.used = self._match(used["batch"])
        self.dropped = self._match(dropped["batch"])
        self.unsent = self._append(unsent["batch"])

    def _match(self, batches: Numbers) -> Numbers:
        indices = match_numbers(self.numbers, batches)
        unmatched = np.flatnonzero(indices == NEVER)  # the sender's records were overwritten
        indices[unmatched] = self._append(batches[unmatched])
        return indices

    def _append(self, batches: Numbers) -> Numbers:
        before = len(self.numbers)
        self.numbers = np.concatenate([self.numbers, batches])
        return before + np.arange(len(batches))

    def column(self, start: int, dtype: str, *values: Assignment) -> Numbers:
        """A column with `start` in every entry that none of `values` assigns."""
        made = np.full(len(self.numbers), start, dtype)
        for index, value in values:
            made[index] = value
        return made

    def outcomes(self, overwritten: Numbers) -> Numbers:
        """The outcome of every message; `overwritten` marks sent ones from before the horizon."""
        return self.column(
            MISSING,
            "u1",
            (self.sent, np.where(overwritten, OVERWRITTEN, MISSING)),
            (self.received, WAITING),
            (self.used, USED),
            (self.dropped, DROPPED),
            (self.unsent, UNSENT),
        )


def _of_kind(columns: Columns, kind: int) -> Columns:
    chosen = columns["kind"] == kind
    if chosen.all():
        return columns
    return {name: column[chosen] for name, column in columns.items()}
