"""A trace file has the layout of docs/traces.md, and the totals of a ring count every record."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.traces.files import TraceFile
from protocol import trace_format
from tests.examples import examples
from tests.traced import (
    DROPPED,
    KINDS,
    RECEIVED,
    RESUMED,
    SENT,
    USED,
    Decoded,
    Row,
    decoded,
    ran,
    tiny,
)
from workers.recording.trace_writer import CHUNK, TraceWriter

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "traces.md").read_text("utf-8")
EDGES = ("a>b", "b>c")
METADATA = trace_format.TraceMetadata("b", 7, "here", -3, 2, 11, 13, EDGES)
SMALL_CHUNK = 256  # three pages

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
    reason=none,
).flatmap(lambda r: st.integers(1, 4).map(lambda w: r._replace(reason=w * (r.event == DROPPED))))


def naive(written: list[Row]) -> dict[tuple[int, int, str], int]:
    """The totals of the records `written`, as docs/traces.md describes the counters."""
    parts = ("sent", "size", "received", "used", "resumed", *trace_format.DROP_REASONS[1:])
    found = {(e, k, p): 0 for e in range(len(EDGES)) for k in range(KINDS) for p in parts}
    names = {SENT: "sent", RECEIVED: "received", USED: "used", RESUMED: "resumed"}
    for row in written:
        found[
            row.edge, row.kind, names.get(row.event) or trace_format.DROP_REASONS[row.reason]
        ] += 1
        if row.event == SENT:
            found[row.edge, row.kind, "size"] += row.bytes
    return found


def named(totals: np.typing.NDArray[np.int64]) -> dict[tuple[int, int, str], int]:
    parts = ("sent", "size", "received", "used", "resumed", *trace_format.DROP_REASONS[1:])
    return {(e, k, parts[p]): int(n) for (e, k, p), n in np.ndenumerate(totals)}


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a file that each example writes anew."""
    return tmp_path_factory.mktemp("trace") / "b.trace"


@examples(150)
@given(
    written=st.lists(rows, max_size=40),
    capacity=st.sampled_from([0, 5, 16, 64]),
    updates=st.sets(st.integers(0, 40)),
    closes=st.booleans(),
)
def test_a_file_has_the_documented_layout_and_its_totals_count_every_record(
    own_file: Path, written: list[Row], capacity: int, updates: set[int], closes: bool
) -> None:
    own_file.unlink(missing_ok=True)
    writer = TraceWriter(own_file, METADATA, capacity, chunk=SMALL_CHUNK)
    for number, row in enumerate(written):
        if number in updates:
            writer.update_totals()
        writer.write(*row)
    if closes:
        writer.close()
    found, read = decoded(own_file), TraceFile.read(own_file).all_totals()
    size = own_file.stat().st_size
    if not closes:
        writer.close()
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
    assert size == found.start + (held if closes else capacity or SMALL_CHUNK) * 48
    if capacity:
        counted = written[: found.counted]
        assert named(found.totals) == naive(counted)
        assert found.counted >= len(written) - capacity
        assert not closes or found.counted == len(written)
    else:
        assert found.counted == found.totals.sum() == 0
    assert named(read) == naive(written)


def test_a_file_without_a_capacity_grows_by_chunks(tmp_path: Path) -> None:
    path = tmp_path / "b.trace"
    writer = TraceWriter(path, METADATA, 0, chunk=SMALL_CHUNK)
    written = [Row(number, batch=number) for number in range(700)]
    for row in written:
        writer.write(*row)
    assert path.stat().st_size == 4096 + 768 * 48
    assert decoded(path).rows == written
    writer.close()
    assert path.stat().st_size == 4096 + 700 * 48
    assert decoded(path).rows == written


def test_chunks_begin_at_page_boundaries() -> None:
    assert CHUNK * trace_format.RECORD.itemsize % trace_format.PAGE == 0


def test_the_documented_reader_is_short_and_reads_the_traces_of_a_run(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(code.splitlines()) <= 30
    (tmp_path / "read.py").write_text(code, "utf-8")
    ran(tiny(), tmp_path / "run")
    for name in ("source", "layer0", "layer1", "layer2"):
        path = tmp_path / "run" / "trace" / f"{name}.trace"
        command = [sys.executable, str(tmp_path / "read.py"), str(path)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert shown.stdout.splitlines() == counts(decoded(path))


def counts(found: Decoded) -> list[str]:
    lines = []
    for place, edge in enumerate(found.metadata["edges"]):
        events = [row.event for row in found.rows if row.edge == place]
        lines.append(f"{edge} { ({event: events.count(event) for event in range(1, 6)}) }")
    return lines
