"""Perfetto's own format: open the file in ui.perfetto.dev, or ask it with SQL.

A process a core, with a track of its spells of work, one of the messages that come and go outside
of them, and one of what it drops; the queue of every edge into it, and the staleness of gradients,
are counters. A message that was taken up or dropped is a flow from where it was sent to there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np

from coordinator.traces.events import NEVER, Numbers, Times, Work
from coordinator.traces.export.arrows import FACTS, by_edge, depth, facts, outgoing
from coordinator.traces.export.packets import Words, head, packet, track
from coordinator.traces.export.protobuf import Parts, data, fixed, many, number
from coordinator.traces.export.view import Ends, View, name, parts
from coordinator.traces.messages import DROPPED, UNSENT, USED
from coordinator.traces.run import Traces
from protocol import trace_format as form

BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4
_TRACKS: Final = ("work", "messages", "dropped")
_MANY: Final = 1 << 12
"""Numbers of tracks a core has."""

Block = tuple[int, bytes]


def write_perfetto(traces: Traces, file: BinaryIO) -> int:
    """Write `traces` to `file`; returns the number of slices, instants and values of counters."""
    view = View(traces)
    words = Words(traces)
    file.write(head(view, words))
    written = 0
    for place, core in enumerate(view.cores):
        for count, block in _Core(view, words, core, (place + 1) * _MANY).blocks():
            file.write(block)
            written += count
    return written


class _Core:
    """What one core did; `base` is the number of its process, behind it those of its tracks."""

    def __init__(self, view: View, words: Words, core: str, base: int) -> None:
        self._view, self._words, self._core, self._base = view, words, core, base
        self._work = view.work(core)
        self._into = list(view.into(core))
        self._out = list(view.out_of(core))

    def blocks(self) -> Iterator[Block]:
        """Events and how many they are."""
        yield 0, self._tracks()
        yield from self._spells()
        for ends in self._out:
            away = (ends.begins == NEVER) & (ends.messages.sent != NEVER)
            yield from self._instants(ends, away, "sent ")
            yield from self._instants(ends, ends.messages.fate == UNSENT, "unsent ")
        for ends in self._into:
            used = (ends.messages.fate == USED) & (ends.ends == NEVER)
            yield from self._instants(ends, used, "")
            yield from self._instants(ends, ends.messages.fate == DROPPED, "dropped ")
        yield from self._counters()

    # -- tracks

    def _tracks(self) -> bytes:
        origin = self._view.traces.files[self._core].metadata
        pid = self._base // _MANY  # real ones can be those of other machines, or be one
        label = data(8, f"pid {origin.pid} on {origin.host}")
        process = data(3, number(1, pid) + data(6, self._core) + label)
        found = track(self._base, process)
        for i, called in enumerate(_TRACKS):
            thread = number(1, pid) + number(2, pid * 10 + i) + data(5, called)
            found += track(self._base + 1 + i, number(5, self._base) + data(4, thread))
        for i, ends in enumerate(by_edge(self._into)):
            for j, what in enumerate(("queue", "staleness")):
                named = data(2, f"{what} {ends[0].messages.edge}")
                body = named + number(5, self._base) + data(8, [b""])
                found += track(self._counter(i, j), body)
        return found

    def _counter(self, edge: int, which: int) -> int:
        return self._base + 10 + 2 * edge + which

    # -- slices

    def _spells(self) -> Iterator[Block]:
        work = self._work
        known = facts(self._into, len(work))
        spell, flow = outgoing(self._out)
        count = np.bincount(spell, minlength=len(work))
        first = np.cumsum(count) - count
        code = _shape(work, known["flow"] != 0) * (int(count.max(initial=0)) + 1) + count
        for part in parts(len(work)):
            pieces = np.empty(part.stop - part.start, object)
            for shape in np.unique(code[part]):
                chosen = np.flatnonzero(code[part] == shape)
                rows = chosen + part.start
                flows = [flow[first[rows] + i] for i in range(count[rows[0]])]
                pieces[chosen] = many(self._spell(rows, known, flows), len(rows)).tolist()
            yield len(pieces), b"".join(pieces.tolist())

    def _spell(self, rows: Numbers, known: dict[str, Numbers], flows: list[Numbers]) -> Parts:
        """The shape of spells that differ in nothing but numbers: their beginning and end."""
        work, words = self._work, self._words
        kind, resumed = int(work.kind[rows[0]]), bool(work.resumed[rows[0]])
        event = self._event(BEGIN, 1) + number(10, words[name(kind, resumed)])
        event += self._about(kind, work.edges[work.edge[rows[0]]], work.batch[rows])
        for fact in () if resumed else FACTS:
            event += words.fact(fact, known[fact][rows])
        for flow in flows:
            event += fixed(47, flow)
        if known["flow"][rows[0]]:
            event += fixed(48, known["flow"][rows])
        ended = work.end[rows[0]] != NEVER
        end = packet(work.end[rows], self._event(END, 1)) if ended else []
        return packet(work.begin[rows], event) + end

    def _event(self, kind: int, place: int) -> Parts:
        return number(9, kind) + number(11, self._base + place)

    def _about(self, kind: int, edge: str, batch: Numbers) -> Parts:
        words = self._words
        found = words.fact("batch", batch) + words.fact("kind", form.KINDS[kind])
        return found + words.fact("edge", edge)

    # -- instants

    def _instants(self, ends: Ends, which: Numbers, did: str) -> Iterator[Block]:
        """Those of `which` messages; what is dropped says why."""
        whys = ends.messages.why
        for why in np.unique(whys[which]):
            rows = np.flatnonzero(which & (whys == why))
            for met in (True, False):
                chosen = rows[ends.met[rows] == met]
                for part in parts(len(chosen)):
                    shape = self._instant(ends, chosen[part], did, met)
                    yield part.stop - part.start, many(shape, part.stop - part.start).tobytes()

    def _instant(self, ends: Ends, rows: Numbers, did: str, met: bool) -> Parts:
        messages, words = ends.messages, self._words
        sent, why = did == "sent ", form.DROP_REASONS[messages.why[rows[0]]]
        lost = did not in ("", "sent ")
        event = self._event(INSTANT, 3 if lost else 2)
        event += number(10, words[did + form.KINDS[messages.kind]])
        event += self._about(messages.kind, str(messages.edge), messages.batch[rows])
        event += words.fact("version", messages.version[rows])
        event += words.fact("bytes", messages.bytes[rows]) if sent else []
        event += words.fact("why", why) if lost and why else []
        event += fixed(47 if sent else 48, ends.flow[rows]) if met else []
        return packet((messages.sent if sent else messages.used)[rows], event)

    # -- counters

    def _counters(self) -> Iterator[Block]:
        for i, edge in enumerate(by_edge(self._into)):
            yield from self._counted(self._counter(i, 0), *depth(edge))
            for ends in edge:
                rows = np.flatnonzero(ends.messages.fate == USED)
                if ends.messages.kind == form.GRADIENT:
                    known = ends.messages.used[rows], ends.messages.staleness[rows]
                    yield from self._counted(self._counter(i, 1), *known)

    def _counted(self, uuid: int, times: Times, values: Numbers) -> Iterator[Block]:
        for part in parts(len(times)):
            event = number(9, COUNTER) + number(11, uuid) + number(30, values[part])
            count = part.stop - part.start
            yield count, many(packet(times[part], event), count).tobytes()


def _shape(work: Work, taken: Numbers) -> Numbers:
    """A number for all that the spells of a shape have in common."""
    of_message = work.edge.astype(np.int64) * len(form.KINDS) + work.kind
    found: Numbers = ((of_message * 2 + work.resumed) * 2 + (work.end != NEVER)) * 2 + taken
    return found
