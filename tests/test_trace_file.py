"""A trace file lies as docs/traces.md says, to the byte, and a ring forgets no count."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.traces.files import TraceFile
from protocol import Activation, Credit, Gradient, Mark
from protocol import trace_format as form
from tests.examples import examples
from tests.traced import (
    ACTIVATION,
    BEHIND,
    CREDIT,
    DROPPED,
    GRADIENT,
    KINDS,
    LABELS,
    LATE,
    MARKER,
    RECEIVED,
    RESUMED,
    SENT,
    TEST,
    USED,
    Decoded,
    Row,
    X,
    decoded,
    opened,
    ran,
    tiny,
)
from workers.recording import trace_writer as writer
from workers.recording.instrument import InstrumentedStage
from workers.recording.trace_writer import TraceWriter

PAGE = (Path(__file__).parents[1] / "docs" / "traces.md").read_text("utf-8")
EDGES = ("a>b", "b>c")
ORIGIN = form.TraceMetadata("b", 7, "here", -3, 2, 11, 13, EDGES)

none = st.just(0)
rows = st.builds(
    Row,
    end=none,
    version=none,
    staleness=none,
    queue=none,
    cause=none,
    time=st.integers(0, 2**64 - 1),
    batch=st.integers(0, 2**64 - 1),
    bytes=st.integers(0, 2**32 - 1),
    edge=st.integers(0, 1),
    event=st.sampled_from([SENT, RECEIVED, USED, DROPPED, RESUMED]),
    kind=st.integers(1, KINDS - 1),
    why=none,
).flatmap(lambda r: st.integers(1, 4).map(lambda w: r._replace(why=w * (r.event == DROPPED))))


def naive(written: list[Row]) -> dict[tuple[int, int, str], int]:
    """The totals of all that was written, as the page describes the parts."""
    parts = ("sent", "size", "received", "used", "resumed", *form.DROP_REASONS[1:])
    found = {(e, k, p): 0 for e in range(len(EDGES)) for k in range(KINDS) for p in parts}
    names = {SENT: "sent", RECEIVED: "received", USED: "used", RESUMED: "resumed"}
    for row in written:
        found[row.edge, row.kind, names.get(row.event) or form.DROP_REASONS[row.why]] += 1
        if row.event == SENT:
            found[row.edge, row.kind, "size"] += row.bytes
    return found


def named(totals: np.typing.NDArray[np.int64]) -> dict[tuple[int, int, str], int]:
    parts = ("sent", "size", "received", "used", "resumed", *form.DROP_REASONS[1:])
    return {(e, k, parts[p]): int(n) for (e, k, p), n in np.ndenumerate(totals)}


# -- the log


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a log may be made."""
    return tmp_path_factory.mktemp("log") / "b.trace"


@examples(150)
@given(
    written=st.lists(rows, max_size=40),
    capacity=st.sampled_from([0, 5, 16, 64]),
    settles=st.sets(st.integers(0, 40)),
    closes=st.booleans(),
)
def test_a_log_lies_as_the_page_says_and_its_totals_are_those_of_all_that_was_written(
    own_file: Path, written: list[Row], capacity: int, settles: set[int], closes: bool
) -> None:
    own_file.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "CHUNK", 256)  # three pages
        log = TraceWriter(own_file, ORIGIN, capacity)
        for number, row in enumerate(written):
            if number in settles:
                log.update_totals()
            log.write(*row)
    if closes:
        log.close()
    found, read = decoded(own_file), TraceFile.read(own_file).counted()
    size = own_file.stat().st_size
    if not closes:
        log.close()
    held = min(len(written), capacity or len(written))
    assert found.rows == written[len(written) - held :]
    assert (found.capacity, found.written, found.closed) == (capacity, len(written), closes)
    assert found.metadata == {
        "stage": "b",
        "pid": 7,
        "host": "here",
        "offset_ns": -3,
        "bound_ns": 2,
        "monotonic_ns": 11,
        "unix_ns": 13,
        "edges": list(EDGES),
    }
    assert found.start % 4096 == 0
    assert size == found.start + (held if closes else capacity or 256) * 48
    if capacity:
        counted = written[: found.counted]
        assert named(found.totals) == naive(counted)
        assert found.counted >= len(written) - capacity
        assert not closes or found.counted == len(written)
    else:
        assert found.counted == found.totals.sum() == 0
    assert named(read) == naive(written)


def test_a_log_that_grows_goes_on_in_new_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHUNK", 256)  # three pages
    path = tmp_path / "b.trace"
    log = TraceWriter(path, ORIGIN, 0)
    written = [Row(number, batch=number) for number in range(700)]
    for row in written:
        log.write(*row)
    assert path.stat().st_size == 4096 + 768 * 48
    assert decoded(path).rows == written
    log.close()
    assert path.stat().st_size == 4096 + 700 * 48
    assert decoded(path).rows == written


def test_the_chunks_by_which_a_log_grows_begin_where_memory_can_be_mapped() -> None:
    assert writer.CHUNK * form.RECORD.itemsize % form.PAGE == 0


def test_an_end_is_written_where_its_record_lies_also_after_the_log_grew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHUNK", 256)
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


# -- the words of a core


def test_what_is_resumed_at_once_is_one_record_that_ends_with_the_second_half(
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


def test_what_another_core_of_the_process_interrupted_is_two_records(tmp_path: Path) -> None:
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


def test_every_word_becomes_the_record_that_the_page_describes(tmp_path: Path) -> None:
    trace = opened(tmp_path, "ring")
    first, test = (Activation(n, n, n == 5, X, LABELS) for n in (5, 6))
    gradient, credit, mark = Gradient(4, 3, X), Credit(3), Mark("drain", 9)
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
    trace.received("layer2", mark)
    trace.used("layer2", mark)
    trace.work_done()
    trace.sending("layer0", Credit(4))
    trace.received("layer0", first)
    trace.close()
    found = decoded(tmp_path / "layer1.trace")
    edges = found.metadata["edges"]
    assert sorted(edges) == ["layer0>layer1", "layer1>layer0", "layer1>layer2", "layer2>layer1"]
    told = [
        (row.event, row.kind, edges[row.edge], row.batch, row.queue, row.staleness, row.why)
        for row in found.rows
    ]
    below, above = "layer0>layer1", "layer2>layer1"
    assert told == [
        (RECEIVED, ACTIVATION, below, 5, 1, 0, 0),
        (RECEIVED, TEST, below, 6, 2, 0, 0),
        (USED, ACTIVATION, below, 5, 0, 0, 0),
        (SENT, ACTIVATION, "layer1>layer2", 5, 0, 0, 0),
        (RECEIVED, GRADIENT, above, 4, 1, 0, 0),
        (USED, GRADIENT, above, 4, 0, 7, 0),
        (RESUMED, ACTIVATION, below, 5, 0, 0, 0),
        (DROPPED, GRADIENT, "layer1>layer0", 5, 0, 0, BEHIND),
        (SENT, CREDIT, "layer1>layer0", 3, 0, 0, 0),
        (DROPPED, TEST, below, 6, 0, 0, LATE),
        (RECEIVED, MARKER, above, 9, 1, 0, 0),
        (USED, MARKER, above, 9, 0, 0, 0),
        (SENT, CREDIT, "layer1>layer0", 4, 0, 0, 0),
        (RECEIVED, ACTIVATION, below, 5, 1, 0, 0),
    ]
    causes = {i: edges[row.cause - 1] for i, row in enumerate(found.rows) if row.cause}
    assert causes == {3: below, 7: below, 8: below}
    assert [i for i, row in enumerate(found.rows) if row.end] == [2, 5, 6]
    assert all(row.time <= row.end for row in found.rows if row.end)
    assert [row.bytes for row in found.rows if row.bytes] == [X.nbytes + LABELS.nbytes]
    times = [row.time for row in found.rows]
    assert times == sorted(times)
    assert (found.metadata["pid"], found.closed) == (os.getpid(), 1)


def test_work_ends_when_it_is_done_and_not_when_other_work_begins(tmp_path: Path) -> None:
    trace = opened(tmp_path, "ring")
    pipeline = replace(network.tiny("cdni"), trace=Trace(mode="ring"))
    layer1 = build_cores(pipeline, network.DATA)[2]
    stage = instrument(layer1, pipeline, {}, tmp_path)
    stage.receive(
        "layer0", Activation(1, 1, True, np.zeros((8, 5), np.float32), np.zeros(8, np.int64))
    )
    assert len(list(stage.work())) == 1
    (use,) = (row for row in decoded(tmp_path / "layer1.trace").rows if row.event == USED)
    assert use.time <= use.end <= time.monotonic_ns()
    stage.close()


# -- the page


def test_the_reader_on_the_page_is_short_and_reads_a_real_run(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(code.splitlines()) <= 30
    (tmp_path / "read.py").write_text(code, "utf-8")
    ran(tiny(), tmp_path / "run")
    for name in ("source", "layer0", "layer1", "layer2"):
        path = tmp_path / "run" / "trace" / f"{name}.trace"
        words = [sys.executable, str(tmp_path / "read.py"), str(path)]
        shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
        assert shown.stdout.splitlines() == counts(decoded(path))


def counts(found: Decoded) -> list[str]:
    lines = []
    for place, edge in enumerate(found.metadata["edges"]):
        events = [row.event for row in found.rows if row.edge == place]
        lines.append(f"{edge} { ({event: events.count(event) for event in range(1, 6)}) }")
    return lines
