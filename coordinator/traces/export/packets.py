"""The parts of Perfetto's format that all events share: packets, tracks, words and the clock.

Field numbers are those of perfetto_trace.proto. All packets are one sequence, which begins with the
words that the others name by number.
"""

from __future__ import annotations

from typing import Final

from coordinator.traces.events import Numbers, Times
from coordinator.traces.export.arrows import FACTS
from coordinator.traces.export.protobuf import Parts, data, number, one
from coordinator.traces.export.view import View
from coordinator.traces.run import Traces
from protocol import trace_format as form

MONOTONIC, REALTIME = 3, 1
_SEQUENCE: Final = number(10, 1)
_CLEARED, _NEEDED = number(13, 1), number(13, 2)
_DID: Final = ("", "sent ", "dropped ", "unsent ")


class Words:
    """Texts that come again and again, by a number: names of events, of facts, and their values."""

    def __init__(self, traces: Traces) -> None:
        names = ["update", *(f"{did}{kind}" for did in _DID for kind in form.KINDS[1:])]
        facts = ["batch", "edge", "kind", "why", *FACTS]
        values = [str(edge) for edge in traces.edges]
        values += [edge for file in traces.files.values() for edge in file.metadata.edges]
        values += [why for why in form.DROP_REASONS if why]
        self.all = list(dict.fromkeys(names + facts + values))
        self._numbers = {word: i for i, word in enumerate(self.all, 1)}

    def __getitem__(self, word: str) -> int:
        return self._numbers[word]

    def fact(self, key: str, value: str | Numbers) -> Parts:
        """A debug annotation."""
        known = isinstance(value, str)
        said = number(17, self[value]) if isinstance(value, str) else number(3, value)
        return data(4, number(1, self[key]) + said) if known or len(value) else []


def head(view: View, words: Words) -> bytes:
    """What stands before all events: the clock, and the words."""
    now = view.start
    mono = data(1, number(1, MONOTONIC) + number(2, now))
    real = data(1, number(1, REALTIME) + number(2, now + view.unix))
    clock = data(6, mono + real + number(2, MONOTONIC))
    interned: Parts = []
    for field in (2, 3, 29):
        for i, word in enumerate(words.all, 1):
            interned += data(field, number(1, i) + data(2, word))
    first = data(59, number(58, MONOTONIC)) + data(12, interned) + _CLEARED + number(87, 1)
    return one(data(1, number(8, now) + number(58, MONOTONIC) + clock)) + one(
        data(1, _SEQUENCE + first)
    )


def packet(time: Times, event: Parts) -> Parts:
    return data(1, number(8, time) + _SEQUENCE + _NEEDED + data(11, event))


def track(uuid: int, body: Parts) -> bytes:
    return one(data(1, _SEQUENCE + data(60, number(1, uuid) + body)))
