"""What a core's spells and edges show besides themselves: the messages behind them, and queues."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from coordinator.traces.events import NEVER, Numbers, Times
from coordinator.traces.export.view import Ends

FACTS: Final = ("bytes", "queue", "staleness", "version")
"""Columns of messages that are shown beside a spell."""


def by_edge(ends: Iterable[Ends]) -> list[list[Ends]]:
    """`ends`, a list an edge."""
    found: dict[int, list[Ends]] = {}
    for some in ends:
        found.setdefault(some.number, []).append(some)
    return list(found.values())


def facts(into: Iterable[Ends], count: int) -> dict[str, Numbers]:
    """Of each of `count` spells what is known of the message that began it, and its flow or 0."""
    found = {fact: np.zeros(count, np.uint64) for fact in ("flow", *FACTS)}
    for ends in into:
        rows = np.flatnonzero(ends.ends != NEVER)
        spells = ends.ends[rows]
        for fact in FACTS:
            found[fact][spells] = getattr(ends.messages, fact)[rows]
        found["flow"][spells] = np.where(ends.met, ends.flow, np.uint64(0))[rows]
    return found


def outgoing(out: Iterable[Ends]) -> tuple[Numbers, Numbers]:
    """The spells in which messages were sent, in order, and the flows of these messages."""
    spells, flows = [np.empty(0, np.intp)], [np.empty(0, np.uint64)]
    for ends in out:
        rows = ends.met & (ends.begins != NEVER)
        spells.append(ends.begins[rows])
        flows.append(ends.flow[rows])
    spell = np.concatenate(spells)
    order = np.argsort(spell, kind="stable")
    return spell[order], np.concatenate(flows)[order]


def depth(edge: Iterable[Ends]) -> tuple[Times, Numbers]:
    """When the queue of an edge changed, and how long it was from then on."""
    came, went = [], []
    for ends in edge:
        messages = ends.messages
        known = messages.received != NEVER
        came.append(messages.received[known])
        went.append(messages.used[known & (messages.used != NEVER)])
    changes = [np.full(len(times), 1) for times in came] + [np.full(len(t), -1) for t in went]
    times = np.concatenate(came + went)
    order = np.argsort(times, kind="stable")
    return times[order], np.cumsum(np.concatenate(changes)[order])
