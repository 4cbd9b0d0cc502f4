"""The Trace Event Format of chrome://tracing, which many other viewers read too.

Each stage is a process. A message is an arrow (`s` to `f`) from the span in which it was sent to
the span that it started. An arrow needs a slice at either end, so a message that is sent or used
outside of spans gets a slice of one nanosecond on a separate track. Drops are instant events, and
queues are counters. Times are microseconds since the first stage began.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TextIO

import numpy as np

from coordinator.traces.clocks import Times
from coordinator.traces.events import NEVER, Numbers
from coordinator.traces.export.arrows import ATTRIBUTES, by_edge, queue_lengths, span_attributes
from coordinator.traces.export.view import MessageSpans, View, chunks, span_name
from coordinator.traces.messages import DROPPED, UNSENT, USED
from coordinator.traces.run import Traces
from protocol import trace_format as form

_TRACKS: Final = ("work", "messages", "dropped")
_TIME: Final = "%d.%03d"
_ATTRIBUTES: Final = ",".join(f'"{name}":%d' for name in ATTRIBUTES)


def write_chrome(traces: Traces, file: TextIO) -> int:
    """Write `traces` to `file`; return the number of events, with both ends of arrows."""
    view = View(traces)
    file.write('{"displayTimeUnit":"ns","traceEvents":[\n')
    written = 0
    for pid, stage in enumerate(view.stages, 1):
        for lines in _ChromeStage(view, stage, pid).lines():
            file.write((",\n" if written else "") + ",\n".join(lines))
            written += len(lines)
    file.write("\n]}\n")
    return written


class _ChromeStage:
    """The events of one stage. `pid` is no process id: those may be equal on two hosts."""

    def __init__(self, view: View, stage: str, pid: int) -> None:
        self._view, self._stage, self._pid = view, stage, pid
        self._incoming = list(view.to_stage(stage))

    def lines(self) -> Iterator[list[str]]:
        """The events as JSON, in chunks."""
        yield self._names()
        yield from self._spans()
        for group in self._incoming:
            used, started = group.messages.outcome == USED, group.receiver_span != NEVER
            yield from self._arrows("f", group, group.matched & used & started, 1)
            yield from self._slices("f", group, used & ~started, "")
            yield from self._drops(group, group.messages.outcome == DROPPED, "dropped ")
        for group in self._view.from_stage(self._stage):
            used, inside = group.messages.outcome == USED, group.sender_span != NEVER
            yield from self._arrows("s", group, group.matched & used & inside, 1)
            outside = ~inside & (group.messages.sent != NEVER)
            yield from self._slices("s", group, outside, "sent ")
            yield from self._drops(group, group.messages.outcome == UNSENT, "unsent ")
        yield from self._counters()

    def _names(self) -> list[str]:
        metadata = self._view.traces.files[self._stage].metadata
        label = {"labels": f"pid {metadata.pid} on {metadata.host}"}
        found = [("process_name", 0, {"name": self._stage}), ("process_labels", 0, label)]
        found += [("thread_name", i, {"name": name}) for i, name in enumerate(_TRACKS, 1)]
        head = f'{{"ph":"M","pid":{self._pid},"tid":'
        return [f'{head}{i},"name":"{w}","args":{json.dumps(args)}}}' for w, i, args in found]

    def _head(self, phase: str, track: int, name: str, *more: str) -> str:
        """The beginning of an event up to its time; `%` of the name is escaped."""
        named = f'"name":{json.dumps(name)}{"".join(f",{field}" for field in more)}'.replace(
            "%", "%%"
        )
        return f'{{"ph":"{phase}","pid":{self._pid},"tid":{track},{named},"ts":{_TIME}'

    def _lines(self, line: str, times: Times, *columns: Numbers) -> Iterator[list[str]]:
        """Format `line` with each of `times` and the values of `columns`."""
        since = times - self._view.start
        values = [since // 1000, since % 1000, *columns]
        for part in chunks(len(times)):
            rows = zip(*(column[part].tolist() for column in values), strict=True)
            yield [line % row for row in rows]

    # -- slices

    def _spans(self) -> Iterator[list[str]]:
        work = self._view.work(self._stage)
        values = span_attributes(self._incoming, len(work))
        shape = (work.edge.astype(np.int64) * len(form.KINDS) + work.kind) * 2 + work.resumed
        for found in np.unique(shape):
            for ended in (True, False):
                rows = np.flatnonzero((shape == found) & ((work.end != NEVER) == ended))
                if len(rows):
                    kind, resumed = int(work.kind[rows[0]]), bool(work.resumed[rows[0]])
                    edge = work.edges[work.edge[rows[0]]]
                    head = self._head("X" if ended else "B", 1, span_name(kind, resumed))
                    last = work.end[rows] - work.begin[rows]
                    columns = [last // 1000, last % 1000] if ended else []
                    columns += [work.batch[rows], *(values[name][rows] for name in ATTRIBUTES)]
                    line = f'{head}{f""","dur":{_TIME}""" if ended else ""},{_about(kind, edge)}'
                    yield from self._lines(f"{line},{_ATTRIBUTES}}}}}", work.begin[rows], *columns)

    def _arrows(
        self, phase: str, group: MessageSpans, which: Numbers, track: int
    ) -> Iterator[list[str]]:
        rows = np.flatnonzero(which)
        binding = ['"cat":"message"', *(['"bp":"e"'] if phase == "f" else [])]
        line = self._head(phase, track, form.KINDS[group.messages.kind], *binding) + ',"id":"0x%x"}'
        yield from self._lines(line, _times(phase, group)[rows], group.flow_id[rows])

    def _slices(
        self, phase: str, group: MessageSpans, which: Numbers, prefix: str
    ) -> Iterator[list[str]]:
        """Slices of one nanosecond in which arrows begin or end."""
        rows, messages = np.flatnonzero(which), group.messages
        head = self._head("X", 2, prefix + form.KINDS[messages.kind]) + ',"dur":0.001,'
        line = head + _about(messages.kind, str(messages.edge)) + ',"bytes":%d,"version":%d}}'
        columns = messages.batch[rows], messages.bytes[rows], messages.version[rows]
        yield from self._lines(line, _times(phase, group)[rows], *columns)
        yield from self._arrows(phase, group, which & group.matched & (messages.outcome == USED), 2)

    def _drops(self, group: MessageSpans, which: Numbers, prefix: str) -> Iterator[list[str]]:
        messages = group.messages
        for reason in np.unique(messages.reason[which]):
            rows = np.flatnonzero(which & (messages.reason == reason))
            head = self._head("i", 3, prefix + form.KINDS[messages.kind], '"s":"t"')
            about = _about(messages.kind, str(messages.edge))
            line = f'{head},{about},"reason":{json.dumps(form.DROP_REASONS[reason])}}}}}'
            yield from self._lines(line, messages.used[rows], messages.batch[rows])

    def _counters(self) -> Iterator[list[str]]:
        for edge in by_edge(self._incoming):
            name = str(edge[0].messages.edge)
            line = self._head("C", 0, f"queue {name}") + ',"args":{"messages":%d}}'
            yield from self._lines(line, *queue_lengths(edge))
            for group in edge:
                if group.messages.kind == form.GRADIENT:
                    rows = np.flatnonzero(group.messages.outcome == USED)
                    line = self._head("C", 0, f"staleness {name}") + ',"args":{"batches":%d}}'
                    values = group.messages.staleness[rows]
                    yield from self._lines(line, group.messages.used[rows], values)


def _times(phase: str, group: MessageSpans) -> Times:
    return group.messages.sent if phase == "s" else group.messages.used


def _about(kind: int, edge: str) -> str:
    """The beginning of the arguments of an event, up to the batch."""
    values: dict[str, Any] = {"kind": form.KINDS[kind], "edge": edge}
    return '"args":' + json.dumps(values)[:-1].replace("%", "%%") + ',"batch":%d'
