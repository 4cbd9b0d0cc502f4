"""By what numbers OpenTelemetry knows batches, spells and messages, and what it is told of them."""

from __future__ import annotations

import json
from typing import Final

import numpy as np

from coordinator.traces.events import NEVER, Numbers, Work
from coordinator.traces.export.view import View
from protocol import trace_format as form

_TEST: Final = np.uint64(1 << 63)
MESSAGE, RECEIVER = np.uint64(1 << 62), np.uint64(1 << 63)
"""What tells the span of a message from that of a spell, and the receiver's from the sender's."""


def place(view: View, core: str) -> int:
    """A number for `core`, never 0."""
    return view.traces.pipeline.stages.index(core) + 1


def span_id(core: int, spells: Numbers) -> Numbers:
    """Numbers of spans, never 0."""
    return (spells + 1).astype(np.uint64) | np.uint64(core << 48)


def trace_id(batch: Numbers, kind: int | Numbers) -> Numbers:
    """The numbers of traces: a test batch is not the training batch of the same number."""
    test = np.equal(kind, form.TEST)
    return batch.astype(np.uint64) | np.where(test, _TEST, np.uint64(0))


def first_halves(work: Work) -> Numbers:
    """For every resumed spell the one in which its batch was taken up, NEVER for others."""
    found = np.full(len(work), NEVER)
    for edge in np.unique(work.edge):
        on = (work.edge == edge) & (work.kind == form.ACTIVATION)
        first, second = np.flatnonzero(on & ~work.resumed), np.flatnonzero(on & work.resumed)
        order = np.argsort(work.batch[first], kind="stable")
        if len(first):
            ordered = work.batch[first][order]
            at = np.minimum(np.searchsorted(ordered, work.batch[second]), len(first) - 1)
            met = ordered[at] == work.batch[second]
            found[second[met]] = first[order][at[met]]
    return found


def attributes(kind: str, edge: str, batch: int) -> str:
    """Attributes that all spans have."""
    return (
        f'{{"key":"dni.kind","value":{{"stringValue":"{kind}"}}}},'
        f'{{"key":"dni.edge","value":{{"stringValue":{json.dumps(edge)}}}}},'
        f"{attribute('batch', batch)}"
    )


def attribute(fact: str, value: int) -> str:
    """One attribute with a number."""
    return f'{{"key":"dni.{fact}","value":{{"intValue":"{value}"}}}}'
