"""The Trace Event Format of chrome://tracing, which many other viewers read too.

A process a core. A message is an arrow (`s` to `f`) from the spell in which it was sent to the one
that it began; what is sent or taken up outside of spells is a slice of a nanosecond on a track of
its own, since an arrow needs a slice at either end. What was dropped is an instant event, and
queues are counters. Times are microseconds since the first core began.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TextIO

import numpy as np

from coordinator.traces.events import NEVER, Numbers, Times
from coordinator.traces.export.arrows import FACTS, by_edge, depth, facts
from coordinator.traces.export.view import Ends, View, name, parts
from coordinator.traces.messages import DROPPED, UNSENT, USED
from coordinator.traces.run import Traces
from protocol import trace_format as form

_TRACKS: Final = ("work", "messages", "dropped")
_AT: Final = "%d.%03d"
_FACTS: Final = ",".join(f'"{fact}":%d' for fact in FACTS)


def write_chrome(traces: Traces, file: TextIO) -> int:
    """Write `traces` to `file`; returns the number of events, arrows' ends included."""
    view = View(traces)
    file.write('{"displayTimeUnit":"ns","traceEvents":[\n')
    written = 0
    for pid, core in enumerate(view.cores, 1):
        for lines in _Core(view, core, pid).lines():
            file.write((",\n" if written else "") + ",\n".join(lines))
            written += len(lines)
    file.write("\n]}\n")
    return written


class _Core:
    """What one core did, under the number `pid`: real ones can be those of other machines."""

    def __init__(self, view: View, core: str, pid: int) -> None:
        self._view, self._core, self._pid = view, core, pid
        self._into = list(view.into(core))

    def lines(self) -> Iterator[list[str]]:
        """Events, each as JSON."""
        yield self._names()
        yield from self._spells()
        for ends in self._into:
            taken = ends.met & (ends.messages.fate == USED)
            known = ends.ends != NEVER
            yield from self._arrows("f", ends, taken & known, 1)
            yield from self._slices("f", ends, (ends.messages.fate == USED) & ~known, "")
            yield from self._drops(ends, ends.messages.fate == DROPPED, "dropped ")
        for ends in self._view.out_of(self._core):
            taken = ends.met & (ends.messages.fate == USED)
            known = ends.begins != NEVER
            yield from self._arrows("s", ends, taken & known, 1)
            away = ~known & (ends.messages.sent != NEVER)
            yield from self._slices("s", ends, away, "sent ")
            yield from self._drops(ends, ends.messages.fate == UNSENT, "unsent ")
        yield from self._counters()

    def _names(self) -> list[str]:
        origin = self._view.traces.files[self._core].metadata
        label = {"labels": f"pid {origin.pid} on {origin.host}"}
        said = [("process_name", 0, {"name": self._core}), ("process_labels", 0, label)]
        said += [("thread_name", i, {"name": word}) for i, word in enumerate(_TRACKS, 1)]
        head = f'{{"ph":"M","pid":{self._pid},"tid":'
        return [f'{head}{i},"name":"{w}","args":{json.dumps(args)}}}' for w, i, args in said]

    def _head(self, phase: str, track: int, called: str, *more: str) -> str:
        """The beginning of an event, up to its time; without holes."""
        words = ["", *more] if more else [""]
        named = f'"name":{json.dumps(called)}{",".join(words)}'.replace("%", "%%")
        return f'{{"ph":"{phase}","pid":{self._pid},"tid":{track},{named},"ts":{_AT}'

    def _lines(self, line: str, times: Times, *columns: Numbers) -> Iterator[list[str]]:
        """`line` for each of `times`, its holes filled from time and columns."""
        since = times - self._view.start
        filled = [since // 1000, since % 1000, *columns]
        for part in parts(len(times)):
            rows = zip(*(column[part].tolist() for column in filled), strict=True)
            yield [line % row for row in rows]

    # -- slices

    def _spells(self) -> Iterator[list[str]]:
        work = self._view.work(self._core)
        known = facts(self._into, len(work))
        shape = (work.edge.astype(np.int64) * len(form.KINDS) + work.kind) * 2 + work.resumed
        for found in np.unique(shape):
            for ended in (True, False):
                rows = np.flatnonzero((shape == found) & ((work.end != NEVER) == ended))
                if len(rows):
                    kind, resumed = int(work.kind[rows[0]]), bool(work.resumed[rows[0]])
                    edge = work.edges[work.edge[rows[0]]]
                    head = self._head("X" if ended else "B", 1, name(kind, resumed))
                    last = work.end[rows] - work.begin[rows]
                    columns = [last // 1000, last % 1000] if ended else []
                    columns += [work.batch[rows], *(known[fact][rows] for fact in FACTS)]
                    line = f'{head}{f""","dur":{_AT}""" if ended else ""},{_about(kind, edge)}'
                    yield from self._lines(f"{line},{_FACTS}}}}}", work.begin[rows], *columns)

    def _arrows(self, phase: str, ends: Ends, which: Numbers, track: int) -> Iterator[list[str]]:
        rows = np.flatnonzero(which)
        bound = ['"cat":"message"', *(['"bp":"e"'] if phase == "f" else [])]
        line = self._head(phase, track, form.KINDS[ends.messages.kind], *bound) + ',"id":"0x%x"}'
        yield from self._lines(line, _times(phase, ends)[rows], ends.flow[rows])

    def _slices(self, phase: str, ends: Ends, which: Numbers, did: str) -> Iterator[list[str]]:
        """The shortest of slices, for arrows to begin or end in."""
        rows, messages = np.flatnonzero(which), ends.messages
        head = self._head("X", 2, did + form.KINDS[messages.kind]) + ',"dur":0.001,'
        line = head + _about(messages.kind, str(messages.edge)) + ',"bytes":%d,"version":%d}}'
        columns = messages.batch[rows], messages.bytes[rows], messages.version[rows]
        yield from self._lines(line, _times(phase, ends)[rows], *columns)
        yield from self._arrows(phase, ends, which & ends.met & (messages.fate == USED), 2)

    def _drops(self, ends: Ends, which: Numbers, did: str) -> Iterator[list[str]]:
        messages = ends.messages
        for why in np.unique(messages.why[which]):
            rows = np.flatnonzero(which & (messages.why == why))
            head = self._head("i", 3, did + form.KINDS[messages.kind], '"s":"t"')
            about = _about(messages.kind, str(messages.edge))
            line = f'{head},{about},"why":{json.dumps(form.DROP_REASONS[why])}}}}}'
            yield from self._lines(line, messages.used[rows], messages.batch[rows])

    def _counters(self) -> Iterator[list[str]]:
        for edge in by_edge(self._into):
            named = str(edge[0].messages.edge)
            line = self._head("C", 0, f"queue {named}") + ',"args":{"messages":%d}}'
            yield from self._lines(line, *depth(edge))
            for ends in edge:
                if ends.messages.kind == form.GRADIENT:
                    rows = np.flatnonzero(ends.messages.fate == USED)
                    line = self._head("C", 0, f"staleness {named}") + ',"args":{"batches":%d}}'
                    values = ends.messages.staleness[rows]
                    yield from self._lines(line, ends.messages.used[rows], values)


def _times(phase: str, ends: Ends) -> Times:
    return ends.messages.sent if phase == "s" else ends.messages.used


def _about(kind: int, edge: str) -> str:
    """The beginning of an event's arguments, with a hole for the batch."""
    said: dict[str, Any] = {"kind": form.KINDS[kind], "edge": edge}
    return '"args":' + json.dumps(said)[:-1].replace("%", "%%") + ',"batch":%d'
