"""The books of an edge: what was sent, and what became of it, to the last message."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from coordinator.traces.files import TraceFile
from coordinator.traces.messages import FATES, MISSING, UNSENT, WAITING, Messages
from coordinator.traces.run import Traces
from protocol import Edge
from protocol import trace_format as form

Counts: TypeAlias = npt.NDArray[np.int64]

DROPPED_AT: Final = 4
"""Where the counts of drops begin in the totals of an edge and kind."""


@dataclass(frozen=True, slots=True)
class Account:
    """Counts of the messages of one kind on an edge; `dropped` by reason (`protocol.trace_format`).

    `unsent` were dropped by the sender and do not count as sent. `waiting` were received and
    neither used nor dropped, `missing` sent and not received. `strangers` were received though
    nobody sent them; there never are any where the books are right.
    """

    edge: Edge
    kind: str
    sent: int
    bytes: int
    used: int
    dropped: dict[str, int]
    unsent: int
    waiting: int
    missing: int
    strangers: int

    @property
    def lost(self) -> int:
        """How many of those sent were neither used nor dropped."""
        return self.waiting + self.missing

    @property
    def balanced(self) -> bool:
        """Whether everything sent is accounted for, and nothing else is."""
        accounted = self.used + sum(self.dropped.values()) + self.lost
        return self.sent == accounted and self.waiting >= 0 and not self.strangers


def account(messages: Messages) -> Account:
    """The account of messages of which none has been overwritten."""
    unsent = messages.fate == UNSENT
    fates = Counter(dict(zip(*_counted(messages.fate), strict=True)))
    reasons = zip(*_counted(messages.why[(messages.why > 0) & ~unsent]), strict=True)
    return Account(
        edge=messages.edge,
        kind=form.KINDS[messages.kind],
        sent=int((messages.sent >= 0).sum()),
        bytes=int(messages.bytes.sum(dtype=np.int64)),
        used=fates[FATES.index("used")],
        dropped={form.DROP_REASONS[why]: count for why, count in reasons},
        unsent=fates[UNSENT],
        waiting=fates[WAITING],
        missing=fates[MISSING],
        strangers=int(((messages.sent < 0) & ~unsent).sum()),
    )


def _counted(numbers: np.typing.NDArray[np.integer]) -> tuple[list[int], list[int]]:
    values, counts = np.unique(numbers, return_counts=True)
    return values.tolist(), counts.tolist()


def books(traces: Traces) -> list[Account]:
    """The accounts of all edges and kinds, from the totals; those of rings go back to the start."""
    totals = {core: _by_edge(file) for core, file in traces.files.items()}
    nothing = np.zeros((len(form.KINDS), form.COUNTERS), np.int64)
    found: list[Account] = []
    for edge in traces.edges:
        sender, receiver = (totals.get(core, {}).get(str(edge), nothing) for core in edge)
        seen = np.flatnonzero(sender.any(axis=1) | receiver.any(axis=1)).tolist()
        found += [_account(edge, kind, sender[kind], receiver[kind]) for kind in seen]
    return found


def _by_edge(file: TraceFile) -> dict[str, Counts]:
    """Kinds and parts of what was counted in `file`, by edge."""
    return dict(zip(file.metadata.edges, file.counted(), strict=True))


def _account(edge: Edge, kind: int, said: Counts, heard: Counts) -> Account:
    sent, size, _, _ = said[:DROPPED_AT].tolist()
    _, _, received, used = heard[:DROPPED_AT].tolist()
    reasons = zip(form.DROP_REASONS[1:], heard[DROPPED_AT + 1 :].tolist(), strict=True)
    dropped = {why: count for why, count in reasons if count}
    missing = sent - received
    return Account(
        edge=edge,
        kind=form.KINDS[kind],
        sent=sent,
        bytes=size,
        used=used,
        dropped=dropped,
        unsent=int(said[DROPPED_AT + 1 :].sum()),
        waiting=received - used - sum(dropped.values()),
        missing=max(0, missing),
        strangers=max(0, -missing),
    )


def why_lost(traces: Traces, edge: Edge) -> str:
    """Why messages on `edge` were neither used nor dropped."""
    if edge.receiver in traces.away:
        return f"the trace of {edge.receiver} is on another host until the run ends"
    file = traces.files.get(edge.receiver)
    if file is None:
        return f"there is no trace of {edge.receiver}"
    if not file.closed:
        return "under way" if traces.running else f"{edge.receiver} died"
    return "the end"
