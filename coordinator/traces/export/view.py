"""For each message the span in which it was sent, and the span that it started.

Spans are indices into the `WorkSpans` of a stage. A message that is sent or used outside of all
spans, as everything at the source is, has the index NEVER.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from coordinator.traces.clocks import Times
from coordinator.traces.events import NEVER, Numbers, WorkSpans
from coordinator.traces.messages import DROPPED, USED, Messages
from coordinator.traces.run import Traces
from protocol import Edge
from protocol import trace_format as form

CHUNK: Final = 1 << 15
"""The number of rows that are converted to Python objects or text at once."""


@dataclass(frozen=True, slots=True, eq=False)
class MessageSpans:
    """The messages of one kind on an edge with their spans at the sender and at the receiver.

    A dropped message has no span at the receiver. `number` identifies the edge, `flow_id` each
    message of the run.
    """

    messages: Messages
    sender_span: Numbers
    receiver_span: Numbers
    number: int

    @property
    def flow_id(self) -> Numbers:
        """A unique number for each message, never 0."""
        base = self.number << 48 | self.messages.kind << 44
        return np.arange(1, len(self.messages) + 1, dtype=np.uint64) + np.uint64(base)

    @property
    def matched(self) -> Numbers:
        """A mask of the messages that both ends recorded, which can be drawn as arrows."""
        received = np.isin(self.messages.outcome, (USED, DROPPED))
        matched: Numbers = received & (self.messages.sent != NEVER)
        return matched


class View:
    """The spans of all stages, and the messages between them."""

    def __init__(self, traces: Traces) -> None:
        self.traces = traces
        self.start = traces.start
        metadata = next(iter(traces.files.values())).metadata
        self.unix = metadata.unix_ns - metadata.monotonic_ns - metadata.offset_ns
        self.work = lru_cache(maxsize=None)(self._work)

    def _work(self, stage: str) -> WorkSpans:
        found = self.traces.work(stage)
        if found is not None:
            return found
        none = np.empty(0, np.int64)
        return WorkSpans(stage, none, none, none, none, none, none.astype(bool), ())

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that have traces."""
        return tuple(self.traces.files)

    def to_stage(self, stage: str) -> Iterator[MessageSpans]:
        """The messages to `stage`."""
        return self._message_spans(edge for edge in self.traces.edges if edge.receiver == stage)

    def from_stage(self, stage: str) -> Iterator[MessageSpans]:
        """The messages from `stage`."""
        return self._message_spans(edge for edge in self.traces.edges if edge.sender == stage)

    def _message_spans(self, edges: Iterator[Edge]) -> Iterator[MessageSpans]:
        for edge in edges:
            sender, receiver = self.work(edge.sender), self.work(edge.receiver)
            for messages in self.traces.messages(edge):
                sent = np.where(messages.sent == NEVER, messages.used, messages.sent)
                spans = _span_at(sender, sent), _started_span(receiver, messages)
                yield MessageSpans(messages, *spans, self.traces.edges.index(edge))


def _span_at(work: WorkSpans, times: Times) -> Numbers:
    """The span of `work` that contains each of `times`, or NEVER."""
    indices = np.searchsorted(work.begin, times, "right") - 1
    if not len(work):
        return np.full(len(times), NEVER)
    end = work.end[indices]
    return np.where((indices >= 0) & ((times <= end) | (end == NEVER)), indices, NEVER)


def _started_span(work: WorkSpans, messages: Messages) -> Numbers:
    """The span of `work` that each message started: the n-th message the n-th span, by time."""
    indices = np.full(len(messages), NEVER)
    if messages.kind not in form.WORK or str(messages.edge) not in work.edges:
        return indices
    edge = work.edges.index(str(messages.edge))
    spans = np.flatnonzero((work.edge == edge) & (work.kind == messages.kind) & ~work.resumed)
    used = np.flatnonzero(messages.outcome == USED)
    indices[used[np.argsort(messages.used[used], kind="stable")]] = spans
    return indices


def chunks(count: int) -> Iterator[slice]:
    """Slices of at most CHUNK indices that cover `range(count)`."""
    return (slice(at, min(at + CHUNK, count)) for at in range(0, count, CHUNK))


def span_name(kind: int, resumed: bool = False) -> str:
    """The name of a span. There are few names, because viewers colour and sum by name."""
    return "update" if resumed else form.KINDS[kind]
