"""The readable part of a broken trace is read, and the rest is reported."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.traces.clocks import clock_correction
from coordinator.traces.files import TraceFile
from coordinator.traces.find import MessageFilter, find_messages, unused_messages
from coordinator.traces.message_accounting import edge_counts
from coordinator.traces.run import Traces
from coordinator.traces.stats import edge_stats
from protocol import RunError
from protocol import trace_format as form
from tests.examples import examples
from tests.traced import (
    CLOCK,
    KINDS,
    OPENING,
    RECORD,
    SECOND,
    SENT,
    Row,
    decoded,
    handmade,
    ran,
    tiny,
    trace_bytes,
    trace_metadata,
)

STAGES = ("source", "layer0", "layer1", "layer2")
ORIGIN = form.TraceMetadata("b", 7, "here", 0, 0, 11, 13, ("a>b", "b>c"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four batches."""
    folder = tmp_path_factory.mktemp("small") / "run"
    ran(tiny(steps=4), folder)
    return folder


def everything(folder: Path) -> Traces:
    """Read everything that can be read."""
    traces = Traces(folder)
    edge_counts(traces)
    edge_stats(traces)
    unused_messages(traces)
    find_messages(traces, MessageFilter(), 10)
    for stage in STAGES:
        traces.work(stage)
    assert isinstance(traces.running, bool)
    return traces


def problem_of(folder: Path) -> str:
    """The problems of broken traces, from a RunError or from the traces that could be read."""
    try:
        problems = everything(folder).all_problems()
    except RunError as error:
        problems = [str(error)]
    assert all("\n" not in problem for problem in problems)
    return "; ".join(problems)


def test_complete_traces_have_no_problems(run: Path) -> None:
    assert problem_of(run) == ""


def test_file_cut_off_anywhere_is_read_up_to_the_cut(run: Path) -> None:
    path = run / "trace" / "layer1.trace"
    whole = path.read_bytes()
    start, rows, totals = decoded(path).start, decoded(path).rows, decoded(path).totals
    least = 60 + OPENING.unpack_from(whole)[8] + totals.nbytes
    least += -(least - totals.nbytes) % 8
    behind = {*range(0, len(whole), 31), *range(200), *range(start - 2, start + 100)}
    try:
        for size in sorted(behind):
            path.write_bytes(whole[:size])
            if size < least:
                with pytest.raises(RunError, match=re.escape(str(path))):
                    TraceFile.read(path)
                continue
            read = TraceFile.read(path)
            found = [Row(*row) for block in read.blocks() for row in block.tolist()]
            assert found == rows[: max(0, size - start) // RECORD.size]
            assert "cut off" in read.problems[0]
        for size in (*range(0, start, 509), len(whole) - 1):
            path.write_bytes(whole[:size])
            assert "layer1.trace" in problem_of(run)
    finally:
        path.write_bytes(whole)


@examples(150)
@given(
    flips=st.lists(
        st.tuples(st.integers(0, 60 + 250) | st.integers(0, 10**6), st.integers(0, 255)),
        min_size=1,
        max_size=8,
    )
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of times that are none
def test_wrong_bytes_anywhere_cause_no_crash(run: Path, flips: list[tuple[int, int]]) -> None:
    path = run / "trace" / "layer1.trace"
    whole = path.read_bytes()
    broken = bytearray(whole)
    for place, byte in flips:
        broken[place % len(broken)] = byte
    try:
        path.write_bytes(broken)
        problem_of(run)
    finally:
        path.write_bytes(whole)


any_metadata = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)


@examples(200)
@given(data=st.data(), key=st.sampled_from(sorted(trace_metadata("", []))))
def test_metadata_of_wrong_types_are_refused_or_harmless(
    run: Path, data: st.DataObject, key: str
) -> None:
    path = run / "trace" / "layer1.trace"
    whole = path.read_bytes()
    metadata: Any = {**decoded(path).metadata, key: data.draw(any_metadata)}
    if data.draw(st.integers(0, 9)) == 0:
        metadata = data.draw(any_metadata)
    try:
        path.write_bytes(trace_bytes(metadata, decoded(path).rows, closed=data.draw(st.booleans())))
        problem_of(run)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("field", [3, 4, 5, 6, 8])
@pytest.mark.parametrize("value", [2**63 - 1, 2**40, 2**24])
def test_claimed_size_allocates_nothing(run: Path, tmp_path: Path, field: int, value: int) -> None:
    data = bytearray((run / "trace" / "layer1.trace").read_bytes())
    opening = list(OPENING.unpack_from(data))
    opening[field] = min(value, 2**32 - 1) if field == 8 else value
    OPENING.pack_into(data, 0, *opening)
    path = tmp_path / "layer1.trace"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        read = TraceFile.read(path)
        read.all_totals()
        assert list(read.blocks()) or read.problems or field == 6
    except RunError:
        pass
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 4 * len(data) + (1 << 20)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda data: data[:0], "is no trace"),
        (lambda data: b"x" + data[1:], "is no trace"),
        (lambda data: data[:8] + b"\1" + data[9:], "format 1"),
        (lambda data: data[:60] + b"\xc1" + data[61:], "broken metadata"),
    ],
)
def test_file_that_is_not_a_trace_is_reported_in_one_line(
    run: Path, change: Callable[[bytes], bytes], text: str
) -> None:
    path = run / "trace" / "layer2.trace"
    whole = path.read_bytes()
    path.write_bytes(change(whole))
    try:
        assert f"{path}: " in problem_of(run)
        assert text in problem_of(run)
    finally:
        path.write_bytes(whole)


def test_broken_records_are_left_out_and_counted(tmp_path: Path) -> None:
    good = [Row(SECOND + n, batch=n, event=SENT) for n in range(10)]
    bad = [
        good[0]._replace(event=0),
        good[0]._replace(event=7),
        good[0]._replace(kind=0),
        good[0]._replace(kind=KINDS),
        good[0]._replace(edge=2),
        good[0]._replace(reason=5),
        good[0]._replace(cause=3),
    ]
    rows = [*good[:5], *bad, *good[5:], good[0]._replace(event=CLOCK, edge=999, kind=0)]
    path = tmp_path / "b.trace"
    path.write_bytes(trace_bytes(trace_metadata("b", ["a>b", "b>c"]), rows))
    read = TraceFile.read(path)
    (block,) = read.blocks()
    assert block["batch"].tolist() == [*range(10), 0]
    (problem,) = read.problems
    assert "7 broken records were left out; the first is number 5" in problem
    assert read.all_totals().sum() == 10


def test_file_removed_while_it_is_read_is_reported_in_one_line(tmp_path: Path) -> None:
    data = trace_bytes(trace_metadata("layer0", ["source>layer0"]), [Row(SECOND)])
    traces = handmade(tmp_path, {"layer0": data})
    (tmp_path / "trace" / "layer0.trace").unlink()
    with pytest.raises(RunError, match=r"layer0\.trace: No such file"):
        edge_stats(traces)


def test_run_without_traces_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no traces"):
        handmade(tmp_path / "a", {})
    off = replace(tiny(mode="off"), layer=tiny().layer[1:])
    with pytest.raises(RunError, match="--trace off"):
        handmade(tmp_path / "b", {}, off)


def test_clock_correction_of_a_broken_file_is_an_integer(tmp_path: Path) -> None:
    rows = [Row(2**64 - 1, batch=2**63, bytes=5, event=CLOCK)]
    path = tmp_path / "b.trace"
    path.write_bytes(trace_bytes(trace_metadata("b", ["a>b"], bound_ns=1), rows))
    now = clock_correction(TraceFile.read(path))
    assert now(np.array([1, 2], np.uint64)).dtype == np.int64
