"""The ids and attributes of OpenTelemetry spans."""

from __future__ import annotations

import json
from typing import Final

import numpy as np

from coordinator.traces.events import NEVER, Numbers, WorkSpans
from coordinator.traces.export.view import View
from protocol import trace_format as form

_TEST: Final = np.uint64(1 << 63)
MESSAGE, RECEIVER = np.uint64(1 << 62), np.uint64(1 << 63)
"""Bits in the id of a span without length: it stands for a message; it is the receiver's."""


def stage_number(view: View, stage: str) -> int:
    """The number of `stage`, never 0."""
    return view.traces.pipeline.stages.index(stage) + 1


def span_id(stage: int, spans: Numbers) -> Numbers:
    """The ids of spans, never 0."""
    return (spans + 1).astype(np.uint64) | np.uint64(stage << 48)


def trace_id(batch: Numbers, kind: int | Numbers) -> Numbers:
    """The ids of traces: a test batch differs from the training batch of the same number."""
    test = np.equal(kind, form.TEST)
    return batch.astype(np.uint64) | np.where(test, _TEST, np.uint64(0))


def first_spans(work: WorkSpans) -> Numbers:
    """For every resumed span the span in which its batch began; NEVER for other spans."""
    found = np.full(len(work), NEVER)
    for edge in np.unique(work.edge):
        on = (work.edge == edge) & (work.kind == form.ACTIVATION)
        first, second = np.flatnonzero(on & ~work.resumed), np.flatnonzero(on & work.resumed)
        order = np.argsort(work.batch[first], kind="stable")
        if len(first):
            ordered = work.batch[first][order]
            at = np.minimum(np.searchsorted(ordered, work.batch[second]), len(first) - 1)
            matched = ordered[at] == work.batch[second]
            found[second[matched]] = first[order][at[matched]]
    return found


def attributes(kind: str, edge: str, batch: int) -> str:
    """The attributes of every span, as JSON."""
    return (
        f'{{"key":"dni.kind","value":{{"stringValue":"{kind}"}}}},'
        f'{{"key":"dni.edge","value":{{"stringValue":{json.dumps(edge)}}}}},'
        f"{attribute('batch', batch)}"
    )


def attribute(name: str, value: int) -> str:
    """An attribute with an integer, as JSON."""
    return f'{{"key":"dni.{name}","value":{{"intValue":"{value}"}}}}'
