"""Attributes of spans, and the lengths of queues, from the messages of a stage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from coordinator.traces.clocks import Times
from coordinator.traces.events import NEVER, Numbers
from coordinator.traces.export.view import MessageSpans

ATTRIBUTES: Final = ("bytes", "queue", "staleness", "version")
"""The columns of a message that are shown as attributes of the span that it started."""


def by_edge(groups: Iterable[MessageSpans]) -> list[list[MessageSpans]]:
    """Collect `groups` into one list per edge."""
    found: dict[int, list[MessageSpans]] = {}
    for group in groups:
        found.setdefault(group.number, []).append(group)
    return list(found.values())


def span_attributes(incoming: Iterable[MessageSpans], count: int) -> dict[str, Numbers]:
    """For each of `count` spans the attributes and flow (0: none) of the starting message."""
    found = {name: np.zeros(count, np.uint64) for name in ("flow", *ATTRIBUTES)}
    for group in incoming:
        rows = np.flatnonzero(group.receiver_span != NEVER)
        spans = group.receiver_span[rows]
        for name in ATTRIBUTES:
            found[name][spans] = getattr(group.messages, name)[rows]
        found["flow"][spans] = np.where(group.matched, group.flow_id, np.uint64(0))[rows]
    return found


def sent_flows(outgoing: Iterable[MessageSpans]) -> tuple[Numbers, Numbers]:
    """The spans in which messages were sent, in order, and the flows of these messages."""
    spans, flows = [np.empty(0, np.intp)], [np.empty(0, np.uint64)]
    for group in outgoing:
        rows = group.matched & (group.sender_span != NEVER)
        spans.append(group.sender_span[rows])
        flows.append(group.flow_id[rows])
    span = np.concatenate(spans)
    order = np.argsort(span, kind="stable")
    return span[order], np.concatenate(flows)[order]


def queue_lengths(edge: Iterable[MessageSpans]) -> tuple[Times, Numbers]:
    """The times at which the queue of an edge changed, and its length from then on."""
    arrivals, removals = [], []
    for group in edge:
        messages = group.messages
        received = messages.received != NEVER
        arrivals.append(messages.received[received])
        removals.append(messages.used[received & (messages.used != NEVER)])
    changes = [np.full(len(times), 1) for times in arrivals]
    changes += [np.full(len(times), -1) for times in removals]
    times = np.concatenate(arrivals + removals)
    order = np.argsort(times, kind="stable")
    return times[order], np.cumsum(np.concatenate(changes)[order])
