"""Choose the time window to show, and the records that the window needs.

A trace may hold millions of records, and an image shows a few hundred. The trace is read in blocks:
once to choose the window, if the user gives none, and once to find the batches in the window. Then
only the records of these batches are matched. Records are selected by batch and not by time,
because the time of a record is on the clock of its stage, and a message in the window may have
been sent long before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from coordinator.traces.clocks import Times
from coordinator.traces.events import RecordFilter
from coordinator.traces.run import Traces
from protocol import RunError
from protocol import trace_format as form
from protocol.trace_format import Records

BATCHES: Final = 7
"""The number of training batches of the slowest layer that the default window shows."""
MARGIN: Final = 0.02
"""How much earlier than a batch the default window begins, as a fraction of its length."""


class TimeWindow(NamedTuple):
    """A stretch of `length` ns from `start`, which is ns since the start of the run."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The end of the window."""
        return self.start + self.length


def choose_window(
    traces: Traces, start: int | None = None, length: int | None = None
) -> TimeWindow:
    """The window that `start` and `length` give; None is replaced by a typical value."""
    if start is not None and length is not None:
        return TimeWindow(start, length)
    steps = _slowest(traces)
    if start is not None:
        return TimeWindow(start, _typical(steps))
    middle, duration = _middle(steps)
    wanted = length or round(duration * (1 + MARGIN))
    begin = min(middle - round(wanted * MARGIN), int(steps[-1]) - wanted)
    return TimeWindow(max(0, begin), wanted)


def batch_filter(traces: Traces, window: TimeWindow) -> RecordFilter:
    """A filter for the records of all batches that occur in `window`."""
    first, last = [], []
    for stage, records in _work(traces):
        found = records["batch"][_overlaps(traces, stage, records, window)]
        if len(found):
            first.append(int(found.min()))
            last.append(int(found.max()))
    low, high = min(first, default=1), max(last, default=0)
    return lambda block: _is_work(block) & (block["batch"] >= low) & (block["batch"] <= high)


def _work(traces: Traces) -> Iterator[tuple[str, Records]]:
    """The records of work messages, in blocks, each with its stage."""
    for stage, file in traces.files.items():
        for block in file.blocks():
            yield stage, block[_is_work(block)]


def _is_work(block: Records) -> npt.NDArray[np.bool_]:
    work: npt.NDArray[np.bool_] = np.isin(block["kind"], form.WORK) & (block["event"] != form.CLOCK)
    return work


def _overlaps(
    traces: Traces, stage: str, records: Records, window: TimeWindow
) -> npt.NDArray[np.bool_]:
    """A mask of the records whose time or span overlaps `window`."""
    convert = traces.clock(stage)
    begin = convert(records["time"]) - traces.start
    end = convert(np.maximum(records["time"], records["end"])) - traces.start
    is_span = np.isin(records["event"], (form.USED, form.RESUMED))
    unfinished = is_span & (records["end"] == 0)
    found: npt.NDArray[np.bool_] = (begin < window.end) & ((end >= window.start) | unfinished)
    return found


def _slowest(traces: Traces) -> Times:
    """The times at which the slowest layer started its batches, ns since the start of the run."""
    started = [_started(traces, stage) for stage in traces.files]
    enough = [times for times in started if len(times) > 1]
    if not enough:
        raise RunError(f"{traces.folder}: no layer has two recorded training batches")
    together = max(times[0] for times in enough), min(times[-1] for times in enough)
    common = [times[(times >= together[0]) & (times <= together[1])] for times in enough]
    return max((times for times in common if len(times) > 1), key=_typical, default=enough[-1])


def _started(traces: Traces, stage: str) -> Times:
    """The times at which `stage` started training batches from the edge that brought the most."""
    edges: list[npt.NDArray[np.uint16]] = [np.empty(0, np.uint16)]
    times: list[npt.NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    for block in traces.files[stage].blocks():
        chosen = (block["event"] == form.USED) & (block["kind"] == form.ACTIVATION)
        edges.append(block["edge"][chosen])
        times.append(block["time"][chosen])
    edge = np.concatenate(edges)
    most = np.bincount(edge, minlength=1).argmax()
    return traces.clock(stage)(np.concatenate(times)[edge == most]) - traces.start


def _durations(times: Times) -> Times:
    """The duration of each run of `BATCHES` batches."""
    count = min(BATCHES, len(times) - 1)
    return times[count:] - times[:-count]


def _typical(times: Times) -> int:
    """The median duration of `BATCHES` batches, which stalls and tests hardly change."""
    return max(1, int(np.median(_durations(times))))


def _middle(times: Times) -> tuple[int, int]:
    """The begin and duration of a typical run of batches in the middle fifth of the run."""
    durations = _durations(times)
    first, last = 2 * len(durations) // 5, 3 * len(durations) // 5 + 1
    chosen = first + int(np.abs(durations[first:last] - _typical(times)).argmin())
    return int(times[chosen]), max(1, int(durations[chosen]))
