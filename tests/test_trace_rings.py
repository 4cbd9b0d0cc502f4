"""A ring is read correctly while it is written, and after its writer died."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from coordinator.traces import files
from coordinator.traces.files import TraceFile
from protocol import trace_format as form
from tests.traced import (
    RECORD,
    Row,
    decoded,
)
from workers.recording.trace_writer import TraceWriter

STAGES = ("source", "layer0", "layer1", "layer2")
ORIGIN = form.TraceMetadata("b", 7, "here", 0, 0, 11, 13, ("a>b", "b>c"))


@pytest.mark.parametrize("written", [15, 16, 17, 31, 32, 33, 40])
@pytest.mark.parametrize("settled", [False, True])
def test_ring_of_a_dead_writer_counts_every_message(
    tmp_path: Path, written: int, settled: bool
) -> None:
    path = tmp_path / "b.trace"
    log = TraceWriter(path, ORIGIN, 16)
    for number in range(written):
        log.write(*Row(number, batch=number))
    if settled:
        log.update_totals()
    read = TraceFile.read(path)
    assert read.all_totals().sum() == written
    held = [n for block in read.blocks() for n in block["batch"].tolist()]
    assert held in ([*range(max(0, written - k), written)] for k in (15, 16))
    assert not read.closed
    log.close()


@pytest.mark.parametrize("between", [0, 1, 3, 15, 16, 17, 40])
def test_ring_written_while_it_is_read_yields_only_old_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: int
) -> None:
    monkeypatch.setattr(files, "BLOCK", 3)
    path = tmp_path / "b.trace"
    log = TraceWriter(path, ORIGIN, 16)
    numbers = itertools.count(1)

    def write(count: int) -> None:
        for _ in range(count):
            number = next(numbers)
            log.write(*Row(number, batch=number))

    write(21)
    read = TraceFile.read(path)
    found: list[int] = []
    for block in read.blocks():
        found += block["batch"].tolist()
        write(between)
    assert found == sorted(set(found))
    assert set(found) <= set(range(6, 22))
    assert not between or len(found) < 16
    assert between or found == [*range(7, 22)]
    log.close()


@pytest.mark.parametrize("later", [0, 1, 4])
def test_half_overwritten_record_is_not_read(tmp_path: Path, later: int) -> None:
    path = tmp_path / "b.trace"
    log = TraceWriter(path, ORIGIN, 16)
    for number in range(20):
        log.write(*Row(number, batch=number))
    read = TraceFile.read(path)
    for number in range(20, 20 + later):
        log.write(*Row(number, batch=number))
    with path.open("r+b") as file:  # the next lies where the one 16 before it does
        file.seek(decoded(path).start + (4 + later) * RECORD.size)
        file.write(b"\xff" * 20)
    found = [n for block in read.blocks() for n in block["batch"].tolist()]
    assert found == [*range(5 + later, 20)]
    log.close()
