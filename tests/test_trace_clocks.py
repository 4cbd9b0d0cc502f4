"""Times of another host are converted to the coordinator's clock within a known bound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import cli
from coordinator.console.units import time_text
from coordinator.traces.clocks import clock_correction
from coordinator.traces.files import TraceFile
from coordinator.traces.find import MessageFilter, find_messages
from coordinator.traces.run import Traces
from coordinator.traces.stats import edge_stats
from protocol import Edge
from tests.examples import examples
from tests.traced import (
    ACTIVATION,
    CLOCK,
    RECEIVED,
    SECOND,
    SENT,
    USED,
    Row,
    handmade,
    trace_bytes,
    trace_metadata,
)

SOURCE = ["source>layer0", "layer0>source"]
BELOW = [*SOURCE, "layer0>layer1", "layer1>layer0"]
ABOVE = ["layer0>layer1", "layer1>layer0"]
MESSAGES = 50
APART = 100_000_000  # ns between messages
BETWEEN = 1_000  # ns between two events of a message: less than the bound
START = 1_000 * SECOND


def two_hosts(
    folder: Path, shift: int, drift: float, bound: int, errors: list[int]
) -> tuple[Traces, list[int]]:
    """layer1 has its own clock, `shift` behind and faster by `drift`, and estimates the offset.

    `errors` are the errors of the estimates, one per second; the first is that of the metadata.
    Returns the times of sending on the coordinator's clock.
    """

    def there(moment: int) -> int:
        return round((moment - START) * (1 + drift)) + START - shift

    first, *later = errors
    moments = [START + (n + 1) * APART for n in range(MESSAGES)]
    below = [Row(t, batch=n, edge=2, event=SENT, kind=ACTIVATION) for n, t in enumerate(moments, 1)]
    above = []
    for number, moment in enumerate(moments, 1):
        received, used, done = (there(moment + n * BETWEEN) for n in (1, 2, 3))
        above.append(Row(received, batch=number, edge=0, event=RECEIVED, queue=1))
        above.append(Row(used, end=done, batch=number, edge=0, event=USED))
    for second, error in enumerate(later, 1):
        moment = START + second * SECOND
        estimate = Row(there(moment), batch=moment + error, bytes=bound, edge=0, event=CLOCK)
        above.append(estimate._replace(kind=0))
    above.sort(key=lambda row: row.time)
    origin = {"bound_ns": bound, "offset_ns": START - there(START) + first}
    shared = trace_metadata("layer0", BELOW, monotonic_ns=START)
    other = trace_metadata("layer1", ABOVE, monotonic_ns=there(START), **origin)
    files = {"layer0": trace_bytes(shared, below), "layer1": trace_bytes(other, above)}
    return handmade(folder, files), moments


@examples(100)
@given(
    shift=st.integers(-(10**16), 900 * SECOND),
    drift=st.floats(-2e-4, 2e-4),
    bound=st.integers(1, 10**7),
    data=st.data(),
)
def test_times_of_another_host_are_right_within_the_bound(
    tmp_path_factory: pytest.TempPathFactory,
    shift: int,
    drift: float,
    bound: int,
    data: st.DataObject,
) -> None:
    errors = data.draw(st.lists(st.integers(-bound, bound), min_size=7, max_size=7))
    traces, moments = two_hosts(
        tmp_path_factory.mktemp("run"), shift, drift, bound, [*errors[:6], errors[6]]
    )
    edge = Edge("layer0", "layer1")
    (messages,) = traces.messages(edge)
    slack = bound + 20  # ns lost to rounding numbers of 10^16
    assert messages.sent.tolist() == moments  # on the coordinator's clock already
    for column, late in ((messages.received, 1), (messages.used, 2), (messages.end, 3)):
        wrong = np.abs(column - np.array(moments) - late * BETWEEN)
        assert wrong.max() <= slack
    assert traces.bound(edge) == bound
    (row,) = (row for row in edge_stats(traces) if row.edge == edge)
    assert row.bound == bound
    rows, _ = find_messages(traces, MessageFilter())
    assert all(row.delay is not None and row.delay >= 0 for row in rows)
    for distribution in (row.transit, row.wait, row.delay):
        assert distribution is not None
        d = distribution
        assert 0 <= d.p50 <= d.p95 <= d.max <= 3 * BETWEEN + 2 * slack


def test_times_on_a_shared_clock_are_unchanged(tmp_path: Path) -> None:
    traces, moments = two_hosts(tmp_path, 0, 0.0, 0, [0])
    (messages,) = traces.messages(Edge("layer0", "layer1"))
    assert (messages.received - moments).tolist() == [BETWEEN] * MESSAGES
    assert traces.bound(Edge("layer0", "layer1")) == 0


def test_bound_is_the_largest_of_all_estimates(tmp_path: Path) -> None:
    rows = [Row(SECOND * n, batch=SECOND * n, bytes=n, event=CLOCK) for n in (1, 9, 5)]
    path = tmp_path / "layer1.trace"
    path.write_bytes(trace_bytes(trace_metadata("layer1", ABOVE, bound_ns=7), rows))
    assert clock_correction(TraceFile.read(path)).bound == 9


def test_stats_show_the_bound(tmp_path: Path) -> None:
    bound = 250_000
    two_hosts(tmp_path, 77 * SECOND, 1e-5, bound, [bound, -bound, bound, 0, 0, 0])
    shown = CliRunner().invoke(cli.main, ["trace", "stats", str(tmp_path)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "±" in shown.stdout
    (line,) = (line for line in shown.stdout.splitlines() if "layer0>layer1" in line)
    assert time_text(bound) in line
    assert "-" not in line.split("layer0>layer1")[1].split("µs")[0]  # no negative delay


def test_work_and_messages_are_on_the_coordinators_clock(tmp_path: Path) -> None:
    traces, moments = two_hosts(tmp_path, 77 * SECOND, 0.0, 1, [0] * 6)
    work = traces.work("layer1")
    assert work is not None
    assert work.begin.tolist() == [moment + 2 * BETWEEN for moment in moments]
    assert work.end.tolist() == [moment + 3 * BETWEEN for moment in moments]
    choice = MessageFilter(batches=(1, 1))
    rows, _ = find_messages(Traces(tmp_path, choice.record_filter), choice)
    assert [row.sent for row in rows] == [APART]
