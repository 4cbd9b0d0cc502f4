"""Account for every message of an edge: how many were sent, and what became of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from coordinator.traces.files import TraceFile
from coordinator.traces.messages import MISSING, UNSENT, USED, WAITING, Messages
from coordinator.traces.run import Traces
from protocol import Edge
from protocol import trace_format as form

Totals: TypeAlias = npt.NDArray[np.int64]

DROPS_AT: Final = 4
"""The index of the first drop counter in the totals of an edge and kind."""


@dataclass(frozen=True, slots=True)
class EdgeCounts:
    """The numbers of messages of one kind on an edge; `dropped` maps drop reasons to numbers.

    `unsent` messages were dropped by the sender and do not count as `sent`. `waiting` messages
    were received and neither used nor dropped; `missing` messages were sent and not received.
    `unmatched` messages were received though no sending is recorded, which is always an error.
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
    unmatched: int

    @property
    def lost_messages(self) -> int:
        """The number of messages that were sent and neither used nor dropped."""
        return self.waiting + self.missing

    @property
    def balanced(self) -> bool:
        """Whether every sent message is accounted for, and no other message is."""
        accounted = self.used + sum(self.dropped.values()) + self.lost_messages
        return self.sent == accounted and self.waiting >= 0 and not self.unmatched


def count_messages(messages: Messages) -> EdgeCounts:
    """Count `messages`, none of which may have been overwritten."""
    unsent = messages.outcome == UNSENT
    outcomes = Counter(dict(zip(*_unique(messages.outcome), strict=True)))
    reasons = zip(*_unique(messages.reason[(messages.reason > 0) & ~unsent]), strict=True)
    return EdgeCounts(
        edge=messages.edge,
        kind=form.KINDS[messages.kind],
        sent=int((messages.sent >= 0).sum()),
        bytes=int(messages.bytes.sum(dtype=np.int64)),
        used=outcomes[USED],
        dropped={form.DROP_REASONS[reason]: count for reason, count in reasons},
        unsent=outcomes[UNSENT],
        waiting=outcomes[WAITING],
        missing=outcomes[MISSING],
        unmatched=int(((messages.sent < 0) & ~unsent).sum()),
    )


def _unique(numbers: np.typing.NDArray[np.integer]) -> tuple[list[int], list[int]]:
    values, counts = np.unique(numbers, return_counts=True)
    return values.tolist(), counts.tolist()


def edge_counts(traces: Traces) -> list[EdgeCounts]:
    """The counts of all edges and kinds since the start of the run, from the files' totals."""
    totals = {stage: _totals_by_edge(file) for stage, file in traces.files.items()}
    nothing = np.zeros((len(form.KINDS), form.COUNTERS), np.int64)
    found: list[EdgeCounts] = []
    for edge in traces.edges:
        sender, receiver = (totals.get(stage, {}).get(str(edge), nothing) for stage in edge)
        seen = np.flatnonzero(sender.any(axis=1) | receiver.any(axis=1)).tolist()
        found += [_from_totals(edge, kind, sender[kind], receiver[kind]) for kind in seen]
    return found


def _totals_by_edge(file: TraceFile) -> dict[str, Totals]:
    return dict(zip(file.metadata.edges, file.all_totals(), strict=True))


def _from_totals(edge: Edge, kind: int, sender: Totals, receiver: Totals) -> EdgeCounts:
    sent, size, _, _ = sender[:DROPS_AT].tolist()
    _, _, received, used = receiver[:DROPS_AT].tolist()
    reasons = zip(form.DROP_REASONS[1:], receiver[DROPS_AT + 1 :].tolist(), strict=True)
    dropped = {reason: count for reason, count in reasons if count}
    missing = sent - received
    return EdgeCounts(
        edge=edge,
        kind=form.KINDS[kind],
        sent=sent,
        bytes=size,
        used=used,
        dropped=dropped,
        unsent=int(sender[DROPS_AT + 1 :].sum()),
        waiting=received - used - sum(dropped.values()),
        missing=max(0, missing),
        unmatched=max(0, -missing),
    )


def loss_reason(traces: Traces, edge: Edge) -> str:
    """Why messages on `edge` were neither used nor dropped."""
    if edge.receiver in traces.remote_stages:
        return f"the trace of {edge.receiver} is on another host until the run ends"
    file = traces.files.get(edge.receiver)
    if file is None:
        return f"there is no trace of {edge.receiver}"
    if not file.closed:
        return "in progress" if traces.running else f"the worker of {edge.receiver} died"
    return "the run ended"
