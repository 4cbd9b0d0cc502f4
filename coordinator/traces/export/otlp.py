"""OpenTelemetry's traces as JSON, a line an ExportTraceServiceRequest: any collector takes it in.

A trace is what a batch leads to, a span is a spell of work. Its parent is the span in which the
message was sent that began it; where that was the work on another batch it is linked instead. The
source sends outside of spells, which is a span of no length. Dropped messages are such spans too.
Credits and marks belong to no batch, and are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final, TextIO

import numpy as np

from coordinator.traces.events import NEVER, Numbers, Times, Work
from coordinator.traces.export.arrows import FACTS, facts
from coordinator.traces.export.spans import (
    MESSAGE,
    RECEIVER,
    attribute,
    attributes,
    first_halves,
    place,
    span_id,
    trace_id,
)
from coordinator.traces.export.view import Ends, View, name, parts
from coordinator.traces.messages import DROPPED, UNSENT
from coordinator.traces.run import Traces
from protocol import trace_format as form

INTERNAL, PRODUCER, CONSUMER = 1, 4, 5
_LINE: Final = 1 << 10
"""Spans on a line: collectors read it at once, and most have a limit of 4 MiB."""
_SPAN: Final = '{"traceId":"%s%016x","spanId":"%016x",%s"name":%s,"kind":%d,'
_TIMES: Final = '"startTimeUnixNano":"%d","endTimeUnixNano":"%d","attributes":[%s]}'


def write_otlp(traces: Traces, file: TextIO) -> int:
    """Write `traces` to `file`; returns the number of spans."""
    view = View(traces)
    written = 0
    for core in view.cores:
        resource = json.dumps(_resource(view, core))
        head = f'{{"resourceSpans":[{{"resource":{resource},"scopeSpans":[{{"scope":'
        head += '{"name":"dni"},"spans":['
        for spans in _Core(view, core).spans():
            for at in range(0, len(spans), _LINE):
                file.write(head + ",".join(spans[at : at + _LINE]) + "]}]}]}\n")
            written += len(spans)
    return written


def _resource(view: View, core: str) -> dict[str, Any]:
    origin = view.traces.files[core].metadata
    texts = {
        "service.name": core,
        "service.namespace": view.traces.pipeline.name,
        "host.name": origin.host,
    }
    found: list[dict[str, Any]] = [
        {"key": key, "value": {"stringValue": text}} for key, text in texts.items()
    ]
    return {"attributes": [*found, {"key": "process.pid", "value": {"intValue": str(origin.pid)}}]}


class _Core:
    """The spans of one core."""

    def __init__(self, view: View, core: str) -> None:
        self._view, self._core = view, core
        run = f"{view.traces.pipeline.name}\0{view.start}\0{view.unix}".encode()
        self._run = hashlib.blake2b(run, digest_size=8).hexdigest()

    def spans(self) -> Iterator[list[str]]:
        """Spans as JSON, some at a time."""
        work = self._view.work(self._core)
        into = list(self._view.into(self._core))
        above = [self._above(ends) for ends in into]
        yield from self._spells(work, into, above)
        for ends in self._view.out_of(self._core):
            outside = (ends.begins == NEVER) & (ends.messages.sent != NEVER)
            yield from self._moments(ends, outside, "sent", PRODUCER)
            yield from self._moments(ends, ends.messages.fate == UNSENT, "unsent", PRODUCER)
        for ends, texts in zip(into, above, strict=True):
            dropped = ends.messages.fate == DROPPED
            yield from self._moments(ends, dropped, "dropped", CONSUMER, texts)

    def _above(self, ends: Ends) -> Numbers:
        """What leads from each message to the span in which it was sent: a parent, or a link."""
        messages = ends.messages
        texts = np.full(len(messages), "", object)
        if messages.kind not in form.WORK:
            return texts
        sender = self._view.work(messages.edge.sender)
        core = place(self._view, messages.edge.sender)
        for part in parts(len(messages)):
            begins = ends.begins[part]
            span = span_id(core, begins)
            batch = trace_id(messages.batch[part], messages.kind)
            trace = batch.copy()
            inside = begins != NEVER
            if inside.any():
                spells = begins[inside]
                trace[inside] = trace_id(sender.batch[spells], sender.kind[spells])
            span[~inside] = ends.flow[part][~inside] | MESSAGE
            known = messages.sent[part] != NEVER
            rows = zip(*(c.tolist() for c in (known, trace == batch, trace, span)), strict=True)
            texts[part] = [self._link(*row) for row in rows]
        return texts

    def _link(self, known: bool, same: bool, trace: int, span: int) -> str:
        if not known:
            return ""
        if same:
            return f'"parentSpanId":"{span:016x}",'
        return f'"links":[{{"traceId":"{self._run}{trace:016x}","spanId":"{span:016x}"}}],'

    def _spells(self, work: Work, into: list[Ends], above: list[Numbers]) -> Iterator[list[str]]:
        known = facts(into, len(work))
        texts = np.full(len(work), "", object)
        for ends, found in zip(into, above, strict=True):
            taken = ends.ends != NEVER
            texts[ends.ends[taken]] = found[taken]
        core = place(self._view, self._core)
        first = first_halves(work)
        halves = first != NEVER
        parents = [f'"parentSpanId":"{i:016x}",' for i in span_id(core, first[halves]).tolist()]
        texts[halves] = parents
        ids = span_id(core, np.arange(len(work)))
        for part in parts(len(work)):
            yield self._block(work, part, known, texts, ids)

    def _block(
        self, work: Work, part: slice, known: dict[str, Numbers], texts: Numbers, ids: Numbers
    ) -> list[str]:
        begin, end, kind = work.begin[part], work.end[part], work.kind[part]
        ended = np.where(end == NEVER, begin, end)
        columns = [trace_id(work.batch[part], kind), ids[part], texts[part]]
        columns += [kind, work.resumed[part], work.edge[part]]
        columns += [begin + self._view.unix, ended + self._view.unix, end != NEVER]
        columns += [work.batch[part], *(known[fact][part] for fact in FACTS)]
        return [self._spell(work, row) for row in zip(*(c.tolist() for c in columns), strict=True)]

    def _spell(self, work: Work, row: tuple[Any, ...]) -> str:
        trace, span, text, kind, resumed, edge, begin, end, ended, batch, *values = row
        said = attributes(form.KINDS[kind], work.edges[edge], batch)
        if not resumed:
            said += "".join(
                f",{attribute(fact, value)}" for fact, value in zip(FACTS, values, strict=True)
            )
        if not ended:
            said += ',{"key":"dni.unfinished","value":{"boolValue":true}}'
        role = INTERNAL if resumed else CONSUMER
        head = _SPAN % (self._run, trace, span, text, f'"{name(kind, resumed)}"', role)
        return head + _TIMES % (begin, end, said)

    def _moments(
        self, ends: Ends, which: Numbers, did: str, role: int, above: Numbers | None = None
    ) -> Iterator[list[str]]:
        """Spans of no length, for what happened outside of work."""
        messages = ends.messages
        rows = np.flatnonzero(which) if messages.kind in form.WORK else np.empty(0, np.intp)
        times: Times = messages.sent if did == "sent" else messages.used
        kind = form.KINDS[messages.kind]
        for part in parts(len(rows)):
            at = rows[part]
            span = ends.flow[at] | MESSAGE
            if did == "dropped":
                span |= RECEIVER
            columns = [trace_id(messages.batch[at], messages.kind), span]
            columns += [times[at] + self._view.unix, messages.batch[at], messages.why[at]]
            columns += [np.full(len(at), "", object) if above is None else above[at]]
            found = zip(*(c.tolist() for c in columns), strict=True)
            yield [self._moment(f'"{did} {kind}"', kind, ends, role, *row) for row in found]

    def _moment(
        self,
        called: str,
        kind: str,
        ends: Ends,
        role: int,
        trace: int,
        span: int,
        time: int,
        batch: int,
        why: int,
        above: str,
    ) -> str:
        said = attributes(kind, str(ends.messages.edge), batch)
        if why:
            said += f',{{"key":"dni.why","value":{{"stringValue":"{form.DROP_REASONS[why]}"}}}}'
        head = _SPAN % (self._run, trace, span, above, called, role)
        return head + _TIMES % (time, time, said)
