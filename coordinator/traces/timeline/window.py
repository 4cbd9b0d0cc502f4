"""Which stretch of a run is shown, and which records that needs.

A trace may hold millions of records and a picture shows a few hundred. So the trace is read in
blocks, once to find the stretch where none is named, once for the batches that were about in it,
and then only the records of those batches are put together. They are chosen by batch, not by time,
for a record's time is that of its core's own clock, and a message may have been sent long before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from coordinator.traces.clocks import Times
from coordinator.traces.events import Keep
from coordinator.traces.run import Traces
from protocol import RunError
from protocol import trace_format as form
from protocol.trace_format import Records

BATCHES: Final = 7
"""Training batches of the slowest layer that are shown where nothing else is asked for."""
MARGIN: Final = 0.02
"""How much earlier than a batch the picture begins, as a share of its length."""


class Window(NamedTuple):
    """From `start` for `length`, in ns; `start` is counted from the run's start."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """When it is over."""
        return self.start + self.length


def choose(traces: Traces, start: int | None = None, length: int | None = None) -> Window:
    """The stretch that is asked for; what is left open is what shows training well."""
    if start is not None and length is not None:
        return Window(start, length)
    steps = _slowest(traces)
    if start is not None:
        return Window(start, _typical(steps))
    middle, span = _middle(steps)
    wanted = length or round(span * (1 + MARGIN))
    begin = min(middle - round(wanted * MARGIN), int(steps[-1]) - wanted)
    return Window(max(0, begin), wanted)


def batches(traces: Traces, window: Window) -> Keep:
    """What keeps the records of all batches that were about in `window`."""
    first, last = [], []
    for core, records in _work(traces):
        found = records["batch"][_touches(traces, core, records, window)]
        if len(found):
            first.append(int(found.min()))
            last.append(int(found.max()))
    low, high = min(first, default=1), max(last, default=0)
    return lambda block: _is_work(block) & (block["batch"] >= low) & (block["batch"] <= high)


def _work(traces: Traces) -> Iterator[tuple[str, Records]]:
    """The records of messages that are work, in blocks, and the core that wrote them."""
    for core, file in traces.files.items():
        for block in file.blocks():
            yield core, block[_is_work(block)]


def _is_work(block: Records) -> npt.NDArray[np.bool_]:
    work: npt.NDArray[np.bool_] = np.isin(block["kind"], form.WORK) & (block["event"] != form.CLOCK)
    return work


def _touches(traces: Traces, core: str, records: Records, window: Window) -> npt.NDArray[np.bool_]:
    """Which of the records tell of a moment or a spell within `window`."""
    time = traces.clock(core)
    begin = time(records["time"]) - traces.start
    end = time(np.maximum(records["time"], records["end"])) - traces.start
    spell = np.isin(records["event"], (form.USED, form.RESUMED))
    goes_on = spell & (records["end"] == 0)
    there: npt.NDArray[np.bool_] = (begin < window.end) & ((end >= window.start) | goes_on)
    return there


def _slowest(traces: Traces) -> Times:
    """When the layer with the longest batches took up each, ns since the run's start."""
    taken = [_taken(traces, core) for core in traces.files]
    enough = [times for times in taken if len(times) > 1]
    if not enough:
        raise RunError(f"{traces.folder}: no layer has trained on two batches that were recorded")
    together = max(times[0] for times in enough), min(times[-1] for times in enough)
    common = [times[(times >= together[0]) & (times <= together[1])] for times in enough]
    return max((times for times in common if len(times) > 1), key=_typical, default=enough[-1])


def _taken(traces: Traces, core: str) -> Times:
    """When `core` took up the batches that it trained on, of the edge that brought the most."""
    edges: list[npt.NDArray[np.uint16]] = [np.empty(0, np.uint16)]
    times: list[npt.NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    for block in traces.files[core].blocks():
        chosen = (block["event"] == form.USED) & (block["kind"] == form.ACTIVATION)
        edges.append(block["edge"][chosen])
        times.append(block["time"][chosen])
    edge = np.concatenate(edges)
    most = np.bincount(edge, minlength=1).argmax()
    return traces.clock(core)(np.concatenate(times)[edge == most]) - traces.start


def _spans(times: Times) -> Times:
    """How long each run of `BATCHES` batches took."""
    count = min(BATCHES, len(times) - 1)
    return times[count:] - times[:-count]


def _typical(times: Times) -> int:
    """How long `BATCHES` batches usually take; stalls and tests do not count for much."""
    return max(1, int(np.median(_spans(times))))


def _middle(times: Times) -> tuple[int, int]:
    """When, in the middle fifth, a run of batches begins that takes about as long as they usually
    do, and how long it takes."""
    spans = _spans(times)
    first, last = 2 * len(spans) // 5, 3 * len(spans) // 5 + 1
    chosen = first + int(np.abs(spans[first:last] - _typical(times)).argmin())
    return int(times[chosen]), max(1, int(spans[chosen]))
