"""Every message from its sending to its use: what the two ends of an edge recorded, put together.

The messages of one kind on an edge are told apart by their number, and where a number comes more
than once, as in credits, by which time it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from coordinator.traces.events import NEVER, Columns, Events, Numbers, Times, nothing
from protocol import Edge
from protocol import trace_format as form

FATES: Final = ("used", "dropped", "unsent", "waiting", "missing", "forgotten")
"""What became of a message.

used, dropped   the receiver says so
unsent          the sender dropped it, for the receiver was behind by a whole window
waiting         received, and neither used nor dropped so far
missing         sent, and not received so far
forgotten       sent, and what became of it has been overwritten in the receiver's ring"""
USED, DROPPED, UNSENT, WAITING, MISSING, FORGOTTEN = range(6)

Place: TypeAlias = Numbers | slice
Entries: TypeAlias = tuple[Place, Numbers | int]


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """The messages of one kind on an edge, in the order in which they were sent.

    Columns have an entry a message. Times are nanoseconds of the coordinator's clock, NEVER where
    there is none; `used` is when a message was taken up or dropped, `end` when all that it led to
    was done. `version` is that of the sender's weights, `used_version` of the receiver's. `cause`
    is the edge whose message of the same batch led to it, "" for none, as a place in `edges`.
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
    fate: Numbers
    why: Numbers
    cause: Numbers
    edges: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.batch)


def kinds(ends: Ends, edge: Edge) -> list[int]:
    """The kinds of messages that were seen on `edge`."""
    seen = [ends.said(edge, event)["kind"] for event in (form.SENT, form.DROPPED)]
    seen += [ends.heard(edge, event)["kind"] for event in (form.RECEIVED, form.USED)]
    return [int(kind) for kind in np.unique(np.concatenate(seen))]


@dataclass(frozen=True, slots=True)
class Ends:
    """What the two ends of an edge recorded; None for an end of which there is no trace.

    `sender_time` and `receiver_time` turn their times into the coordinator's.
    """

    sender: Events | None
    receiver: Events | None
    sender_time: Callable[[Numbers], Times]
    receiver_time: Callable[[Numbers], Times]
    edges: tuple[str, ...] = ()

    def said(self, edge: Edge, event: int) -> Columns:
        """What the sender recorded."""
        return self.sender.of(edge, event) if self.sender else nothing(event)

    @property
    def horizon(self) -> int:
        """From before this moment nothing is known of what the receiver did."""
        if self.receiver is None or not self.receiver.horizon:
            return 0
        return int(self.receiver_time(np.array([self.receiver.horizon]))[0])

    def heard(self, edge: Edge, event: int) -> Columns:
        """What the receiver recorded."""
        return self.receiver.of(edge, event) if self.receiver else nothing(event)


def messages(ends: Ends, edge: Edge, kind: int) -> Messages:
    """The messages of `kind` on `edge`."""
    sent, unsent = (_of(ends.said(edge, event), kind) for event in (form.SENT, form.DROPPED))
    received, used, dropped = (
        _of(ends.heard(edge, event), kind) for event in (form.RECEIVED, form.USED, form.DROPPED)
    )
    at = _Places(sent, unsent, received, used, dropped)
    said, heard = ends.sender_time, ends.receiver_time
    column = at.column
    by_sender: list[tuple[Place, Columns]] = [(at.sent, sent), (at.unsent, unsent)]
    missing = np.where(said(sent["time"]) < ends.horizon, FORGOTTEN, MISSING)
    end = np.where(used["end"] == 0, NEVER, heard(used["end"]))
    taken = [(at.used, heard(used["time"])), (at.dropped, heard(dropped["time"]))]
    fates: list[Entries] = [
        (at.sent, missing),
        (at.received, WAITING),
        (at.used, USED),
        (at.dropped, DROPPED),
        (at.unsent, UNSENT),
    ]
    return Messages(
        edge=edge,
        kind=kind,
        batch=at.numbers,
        sent=column(NEVER, "i8", (at.sent, said(sent["time"]))),
        received=column(NEVER, "i8", (at.received, heard(received["time"]))),
        used=column(NEVER, "i8", *taken, (at.unsent, said(unsent["time"]))),
        end=column(NEVER, "i8", (at.used, end)),
        bytes=column(0, "u4", (at.sent, sent["bytes"])),
        queue=column(0, "u2", (at.received, received["queue"])),
        staleness=column(0, "u4", (at.used, used["staleness"])),
        version=column(0, "u8", *((place, columns["version"]) for place, columns in by_sender)),
        used_version=column(0, "u8", (at.used, used["version"]), (at.dropped, dropped["version"])),
        fate=column(MISSING, "u1", *fates),
        why=column(0, "u1", (at.dropped, dropped["reason"]), (at.unsent, unsent["reason"])),
        cause=column(0, "u1", *((place, columns["cause"]) for place, columns in by_sender)),
        edges=ends.edges,
    )


class _Places:
    """All messages that any of five tables tells of, and which of them each table's rows are."""

    def __init__(
        self, sent: Columns, unsent: Columns, received: Columns, used: Columns, dropped: Columns
    ) -> None:
        self.numbers = sent["batch"]
        self.sent = slice(0, len(self.numbers))
        self.received = self._heard(received["batch"])
        self.used = self._heard(used["batch"])
        self.dropped = self._heard(dropped["batch"])
        self.unsent = self._added(unsent["batch"])

    def _heard(self, batches: Numbers) -> Numbers:
        places = match(self.numbers, batches)
        strangers = np.flatnonzero(places == NEVER)  # what the sender wrote of them is gone
        places[strangers] = self._added(batches[strangers])
        return places

    def _added(self, batches: Numbers) -> Numbers:
        before = len(self.numbers)
        self.numbers = np.concatenate([self.numbers, batches])
        return before + np.arange(len(batches))

    def column(self, start: int, dtype: str, *values: Entries) -> Numbers:
        """An entry a message: `start` where none of `values`, by places, says otherwise."""
        made = np.full(len(self.numbers), start, dtype)
        for where, value in values:
            made[where] = value
        return made


def _of(columns: Columns, kind: int) -> Columns:
    chosen = columns["kind"] == kind
    if chosen.all():
        return columns
    return {name: column[chosen] for name, column in columns.items()}


def match(known: Numbers, wanted: Numbers) -> npt.NDArray[np.intp]:
    """Where in `known` each of `wanted` is, the n-th of equal ones by the n-th; NEVER for nowhere.

    Messages of a kind keep their order on an edge, so nearly always the one begins like the other.
    """
    if len(wanted) <= len(known) and np.array_equal(known[: len(wanted)], wanted):
        return np.arange(len(wanted))
    if not (_rising(known) and _rising(wanted)):
        _, numbered = np.unique(np.concatenate([known, wanted]), return_inverse=True)
        each = numbered[: len(known)], numbered[len(known) :]
        most = max(len(known), len(wanted))
        first, second = (of * most + _occurrence(of) for of in each)
        order = np.argsort(first, kind="stable")
        return _search(first[order], second, order)
    return _search(known, wanted, np.arange(len(known)))


def _search(known: Numbers, wanted: Numbers, places: Numbers) -> npt.NDArray[np.intp]:
    at = np.searchsorted(known, wanted)
    inside = np.minimum(at, len(known) - 1)
    if not len(known):
        return np.full(len(wanted), NEVER)
    return np.where(known[inside] == wanted, places[inside], NEVER)


def _rising(numbers: Numbers) -> bool:
    return bool((numbers[1:] > numbers[:-1]).all())


def _occurrence(numbers: Numbers) -> Numbers:
    """Of each number, how many equal ones stand before it."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.append(begins, len(ordered)))
    counted = np.empty(len(numbers), np.intp)
    counted[order] = np.arange(len(ordered)) - np.repeat(begins, lengths)
    return counted
