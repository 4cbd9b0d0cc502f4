"""Each call of a tracer becomes the record that docs/traces.md describes."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protocol import Activation, Credit, Gradient, Marker
from protocol.config import TraceConfig
from tests import network
from tests.assembly import build_stages
from tests.traced import (
    ACTIVATION,
    BEHIND,
    CREDIT,
    DROPPED,
    GRADIENT,
    LABELS,
    LATE,
    MARKER,
    RECEIVED,
    RESUMED,
    SENT,
    TEST,
    USED,
    Decoded,
    X,
    decoded,
    opened,
)
from workers.recording import trace_writer
from workers.recording.instrument import instrument
from workers.recording.tracer import FileTracer


def test_the_end_of_a_span_is_written_to_its_record_after_the_file_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_writer, "CHUNK", 256)
    traced = opened(tmp_path, "full")
    for batch in range(1, 257):
        traced.received("layer0", Activation(batch, batch, True, X, LABELS))
    for batch in range(1, 257):
        traced.used("layer0", Activation(batch, batch, True, X, LABELS))
        traced.sending("layer2", Activation(batch, batch, True, X, LABELS))
    traced.close()
    uses = [row for row in decoded(tmp_path / "layer1.trace").rows if row.event == USED]
    assert [row.batch for row in uses] == [*range(1, 257)]
    later = [*uses[1:], None]
    for use, following in zip(uses, later, strict=True):
        assert use.time <= use.end
        assert following is None or use.end <= following.time


def test_work_that_is_resumed_at_once_is_one_record(
    tmp_path: Path,
) -> None:
    trace = opened(tmp_path, "ring")
    first, gradient = Activation(5, 5, True, X, LABELS), Gradient(5, 5, X)
    trace.received("layer0", first)
    trace.used("layer0", first)
    trace.sending("layer2", first)
    trace.work_done()
    trace.resumed("layer0", 5)
    trace.sending("layer0", gradient)
    trace.work_done()
    trace.sending("layer0", Credit(5))
    trace.close()
    rows = decoded(tmp_path / "layer1.trace").rows
    assert [row.event for row in rows] == [RECEIVED, USED, SENT, SENT, SENT]
    assert [row.cause for row in rows] == [0, 0, 1 + rows[0].edge, 1 + rows[0].edge, 0]
    assert rows[3].time <= rows[1].end <= rows[4].time


def test_work_that_another_stage_of_the_process_interrupted_is_two_records(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    trace, other = opened(tmp_path, "ring"), opened(tmp_path / "other", "ring")
    first = Activation(5, 5, True, X, LABELS)
    for traced in (trace, other):
        traced.received("layer0", first)
        traced.used("layer0", first)
        traced.work_done()
    for traced in (trace, other):
        traced.resumed("layer0", 5)
        traced.work_done()
        traced.close()
    rows = decoded(tmp_path / "layer1.trace").rows
    assert [row.event for row in rows] == [RECEIVED, USED, RESUMED]
    assert rows[1].end < rows[2].time


BELOW, ABOVE = "layer0>layer1", "layer2>layer1"
DOWN, UP = "layer1>layer0", "layer1>layer2"


def call_each(trace: FileTracer) -> None:
    """Call every method of `trace` as a layer does that works on the batches 3 to 6."""
    first, test = (Activation(n, n, n == 5, X, LABELS) for n in (5, 6))
    gradient, credit, marker = Gradient(4, 3, X), Credit(3), Marker("drain", 9)
    trace.received("layer0", first)
    trace.received("layer0", test)
    trace.used("layer0", first)
    trace.sending("layer2", first)
    trace.work_done()
    trace.received("layer2", gradient)
    trace.used("layer2", gradient, 7)
    trace.resumed("layer0", 5)
    trace.unsent("layer0", "gradient", 5)
    trace.sending("layer0", credit)
    trace.dropped("layer0", test, "late")
    trace.received("layer2", marker)
    trace.used("layer2", marker)
    trace.work_done()
    trace.sending("layer0", Credit(4))
    trace.received("layer0", first)
    trace.close()


RECORDS = [
    (RECEIVED, ACTIVATION, BELOW, 5, 1, 0, 0),
    (RECEIVED, TEST, BELOW, 6, 2, 0, 0),
    (USED, ACTIVATION, BELOW, 5, 0, 0, 0),
    (SENT, ACTIVATION, UP, 5, 0, 0, 0),
    (RECEIVED, GRADIENT, ABOVE, 4, 1, 0, 0),
    (USED, GRADIENT, ABOVE, 4, 0, 7, 0),
    (RESUMED, ACTIVATION, BELOW, 5, 0, 0, 0),
    (DROPPED, GRADIENT, DOWN, 5, 0, 0, BEHIND),
    (SENT, CREDIT, DOWN, 3, 0, 0, 0),
    (DROPPED, TEST, BELOW, 6, 0, 0, LATE),
    (RECEIVED, MARKER, ABOVE, 9, 1, 0, 0),
    (USED, MARKER, ABOVE, 9, 0, 0, 0),
    (SENT, CREDIT, DOWN, 4, 0, 0, 0),
    (RECEIVED, ACTIVATION, BELOW, 5, 1, 0, 0),
]
"""The records of `call_each`: event, kind, edge, batch, queue, staleness, reason."""


@pytest.fixture
def called(tmp_path: Path) -> Decoded:
    call_each(opened(tmp_path, "ring"))
    return decoded(tmp_path / "layer1.trace")


def test_every_call_becomes_the_documented_record(called: Decoded) -> None:
    edges = called.metadata["edges"]
    assert sorted(edges) == [BELOW, DOWN, UP, ABOVE]
    assert [
        (row.event, row.kind, edges[row.edge], row.batch, row.queue, row.staleness, row.reason)
        for row in called.rows
    ] == RECORDS
    assert [row.bytes for row in called.rows if row.bytes] == [X.nbytes + LABELS.nbytes]
    assert (called.metadata["pid"], called.closed) == (os.getpid(), 1)


def test_the_cause_of_a_message_is_the_edge_of_the_message_in_work(called: Decoded) -> None:
    edges = called.metadata["edges"]
    causes = {i: edges[row.cause - 1] for i, row in enumerate(called.rows) if row.cause}
    assert causes == {3: BELOW, 7: BELOW, 8: BELOW}


def test_work_has_an_end_and_records_are_in_order_of_time(called: Decoded) -> None:
    assert [i for i, row in enumerate(called.rows) if row.end] == [2, 5, 6]
    assert all(row.time <= row.end for row in called.rows if row.end)
    times = [row.time for row in called.rows]
    assert times == sorted(times)


def test_a_span_ends_when_its_work_is_done(tmp_path: Path) -> None:
    pipeline = replace(network.tiny("cdni"), trace=TraceConfig(mode="ring"))
    layer1 = build_stages(pipeline, network.DATA)[2]
    stage = instrument(layer1, pipeline, {}, tmp_path)
    stage.receive(
        "layer0", Activation(1, 1, True, np.zeros((8, 5), np.float32), np.zeros(8, np.int64))
    )
    assert len(list(stage.work())) == 1
    (use,) = (row for row in decoded(tmp_path / "layer1.trace").rows if row.event == USED)
    assert use.time <= use.end <= time.monotonic_ns()
    stage.close()
