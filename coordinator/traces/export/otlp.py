"""OpenTelemetry traces as JSON Lines, one ExportTraceServiceRequest per line.

A trace holds everything that one batch leads to. The parent of a span is the span in which the
message that started it was sent; if that span worked on another batch, it is linked instead. The
source sends outside of spans, and each such sending is a span without length, as is each dropped
message. Credits and markers belong to no batch and are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final, TextIO

import numpy as np

from coordinator.traces.clocks import Times
from coordinator.traces.events import NEVER, Numbers, WorkSpans
from coordinator.traces.export.arrows import ATTRIBUTES, span_attributes
from coordinator.traces.export.spans import (
    MESSAGE,
    RECEIVER,
    attribute,
    attributes,
    first_spans,
    span_id,
    stage_number,
    trace_id,
)
from coordinator.traces.export.view import MessageSpans, View, chunks, span_name
from coordinator.traces.messages import DROPPED, UNSENT
from coordinator.traces.run import Traces
from protocol import trace_format as form

INTERNAL, PRODUCER, CONSUMER = 1, 4, 5
_LINE: Final = 1 << 10
"""Spans per line: collectors read a line at once, and most of them limit it to 4 MiB."""
_SPAN: Final = '{"traceId":"%s%016x","spanId":"%016x",%s"name":%s,"kind":%d,'
_TIMES: Final = '"startTimeUnixNano":"%d","endTimeUnixNano":"%d","attributes":[%s]}'


def write_otlp(traces: Traces, file: TextIO) -> int:
    """Write `traces` to `file`; return the number of spans."""
    view = View(traces)
    written = 0
    for stage in view.stages:
        resource = json.dumps(_resource(view, stage))
        head = f'{{"resourceSpans":[{{"resource":{resource},"scopeSpans":[{{"scope":'
        head += '{"name":"dni"},"spans":['
        for spans in _OtlpStage(view, stage).spans():
            for at in range(0, len(spans), _LINE):
                file.write(head + ",".join(spans[at : at + _LINE]) + "]}]}]}\n")
            written += len(spans)
    return written


def _resource(view: View, stage: str) -> dict[str, Any]:
    metadata = view.traces.files[stage].metadata
    texts = {
        "service.name": stage,
        "service.namespace": view.traces.pipeline.name,
        "host.name": metadata.host,
    }
    found: list[dict[str, Any]] = [
        {"key": key, "value": {"stringValue": text}} for key, text in texts.items()
    ]
    return {
        "attributes": [*found, {"key": "process.pid", "value": {"intValue": str(metadata.pid)}}]
    }


class _OtlpStage:
    """The spans of one stage."""

    def __init__(self, view: View, stage: str) -> None:
        self._view, self._stage = view, stage
        run = f"{view.traces.pipeline.name}\0{view.start}\0{view.unix}".encode()
        self._run = hashlib.blake2b(run, digest_size=8).hexdigest()

    def spans(self) -> Iterator[list[str]]:
        """The spans as JSON, in chunks."""
        work = self._view.work(self._stage)
        incoming = list(self._view.to_stage(self._stage))
        parents = [self._parents(group) for group in incoming]
        yield from self._work_spans(work, incoming, parents)
        for group in self._view.from_stage(self._stage):
            outside = (group.sender_span == NEVER) & (group.messages.sent != NEVER)
            yield from self._instants(group, outside, "sent", PRODUCER)
            unsent = group.messages.outcome == UNSENT
            yield from self._instants(group, unsent, "unsent", PRODUCER)
        for group, texts in zip(incoming, parents, strict=True):
            dropped = group.messages.outcome == DROPPED
            yield from self._instants(group, dropped, "dropped", CONSUMER, texts)

    def _parents(self, group: MessageSpans) -> Numbers:
        """JSON that names the span in which each message was sent, as parent or as link."""
        messages = group.messages
        texts = np.full(len(messages), "", object)
        if messages.kind not in form.WORK:
            return texts
        sender = self._view.work(messages.edge.sender)
        stage = stage_number(self._view, messages.edge.sender)
        for part in chunks(len(messages)):
            spans = group.sender_span[part]
            span = span_id(stage, spans)
            batch = trace_id(messages.batch[part], messages.kind)
            trace = batch.copy()
            inside = spans != NEVER
            if inside.any():
                during = spans[inside]
                trace[inside] = trace_id(sender.batch[during], sender.kind[during])
            span[~inside] = group.flow_id[part][~inside] | MESSAGE
            sent = messages.sent[part] != NEVER
            rows = zip(*(c.tolist() for c in (sent, trace == batch, trace, span)), strict=True)
            texts[part] = [self._link(*row) for row in rows]
        return texts

    def _link(self, sent: bool, same: bool, trace: int, span: int) -> str:
        if not sent:
            return ""
        if same:
            return f'"parentSpanId":"{span:016x}",'
        return f'"links":[{{"traceId":"{self._run}{trace:016x}","spanId":"{span:016x}"}}],'

    def _work_spans(
        self, work: WorkSpans, incoming: list[MessageSpans], parents: list[Numbers]
    ) -> Iterator[list[str]]:
        values = span_attributes(incoming, len(work))
        texts = np.full(len(work), "", object)
        for group, found in zip(incoming, parents, strict=True):
            started = group.receiver_span != NEVER
            texts[group.receiver_span[started]] = found[started]
        stage = stage_number(self._view, self._stage)
        first = first_spans(work)
        has_first = first != NEVER
        first_ids = span_id(stage, first[has_first]).tolist()
        texts[has_first] = [f'"parentSpanId":"{i:016x}",' for i in first_ids]
        ids = span_id(stage, np.arange(len(work)))
        for part in chunks(len(work)):
            yield self._block(work, part, values, texts, ids)

    def _block(
        self, work: WorkSpans, part: slice, values: dict[str, Numbers], texts: Numbers, ids: Numbers
    ) -> list[str]:
        begin, end, kind = work.begin[part], work.end[part], work.kind[part]
        ended = np.where(end == NEVER, begin, end)
        columns = [trace_id(work.batch[part], kind), ids[part], texts[part]]
        columns += [kind, work.resumed[part], work.edge[part]]
        columns += [begin + self._view.unix, ended + self._view.unix, end != NEVER]
        columns += [work.batch[part], *(values[name][part] for name in ATTRIBUTES)]
        return [
            self._work_span(work, row) for row in zip(*(c.tolist() for c in columns), strict=True)
        ]

    def _work_span(self, work: WorkSpans, row: tuple[Any, ...]) -> str:
        trace, span, text, kind, resumed, edge, begin, end, ended, batch, *values = row
        found = attributes(form.KINDS[kind], work.edges[edge], batch)
        if not resumed:
            found += "".join(
                f",{attribute(name, value)}" for name, value in zip(ATTRIBUTES, values, strict=True)
            )
        if not ended:
            found += ',{"key":"dni.unfinished","value":{"boolValue":true}}'
        role = INTERNAL if resumed else CONSUMER
        head = _SPAN % (self._run, trace, span, text, f'"{span_name(kind, resumed)}"', role)
        return head + _TIMES % (begin, end, found)

    def _instants(
        self,
        group: MessageSpans,
        which: Numbers,
        event: str,
        role: int,
        parents: Numbers | None = None,
    ) -> Iterator[list[str]]:
        """Spans without length, for events outside of spans of work."""
        messages = group.messages
        rows = np.flatnonzero(which) if messages.kind in form.WORK else np.empty(0, np.intp)
        times: Times = messages.sent if event == "sent" else messages.used
        kind = form.KINDS[messages.kind]
        for part in chunks(len(rows)):
            at = rows[part]
            span = group.flow_id[at] | MESSAGE
            if event == "dropped":
                span |= RECEIVER
            columns = [trace_id(messages.batch[at], messages.kind), span]
            columns += [times[at] + self._view.unix, messages.batch[at], messages.reason[at]]
            columns += [np.full(len(at), "", object) if parents is None else parents[at]]
            found = zip(*(c.tolist() for c in columns), strict=True)
            yield [self._instant(f'"{event} {kind}"', kind, group, role, *row) for row in found]

    def _instant(
        self,
        name: str,
        kind: str,
        group: MessageSpans,
        role: int,
        trace: int,
        span: int,
        time: int,
        batch: int,
        reason: int,
        parent: str,
    ) -> str:
        found = attributes(kind, str(group.messages.edge), batch)
        if reason:
            text = form.DROP_REASONS[reason]
            found += f',{{"key":"dni.reason","value":{{"stringValue":"{text}"}}}}'
        head = _SPAN % (self._run, trace, span, parent, name, role)
        return head + _TIMES % (time, time, found)
