"""Perfetto's own format: open the file in ui.perfetto.dev, or query it with SQL.

Each stage is a process with three tracks: its spans of work, the messages that it sends or uses
outside of spans, and the messages that it drops. The queue of each incoming edge and the staleness
of gradients are counters. A used or dropped message is a flow from its sending to that event.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np

from coordinator.traces.clocks import Times
from coordinator.traces.events import NEVER, Numbers, WorkSpans
from coordinator.traces.export.arrows import (
    ATTRIBUTES,
    by_edge,
    queue_lengths,
    sent_flows,
    span_attributes,
)
from coordinator.traces.export.packets import StringTable, packet, preamble, track
from coordinator.traces.export.protobuf import (
    Template,
    bytes_field,
    encode_rows,
    fixed64_field,
    varint_field,
)
from coordinator.traces.export.view import MessageSpans, View, chunks, span_name
from coordinator.traces.messages import DROPPED, UNSENT, USED
from coordinator.traces.run import Traces
from protocol import trace_format as form

BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4
_TRACKS: Final = ("work", "messages", "dropped")
_TRACKS_PER_STAGE: Final = 1 << 12
"""The number of track ids that are reserved for each stage."""

Block = tuple[int, bytes]


def write_perfetto(traces: Traces, file: BinaryIO) -> int:
    """Write `traces` to `file`; return the number of slices, instants and counter values."""
    view = View(traces)
    strings = StringTable(traces)
    file.write(preamble(view, strings))
    written = 0
    for index, stage in enumerate(view.stages):
        for count, block in _PerfettoStage(
            view, strings, stage, (index + 1) * _TRACKS_PER_STAGE
        ).blocks():
            file.write(block)
            written += count
    return written


class _PerfettoStage:
    """The packets of one stage; `base` is its process track, followed by its other tracks."""

    def __init__(self, view: View, strings: StringTable, stage: str, base: int) -> None:
        self._view, self._strings, self._stage, self._base = view, strings, stage, base
        self._work = view.work(stage)
        self._incoming = list(view.to_stage(stage))
        self._outgoing = list(view.from_stage(stage))

    def blocks(self) -> Iterator[Block]:
        """Encoded events, each block with the number of events in it."""
        yield 0, self._tracks()
        yield from self._spans()
        for group in self._outgoing:
            outside = (group.sender_span == NEVER) & (group.messages.sent != NEVER)
            yield from self._instants(group, outside, "sent ")
            yield from self._instants(group, group.messages.outcome == UNSENT, "unsent ")
        for group in self._incoming:
            used = (group.messages.outcome == USED) & (group.receiver_span == NEVER)
            yield from self._instants(group, used, "")
            yield from self._instants(group, group.messages.outcome == DROPPED, "dropped ")
        yield from self._counters()

    # -- tracks

    def _tracks(self) -> bytes:
        metadata = self._view.traces.files[self._stage].metadata
        pid = self._base // _TRACKS_PER_STAGE  # real process ids may be equal on two hosts
        label = bytes_field(8, f"pid {metadata.pid} on {metadata.host}")
        process = bytes_field(3, varint_field(1, pid) + bytes_field(6, self._stage) + label)
        found = track(self._base, process)
        for i, name in enumerate(_TRACKS):
            thread = varint_field(1, pid) + varint_field(2, pid * 10 + i) + bytes_field(5, name)
            found += track(self._base + 1 + i, varint_field(5, self._base) + bytes_field(4, thread))
        for i, groups in enumerate(by_edge(self._incoming)):
            for j, what in enumerate(("queue", "staleness")):
                name_field = bytes_field(2, f"{what} {groups[0].messages.edge}")
                body = name_field + varint_field(5, self._base) + bytes_field(8, [b""])
                found += track(self._counter(i, j), body)
        return found

    def _counter(self, edge: int, which: int) -> int:
        return self._base + 10 + 2 * edge + which

    # -- slices

    def _spans(self) -> Iterator[Block]:
        work = self._work
        values = span_attributes(self._incoming, len(work))
        span, flow = sent_flows(self._outgoing)
        count = np.bincount(span, minlength=len(work))
        first = np.cumsum(count) - count
        code = _shape(work, values["flow"] != 0) * (int(count.max(initial=0)) + 1) + count
        for part in chunks(len(work)):
            pieces = np.empty(part.stop - part.start, object)
            for shape in np.unique(code[part]):
                chosen = np.flatnonzero(code[part] == shape)
                rows = chosen + part.start
                flows = [flow[first[rows] + i] for i in range(count[rows[0]])]
                pieces[chosen] = encode_rows(self._span(rows, values, flows), len(rows)).tolist()
            yield len(pieces), b"".join(pieces.tolist())

    def _span(self, rows: Numbers, values: dict[str, Numbers], flows: list[Numbers]) -> Template:
        """The template of the begin and end packets of spans that differ only in numbers."""
        work, strings = self._work, self._strings
        kind, resumed = int(work.kind[rows[0]]), bool(work.resumed[rows[0]])
        event = self._event(BEGIN, 1) + varint_field(10, strings[span_name(kind, resumed)])
        event += self._about(kind, work.edges[work.edge[rows[0]]], work.batch[rows])
        for name in () if resumed else ATTRIBUTES:
            event += strings.annotation(name, values[name][rows])
        for flow in flows:
            event += fixed64_field(47, flow)
        if values["flow"][rows[0]]:
            event += fixed64_field(48, values["flow"][rows])
        ended = work.end[rows[0]] != NEVER
        end = packet(work.end[rows], self._event(END, 1)) if ended else []
        return packet(work.begin[rows], event) + end

    def _event(self, kind: int, track: int) -> Template:
        return varint_field(9, kind) + varint_field(11, self._base + track)

    def _about(self, kind: int, edge: str, batch: Numbers) -> Template:
        strings = self._strings
        found = strings.annotation("batch", batch) + strings.annotation("kind", form.KINDS[kind])
        return found + strings.annotation("edge", edge)

    # -- instants

    def _instants(self, group: MessageSpans, which: Numbers, prefix: str) -> Iterator[Block]:
        """Instant events for the messages in `which`; a drop has its reason."""
        reasons = group.messages.reason
        for reason in np.unique(reasons[which]):
            rows = np.flatnonzero(which & (reasons == reason))
            for matched in (True, False):
                chosen = rows[group.matched[rows] == matched]
                for part in chunks(len(chosen)):
                    template = self._instant(group, chosen[part], prefix, matched)
                    count = part.stop - part.start
                    yield count, encode_rows(template, count).tobytes()

    def _instant(self, group: MessageSpans, rows: Numbers, prefix: str, matched: bool) -> Template:
        messages, strings = group.messages, self._strings
        sent, reason = prefix == "sent ", form.DROP_REASONS[messages.reason[rows[0]]]
        dropped = prefix not in ("", "sent ")
        event = self._event(INSTANT, 3 if dropped else 2)
        event += varint_field(10, strings[prefix + form.KINDS[messages.kind]])
        event += self._about(messages.kind, str(messages.edge), messages.batch[rows])
        event += strings.annotation("version", messages.version[rows])
        event += strings.annotation("bytes", messages.bytes[rows]) if sent else []
        event += strings.annotation("reason", reason) if dropped and reason else []
        event += fixed64_field(47 if sent else 48, group.flow_id[rows]) if matched else []
        return packet((messages.sent if sent else messages.used)[rows], event)

    # -- counters

    def _counters(self) -> Iterator[Block]:
        for i, edge in enumerate(by_edge(self._incoming)):
            yield from self._values(self._counter(i, 0), *queue_lengths(edge))
            for group in edge:
                rows = np.flatnonzero(group.messages.outcome == USED)
                if group.messages.kind == form.GRADIENT:
                    staleness = group.messages.used[rows], group.messages.staleness[rows]
                    yield from self._values(self._counter(i, 1), *staleness)

    def _values(self, uuid: int, times: Times, values: Numbers) -> Iterator[Block]:
        for part in chunks(len(times)):
            event = (
                varint_field(9, COUNTER) + varint_field(11, uuid) + varint_field(30, values[part])
            )
            count = part.stop - part.start
            yield count, encode_rows(packet(times[part], event), count).tobytes()


def _shape(work: WorkSpans, has_flow: Numbers) -> Numbers:
    """A code for each span; spans of one code have the same template."""
    of_message = work.edge.astype(np.int64) * len(form.KINDS) + work.kind
    found: Numbers = ((of_message * 2 + work.resumed) * 2 + (work.end != NEVER)) * 2 + has_flow
    return found
