"""What viewers of timelines want of a run: in which spell of which core a message begins and ends.

Spells are those of `Work`, by their places in it. A message that is sent or taken up outside of
all spells, as everything at the source, has the place NEVER.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from coordinator.traces.events import NEVER, Numbers, Times, Work
from coordinator.traces.messages import DROPPED, USED, Messages
from coordinator.traces.run import Traces
from protocol import Edge
from protocol import trace_format as form

AT_ONCE: Final = 1 << 15
"""Things that are turned into objects of Python, or into text, at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """Where the messages of one kind on an edge begin and end.

    `begins` and `ends` are spells of the sender and of the receiver; a dropped message ends in no
    spell. `number` tells the edge from others, `flow` each message from all others of the run.
    """

    messages: Messages
    begins: Numbers
    ends: Numbers
    number: int

    @property
    def flow(self) -> Numbers:
        """A number for each message, never 0."""
        base = self.number << 48 | self.messages.kind << 44
        return np.arange(1, len(self.messages) + 1, dtype=np.uint64) + np.uint64(base)

    @property
    def met(self) -> Numbers:
        """Which messages were seen at both ends, and so make an arrow."""
        taken = np.isin(self.messages.fate, (USED, DROPPED))
        known: Numbers = taken & (self.messages.sent != NEVER)
        return known


class View:
    """`traces` as spells and what leads from one to another."""

    def __init__(self, traces: Traces) -> None:
        self.traces = traces
        self.start = traces.start
        origin = next(iter(traces.files.values())).metadata
        self.unix = origin.unix_ns - origin.monotonic_ns - origin.offset_ns
        self.work = lru_cache(maxsize=None)(self._work)

    def _work(self, core: str) -> Work:
        found = self.traces.work(core)
        if found is not None:
            return found
        none = np.empty(0, np.int64)
        return Work(core, none, none, none, none, none, none.astype(bool), ())

    @property
    def cores(self) -> tuple[str, ...]:
        """The cores that left traces."""
        return tuple(self.traces.files)

    def into(self, core: str) -> Iterator[Ends]:
        """The messages to `core`."""
        return self._ends(edge for edge in self.traces.edges if edge.receiver == core)

    def out_of(self, core: str) -> Iterator[Ends]:
        """The messages from `core`."""
        return self._ends(edge for edge in self.traces.edges if edge.sender == core)

    def _ends(self, edges: Iterator[Edge]) -> Iterator[Ends]:
        for edge in edges:
            sender, receiver = self.work(edge.sender), self.work(edge.receiver)
            for messages in self.traces.messages(edge):
                said = np.where(messages.sent == NEVER, messages.used, messages.sent)
                begins, ends = _during(sender, said), _taken_up(receiver, messages)
                yield Ends(messages, begins, ends, self.traces.edges.index(edge))


def _during(work: Work, times: Times) -> Numbers:
    """The spell of `work` in which each of `times` lies."""
    places = np.searchsorted(work.begin, times, "right") - 1
    if not len(work):
        return np.full(len(times), NEVER)
    end = work.end[places]
    return np.where((places >= 0) & ((times <= end) | (end == NEVER)), places, NEVER)


def _taken_up(work: Work, messages: Messages) -> Numbers:
    """The spell of `work` that each of `messages` began: the n-th by the n-th, in order of time."""
    places = np.full(len(messages), NEVER)
    if messages.kind not in form.WORK or str(messages.edge) not in work.edges:
        return places
    edge = work.edges.index(str(messages.edge))
    spells = np.flatnonzero((work.edge == edge) & (work.kind == messages.kind) & ~work.resumed)
    used = np.flatnonzero(messages.fate == USED)
    places[used[np.argsort(messages.used[used], kind="stable")]] = spells
    return places


def parts(count: int) -> Iterator[slice]:
    """`count` places, AT_ONCE at a time."""
    return (slice(at, min(at + AT_ONCE, count)) for at in range(0, count, AT_ONCE))


def name(kind: int, resumed: bool = False) -> str:
    """What a spell is called: few words, as viewers colour and sum by them."""
    return "update" if resumed else form.KINDS[kind]
