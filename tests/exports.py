"""Helpers for tests of exports."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from coordinator.traces.messages import Messages
from coordinator.traces.run import Traces
from protocol import trace_format as form
from protocol.trace_format import TraceHeader

EVIL = 'a "quoted", %s %d \\ name\nof {two} lines; é'
Seen = list[Messages]


def count_spans(traces: Traces) -> int:
    return sum(len(work) for work in map(traces.work, traces.pipeline.stages) if work)


def count(seen: Seen, *outcomes: int) -> int:
    return sum(int(np.isin(messages.outcome, outcomes).sum()) for messages in seen)


def with_evil_host(traces: Traces, folder: Path) -> Traces:
    """A copy of the traces in which the name of the host is EVIL."""
    (folder / "trace").mkdir(parents=True)
    shutil.copy(traces.folder / "pipeline.toml", folder)
    for stage, file in traces.files.items():
        data = file.path.read_bytes()
        old = TraceHeader.unpack(data)
        origin = replace(file.metadata, host=EVIL).pack()
        head = old._replace(metadata=len(origin)).pack() + origin
        size = form.totals_size(file.metadata.edges)
        at = form.totals_at(old.metadata)
        head = head.ljust(form.totals_at(len(origin)), b"\0") + data[at : at + size]
        assert len(head) <= old.start
        copy = head.ljust(old.start, b"\0") + data[old.start :]
        (folder / "trace" / f"{stage}.trace").write_bytes(copy)
    return Traces(folder)


def otlp_spans(path: Path) -> list[tuple[str, Any]]:
    """Every span with the name of its service; the lines must be valid OTLP."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        request = json.loads(line)
        for span in request["resourceSpans"][0]["scopeSpans"][0]["spans"]:
            for place in (span, *span.get("links", ())):
                for key in {"traceId", "spanId", "parentSpanId"} & place.keys():
                    place[key] = base64.b64encode(bytes.fromhex(place[key])).decode()
        (group,) = ParseDict(request, ExportTraceServiceRequest()).resource_spans
        attributes = {a.key: a.value for a in group.resource.attributes}
        assert {"host.name", "process.pid"} <= attributes.keys()
        service = attributes["service.name"].string_value
        found += [(service, span) for scope in group.scope_spans for span in scope.spans]
    return found
